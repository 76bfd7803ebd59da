"""Tests of bootstrap.policy.difference."""
