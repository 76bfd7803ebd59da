"""Tests of bootstrap/sandbox/ssh."""
