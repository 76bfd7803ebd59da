"""Tests of the package policy."""
