"""Tests of the package job, and of buildkite."""
