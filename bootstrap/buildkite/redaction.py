"""Which variables are secret by their name, as the agent itself decides.

Source: docs/agent-contract.md#redaction
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase

# The agent's own list, for jobs whose agent passes none.
DEFAULT = (
    "*_PASSWORD,*_SECRET,*_TOKEN,*_PRIVATE_KEY,*_SSH_KEY,*_ACCESS_KEY,*_SECRET_KEY,"
    "*_CONNECTION_STRING,*_API_KEY"
)


def is_secret(name: str, agent: Mapping[str, str]) -> bool:
    """Return whether the agent with these values would redact this variable."""
    return any(fnmatchcase(name, pattern) for pattern in _patterns(agent))


def _patterns(agent: Mapping[str, str]) -> tuple[str, ...]:
    own = (agent.get("BUILDKITE_REDACTED_VARS") or DEFAULT).split(",")
    return tuple(dict.fromkeys((*own, *DEFAULT.split(","))))


def without_secrets(env: Mapping[str, str], agent: Mapping[str, str]) -> dict[str, str | None]:
    """Return the environment with None for every value that is secret."""
    patterns = _patterns(agent)
    return {
        name: None if any(fnmatchcase(name, pattern) for pattern in patterns) else value
        for name, value in env.items()
    }
