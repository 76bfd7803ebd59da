"""Whole pipelines as teams write them, each run as live jobs and as replays."""
