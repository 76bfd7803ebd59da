"""What is known about a job, and how well (DESIGN section 5).

A fact that is absent or unvouched never satisfies a rule, not even a negated one.
"""

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

_AGENT_TAG = "BUILDKITE_AGENT_META_DATA_"

# Buildkite knows who these are: they were logged in, or held an API token. A webhook's creator is
# whoever the head commit says, by an e-mail that nobody verified; a schedule has none.
_VOUCHED_SOURCES = frozenset({"ui", "api"})


def facts(env: Mapping[str, str]) -> dict[str, Fact]:
    """Grade everything a policy may ask about, from Buildkite's job environment."""
    plain = {key: _plain(env, name) for key, name in PLAIN.items()}
    tags = {
        f"agent-tag:{name.removeprefix(_AGENT_TAG).lower().replace('_', '-')}": _plain(env, name)
        for name in env
        if name.startswith(_AGENT_TAG)
    }
    return {
        **plain,
        **tags,
        "pull-request": _pull_request(env),
        "plugin": _plugins(env),
        "creator": _person(env, "BUILDKITE_BUILD_CREATOR"),
        "creator-email": _person(env, "BUILDKITE_BUILD_CREATOR_EMAIL"),
        "creator-team": _vouched_teams(env),
        "author-team": _teams(env, "BUILDKITE_BUILD_CREATOR_TEAMS"),
        "unblocker-team": _teams(env, "BUILDKITE_UNBLOCKER_TEAMS"),
    }


def _plain(env: Mapping[str, str], name: str) -> Fact:
    value = env.get(name, "")
    if not value:
        return Absent(why=f"{name} is empty or not set")
    return Known(value=value, provenance=Provenance.JOB)


def _pull_request(env: Mapping[str, str]) -> Fact:
    """Say where the code comes from. What cannot be told apart from a fork counts as one."""
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
        return Unvouched(value=":".join(sorted(fact.values)), why=why)
    return fact


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
