"""Tests of bootstrap/sandbox/commit_check."""
