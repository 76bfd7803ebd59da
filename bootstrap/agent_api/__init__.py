"""The agent API that a `buildkite-agent` in a sandbox calls, with two back ends.

Which calls there are, and what becomes of each: docs/agent-api.md
"""
