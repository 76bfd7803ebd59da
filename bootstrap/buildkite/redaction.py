"""Which variables are secret by their name, as the agent itself decides.

Source: docs/agent-contract.md#redaction
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from bootstrap.text import MASK, without_credentials

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


_HEADERS = "BUILDKITE_REQUEST_HEADER_"  # which may be credentials of a proxy of the operator's
MANY = 100  # secrets, in all spellings
LEAST = 6  # bytes of a value that the agent redacts
# Identities and facts that a decision rests on: masked, they would be another job's.
_KEPT = frozenset(
    f"BUILDKITE_{name}"
    for name in """
    JOB_ID BUILD_ID BUILD_NUMBER BUILD_URL STEP_ID STEP_KEY AGENT_NAME AGENT_ID SOURCE BRANCH TAG
    COMMIT PULL_REQUEST PULL_REQUEST_BASE_BRANCH ORGANIZATION_SLUG PIPELINE_SLUG PIPELINE_PROVIDER
    PIPELINE_DEFAULT_BRANCH AGENT_META_DATA_QUEUE
    """.split()  # noqa: SIM905 - as lines
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Masking:
    """Masks the values of a job's secret variables wherever else they are, a command for one."""

    secrets: tuple[str, ...]  # in all spellings, the longest first
    kept: frozenset[str]  # values that stay as they are
    width: int = 0  # characters of the shortest secret
    beginnings: frozenset[str] = frozenset()  # of all, in this width

    def __call__(self, text: str) -> str:
        """Return the text without the secrets, and without credentials in URLs."""
        if text in self.kept:
            return text
        if len(self.secrets) > MANY:
            return without_credentials(self._from_the_first(text))
        for secret in self.secrets:
            if secret in text:
                text = text.replace(secret, MASK)
        if text.endswith("…"):
            text = self._without_beginning(text)
        return without_credentials(text)

    def _from_the_first(self, text: str) -> str:
        """Mask all from where a secret may begin, the first of them.

        A job can set a hundred thousand: to look for each in 1 MiB takes half a minute.
        """
        for at in range(len(text) - self.width + 1):
            if text[at : at + self.width] in self.beginnings:
                return text[:at] + MASK
        return text

    def _without_beginning(self, text: str) -> str:
        """Mask the beginning of a secret where a text was cut off."""
        whole = text.removesuffix("…")
        for secret in self.secrets:
            for length in range(min(len(secret) - 1, len(whole)), LEAST - 1, -1):
                if whole.endswith(secret[:length]):
                    return f"{whole[:-length]}{MASK}…"
        return text


def masking(env: Mapping[str, str], agent: Mapping[str, str]) -> Masking:
    """Return what masks the secrets of a job with this environment, as its agent would redact."""
    hidden = [name for name, value in without_secrets(env, agent).items() if value is None]
    spellings = {spelling for name in hidden for spelling in _spellings(env[name])}
    kept = frozenset(env[name] for name in _KEPT if name in env)
    width = min(map(len, spellings), default=0)
    return Masking(
        secrets=tuple(sorted(spellings, key=lambda s: (-len(s), s))),
        kept=kept,
        width=width,
        beginnings=frozenset(spelling[:width] for spelling in spellings),
    )


def _spellings(secret: str) -> Iterator[str]:
    """Yield a value as it is, and as it is in JSON, which plugins' settings are."""
    if len(secret.encode("utf-8", "surrogatepass")) >= LEAST:
        yield secret
        yield json.dumps(secret)[1:-1]
        yield json.dumps(secret, ensure_ascii=False)[1:-1]


def without_values(
    env: Mapping[str, str], agent: Mapping[str, str], mask: Masking
) -> tuple[dict[str, str | None], tuple[str, ...]]:
    """Return what a record has of an environment, and which of its values are masked in part.

    A value that is secret as a whole is None. Credentials in URLs do not count as a part: the
    variable has its meaning without them.
    """
    shown = without_secrets(env, agent)
    found: dict[str, str | None] = {}
    masked: list[str] = []
    for name, value in shown.items():
        found[name] = value if value is None or name in _KEPT else mask(value)
        if value is not None and found[name] not in {value, without_credentials(value)}:
            masked.append(name)
    return found, tuple(masked)


def agent_env(agent: Mapping[str, str]) -> dict[str, str | None]:
    """Return what a record has of the agent's values: None for secrets and for headers."""
    return {
        name: None if name.startswith(_HEADERS) else value
        for name, value in without_secrets(agent, agent).items()
    }
