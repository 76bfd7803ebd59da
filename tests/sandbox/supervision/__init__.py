"""Tests of bootstrap/sandbox/supervision."""
