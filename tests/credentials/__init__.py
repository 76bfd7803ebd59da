"""Tests of the package credentials, on the loopback only."""
