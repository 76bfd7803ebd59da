"""Tests of the container, its isolation and its supervision."""
