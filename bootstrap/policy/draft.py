"""Policies drafted from records of observed jobs: they admit exactly these kinds of jobs."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from typing import Any

from bootstrap.job.facts import facts
from bootstrap.job.model import Fact, Known
from bootstrap.policy.egress import MOST, EgressGrant
from bootstrap.policy.model import NO_TAG
from bootstrap.text import MASK

Env = Mapping[str, str]
MANY = 8  # more values of one fact than this are not listed: `*`


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """One job: its environment, and a list under which it would have reached all that it did.

    `reached` is None if that is not known: it is recorded with `egress: {mode: observe}` only. What
    has not `ran` has reached nothing, and shows nothing.
    """

    env: Env
    ran: bool = False
    reached: EgressGrant | None = None


def drafts(observed: Iterable[Observed]) -> dict[str, dict[str, Any]]:
    """Return a document for each pipeline that was observed, in the grammar of `policy.parse`.

    Rules grant nothing, and limit what their jobs reach if that is known of each of them: what a
    job needs besides cannot be observed. There is one for each kind of job that matters for a
    grant: the default branch, tags, other branches, pull requests, forks.
    """
    by_pipeline: dict[str, list[Observed]] = {}
    for one in observed:
        if slug := one.env.get("BUILDKITE_PIPELINE_SLUG"):
            job = replace(one, env=_without_masks(one.env))
            by_pipeline.setdefault(slug, []).append(job)
    return {slug: _draft(slug, jobs) for slug, jobs in sorted(by_pipeline.items())}


def _without_masks(env: Env) -> Env:
    """A record masks credentials in URLs; the policy names the repository without any."""
    return {name: (value or "").replace(f"{MASK}@", "") for name, value in env.items()}


def _draft(slug: str, jobs: list[Observed]) -> dict[str, Any]:
    kinds: dict[str, list[Observed]] = {}
    for one in jobs:
        kinds.setdefault(_kind(one.env), []).append(one)
    repositories = (one.env.get("BUILDKITE_REPO") for one in jobs)
    return {
        "pipeline": slug,
        "repository": sorted(set(filter(None, repositories))),
        "rules": [_rule(kind, kinds[kind]) for kind in _WHEN if kind in kinds],
    }


# Kind -> the pull requests it admits; in the order in which the rules must be tried.
_WHEN = {
    "the default branch": "no",
    "tags": "no",
    "other branches": "no",
    "pull requests": "same-repository",
    "forks": "any",
}


def _kind(env: Env) -> str:
    match facts(env)["pull-request"]:
        case Known(value="no") if env.get("BUILDKITE_TAG"):
            return "tags"
        case Known(value="no"):
            is_default = env.get("BUILDKITE_BRANCH") == env.get("BUILDKITE_PIPELINE_DEFAULT_BRANCH")
            return "the default branch" if is_default else "other branches"
        case Known(value="same-repository"):
            return "pull requests"
        case _:
            return "forks"


def _rule(kind: str, observed: list[Observed]) -> dict[str, Any]:
    when: dict[str, Any] = {}
    jobs = [one.env for one in observed]
    if kind == "the default branch":
        when["branch"] = _values(jobs, "branch")
    if kind == "tags":
        when["tag"] = _values(jobs, "tag")
    elif any(isinstance(_fact(env, "tag"), Known) for env in jobs):
        when["tag"] = [NO_TAG, "*"]
    if kind in {"the default branch", "tags"}:
        when |= {key: _values(jobs, key) for key in ("source", "queue") if _always(jobs, key)}
    if _WHEN[kind] != "no":
        when["pull-request"] = _WHEN[kind]
    allow = _egress([one.reached for one in observed if one.ran])
    return {"name": kind, **({"when": when} if when else {}), "allow": allow}


def _egress(reached: list[EgressGrant | None]) -> dict[str, Any]:
    """Return `egress` under which these jobs reach what they did; {} if that is not known."""
    known = [one for one in reached if one is not None]
    hosts = sorted({name for one in known for name in one.hosts})
    lists = {
        "hosts": hosts,
        "cidrs": _networks(text for one in known for text in one.cidrs),
        "private": _networks(text for one in known for text in one.private),
    }
    if not known or len(known) < len(reached) or any(len(found) > MOST for found in lists.values()):
        return {}
    return {"egress": {key: found for key, found in lists.items() if found} or "none"}


def _networks(listed: Iterable[str]) -> list[str]:
    return [str(one) for one in sorted(set(map(IPv4Network, listed)))]


def _always(jobs: list[Env], key: str) -> bool:
    return all(isinstance(_fact(env, key), Known) for env in jobs)


def _values(jobs: list[Env], key: str) -> list[str]:
    """Return the observed values by frequency; `*` if they are too many or read as patterns."""
    seen = Counter(fact.value for env in jobs if isinstance(fact := _fact(env, key), Known))
    plain = [value for value, _ in seen.most_common()]
    safe = all("*" not in v and not v.startswith("!") and v != NO_TAG for v in plain)
    return plain if safe and len(plain) <= MANY else ["*"]


def _fact(env: Env, key: str) -> Fact:
    return facts(env)[key]
