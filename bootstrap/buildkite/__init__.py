"""Buildkite: the agent API, the files and variables of the agent, signed identity."""
