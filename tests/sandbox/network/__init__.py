"""Tests of bootstrap/sandbox/network."""
