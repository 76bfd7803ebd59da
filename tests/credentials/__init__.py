"""Tests of the credentials room, on the loopback only."""
