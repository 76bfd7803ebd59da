"""What is known about a job, and how well (docs/design.md#claims).

A fact that is absent or unvouched never satisfies a rule, not even a negated one.
"""

import re
from collections.abc import Mapping

from bootstrap.job import plugins
from bootstrap.job.model import Absent, Fact, Known, KnownSet, Provenance, PullRequest, Unvouched
from bootstrap.job.repository import same_name

# Single values that Buildkite sends under one name.
PLAIN = {
    "organization": "BUILDKITE_ORGANIZATION_SLUG",
    "pipeline": "BUILDKITE_PIPELINE_SLUG",
    "repository": "BUILDKITE_REPO",
    "branch": "BUILDKITE_BRANCH",
    "tag": "BUILDKITE_TAG",
    "commit": "BUILDKITE_COMMIT",
    "source": "BUILDKITE_SOURCE",
    "step": "BUILDKITE_STEP_KEY",
    "queue": "BUILDKITE_AGENT_META_DATA_QUEUE",
    "command": "BUILDKITE_COMMAND",
}

AGENT_TAG = "BUILDKITE_AGENT_META_DATA_"
_AGENTS_OWN = re.compile(rf"{AGENT_TAG}[A-Z0-9_]+")

# Buildkite has authenticated these creators, by login or API token. A webhook's creator is the
# author of the head commit, by an unverified e-mail; a schedule has none.
_VOUCHED_SOURCES = frozenset({"ui", "api"})
# Builds whose creator variables Buildkite sends. In others, a step may set them unhindered.
_SOURCES_WITH_CREATORS = _VOUCHED_SOURCES | {"webhook"}


def facts(env: Mapping[str, str]) -> dict[str, Fact]:
    """Grade everything a policy may ask about, from Buildkite's job environment."""
    plain = {key: _plain(env, name) for key, name in PLAIN.items()}
    tags = {
        tag_fact(name.removeprefix(AGENT_TAG)): _plain(env, name)
        for name in env
        if _AGENTS_OWN.fullmatch(name)
    }
    return {
        **plain,
        **tags,
        "pull-request": _pull_request(env),
        "plugin": _plugins(env),
        "creator": _person(env, "BUILDKITE_BUILD_CREATOR"),
        "creator-email": _person(env, "BUILDKITE_BUILD_CREATOR_EMAIL"),
        "creator-team": _vouched_teams(env),
        "author-team": _author_teams(env),
        "unblocker-team": _unblocker_teams(env),
    }


def tag_fact(tag: str) -> str:
    """Return the key of an agent tag's fact, whichever way the tag's name is spelled."""
    return f"agent-tag:{tag.lower().replace('_', '-')}"


def forged_tags(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names that differ from an agent's own tag in nothing but their case.

    Buildkite spells the tags of an agent in capitals, so another spelling beside it is a step's.
    """
    tags = [name for name in env if name.startswith(AGENT_TAG)]
    own = {name for name in tags if _AGENTS_OWN.fullmatch(name)}
    return tuple(sorted(name for name in tags if name not in own and name.upper() in own))


def _plain(env: Mapping[str, str], name: str) -> Fact:
    value = env.get(name, "")
    if not value:
        return Absent(why=f"{name} is empty or not set")
    return Known(value=value, provenance=Provenance.JOB)


def _pull_request(env: Mapping[str, str]) -> Fact:
    """Say where the code comes from. What may be a fork counts as one."""
    number = env.get("BUILDKITE_PULL_REQUEST", "")
    if number == "false":
        return _kind(PullRequest.NO)
    if not number:
        return Absent(why="BUILDKITE_PULL_REQUEST is empty or not set")
    origin, repository = env.get("BUILDKITE_PULL_REQUEST_REPO", ""), env.get("BUILDKITE_REPO", "")
    if number.isascii() and number.isdigit() and same_name(origin, repository):
        return _kind(PullRequest.SAME_REPOSITORY)
    return _kind(PullRequest.FORK)


def _plugins(env: Mapping[str, str]) -> Fact:
    text = env.get("BUILDKITE_PLUGINS", "")
    used = plugins.parse(text)
    if used is None:
        return Absent(why=plugins.why_unknown(text))
    return KnownSet(values=used, provenance=Provenance.JOB)


def _kind(kind: PullRequest) -> Known:
    return Known(value=kind.value, provenance=Provenance.JOB)


def _person(env: Mapping[str, str], name: str) -> Fact:
    fact = _plain(env, name)
    if isinstance(fact, Known) and (why := _unvouched(env)):
        return Unvouched(value=fact.value, why=why)
    return fact


def _vouched_teams(env: Mapping[str, str]) -> Fact:
    fact = _teams(env, "BUILDKITE_BUILD_CREATOR_TEAMS")
    if isinstance(fact, KnownSet) and (why := _unvouched(env)):
        return Unvouched(value=_listed(fact), why=why)
    return fact


def _author_teams(env: Mapping[str, str]) -> Fact:
    fact, source = _teams(env, "BUILDKITE_BUILD_CREATOR_TEAMS"), env.get("BUILDKITE_SOURCE", "")
    if isinstance(fact, KnownSet) and source not in _SOURCES_WITH_CREATORS:
        why = f"Buildkite names no creator of a build whose source is {source!r}"
        return Unvouched(value=_listed(fact), why=why)
    return fact


def _unblocker_teams(env: Mapping[str, str]) -> Fact:
    """Buildkite sends them after an unblock only; in every other build a step may set them."""
    fact = _teams(env, "BUILDKITE_UNBLOCKER_TEAMS")
    if isinstance(fact, KnownSet):
        why = "a step may set BUILDKITE_UNBLOCKER_TEAMS, and nothing shows that it did not"
        return Unvouched(value=_listed(fact), why=why)
    return fact


def _listed(teams: KnownSet) -> str:
    return ":".join(sorted(teams.values))


def _teams(env: Mapping[str, str], name: str) -> Fact:
    teams = frozenset(team for team in env.get(name, "").split(":") if team)
    if not teams:
        return Absent(why=f"{name} is empty or not set")
    return KnownSet(values=teams, provenance=Provenance.JOB)


def _unvouched(env: Mapping[str, str]) -> str | None:
    source = env.get("BUILDKITE_SOURCE", "")
    if source in _VOUCHED_SOURCES:
        return None
    return f"Buildkite does not vouch for the creator of a build whose source is {source!r}"
