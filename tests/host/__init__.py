"""Tests of the host's configuration and storage."""
