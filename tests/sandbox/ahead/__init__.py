"""Tests of bootstrap/sandbox/ahead."""
