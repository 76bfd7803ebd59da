"""Tests of bootstrap/credentials, on the loopback interface only."""
