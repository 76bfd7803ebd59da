"""Replay: one job again, on a developer's machine."""
