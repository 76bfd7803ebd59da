"""Tests of bootstrap/sandbox/leases."""
