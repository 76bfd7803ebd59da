"""Tests of bootstrap/policy."""
