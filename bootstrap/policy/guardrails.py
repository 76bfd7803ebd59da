"""What no pipeline's policy may exceed: the platform team's one document for the organisation.

A rule that grants more is refused with the guardrail's name, not trimmed: a job must not run with
less than its policy grants.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from typing import TypeVar

from bootstrap.job.model import Absent, Claims, Known, KnownSet, PullRequest
from bootstrap.policy import egress
from bootstrap.policy.glob import any_matches
from bootstrap.policy.model import (
    AgentApiUse,
    Bounds,
    Excess,
    ForkAccess,
    Grant,
    Guardrails,
    Limits,
    Scope,
)
from bootstrap.policy.names import (
    audiences_admit,
    filled,
    images_admit,
    roles_admit,
    secrets_admit,
    session_tags_admit,
)
from bootstrap.policy.plugins import admits
from bootstrap.policy.wording import in_words, length, size
from bootstrap.text import printable

N = TypeVar("N", int, float)

AGENT_API = "agent-api"
EGRESS = "egress"
_LIST_IT = (
    "Add `egress` to the rule, with the hosts and networks that its jobs reach: docs/egress.md."
)
ORGANIZATION = "organization"  # whose pipelines the guardrails are for
LIMITS = ("memory", "cpus", "pids")
# What services have to leave to a job whose rule names no limit for it, and all have to leave to
# the job's BuildKit.
_LEAST = {"memory": 256 << 20, "cpus": 0.1, "pids": 64}

# What holds on a host whose airlock.toml names no guardrails.
WITHOUT_DOCUMENT = Guardrails(organization="", origin="Airlock's defaults", digest="")

# A slug with a wildcard or a slash would turn a pattern with {pipeline} into a wider one.
_SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


def exceeds(grant: Grant, guardrails: Guardrails, pipeline: str) -> tuple[Excess, ...]:
    """Return everything in which a pipeline's grant exceeds the guardrails, whatever the job."""
    if not _SLUG.fullmatch(pipeline):
        return (_excess("pipeline", pipeline, ("a pipeline's slug",)),)
    found = [
        replace(excess, guardrail=f"{place}{excess.guardrail}")
        for place, bounds in bounds_for(guardrails, pipeline)
        for check in _CHECKS
        for excess in check(grant, bounds, pipeline)
    ]
    return (*found, *_outside(grant, guardrails, pipeline))


def exceeds_for(claims: Claims, grant: Grant, guardrails: Guardrails) -> tuple[Excess, ...]:
    """Return what `exceeds` does, and in what this job would exceed the guardrails."""
    return (
        *_organization(claims, guardrails),
        *exceeds(grant, guardrails, claims.pipeline),
        *_forks(claims, grant, guardrails),
        *_plugins(claims, guardrails),
    )


def _organization(claims: Claims, guardrails: Guardrails) -> Iterator[Excess]:
    """Another organization may have a pipeline of the same name, whose steps others write."""
    ours = guardrails.organization
    if ours and claims.organization != ours:
        yield _excess(ORGANIZATION, claims.organization, (ours,))


def scope_of(guardrails: Guardrails, pipeline: str) -> Scope | None:
    """Return the first scope that names the pipeline."""
    return next((s for s in guardrails.scopes if any_matches(s.pipelines, (pipeline,))), None)


def bounds_for(guardrails: Guardrails, pipeline: str) -> tuple[tuple[str, Bounds], ...]:
    """Return the bounds that all hold for a pipeline, each with where the document has it."""
    scope = scope_of(guardrails, pipeline)
    return (("", guardrails), *(((f"scopes.{scope.name}.", scope),) if scope else ()))


def forks_for(guardrails: Guardrails, pipeline: str) -> ForkAccess:
    """Return what pull requests from forks may get in this pipeline."""
    scope = scope_of(guardrails, pipeline)
    return (scope.forks if scope else None) or guardrails.forks


def limits_for(guardrails: Guardrails, pipeline: str) -> Limits:
    """Return the least of all limits that hold for a pipeline; None where there is no limit."""
    listed = [bounds.limits for _, bounds in bounds_for(guardrails, pipeline)]
    return Limits(
        memory=_least(limits.memory for limits in listed),
        cpus=_least(limits.cpus for limits in listed),
        pids=_least(limits.pids for limits in listed),
    )


def limits_left(guardrails: Guardrails, pipeline: str, grant: Grant) -> Limits:
    """Return what of these limits the grant's services leave to the job and its BuildKit."""
    most, used = limits_for(guardrails, pipeline), {n: _of_services(grant, n) for n in LIMITS}
    return Limits(
        memory=None if most.memory is None else most.memory - int(used["memory"]),
        cpus=None if most.cpus is None else most.cpus - used["cpus"],
        pids=None if most.pids is None else most.pids - int(used["pids"]),
    )


def _of_services(grant: Grant, name: str) -> float:
    return sum((float(getattr(one, name)) for one in grant.services.values()), 0.0)


def _least(limits: Iterable[N | None]) -> N | None:
    return min((limit for limit in limits if limit is not None), default=None)


def granted_roles(grant: Grant) -> tuple[str, ...]:
    """Return the ARN of every role that the grant uses, the first of a second hop among them."""
    return tuple(filter(None, (*grant.roles.values(), grant.via)))


def _outside(grant: Grant, guardrails: Guardrails, pipeline: str) -> Iterator[Excess]:
    if guardrails.scopes and scope_of(guardrails, pipeline) is None and gives_access(grant):
        names = tuple(f"one of the scope {scope.name!r}" for scope in guardrails.scopes)
        yield _excess(
            "scopes", f"a grant to the pipeline {pipeline!r}, which is in no scope", names
        )


def _roles(grant: Grant, bounds: Bounds, pipeline: str) -> Iterator[Excess]:
    for role in granted_roles(grant):
        yield from _listed("roles", bounds.roles, role, pipeline, roles_admit)
        account = role.split(":")[4]
        if bounds.accounts is not None and account not in bounds.accounts:
            yield _excess("accounts", account, bounds.accounts)


def _images(grant: Grant, bounds: Bounds, pipeline: str) -> Iterator[Excess]:
    for image in grant.images:
        yield from _listed("images", bounds.images, image, pipeline, images_admit)


def _secrets(grant: Grant, bounds: Bounds, pipeline: str) -> Iterator[Excess]:
    for reference in grant.secrets:
        yield from _listed("secrets", bounds.secrets, reference, pipeline, secrets_admit)


def _session_tags(grant: Grant, bounds: Bounds, pipeline: str) -> Iterator[Excess]:
    """The rule's own: policies of AWS may give by them what is another team's."""
    for key, value in grant.tags.items():
        tag = f"{key}={value}"
        yield from _listed("session-tags", bounds.session_tags, tag, pipeline, session_tags_admit)


def _agent_api(grant: Grant, bounds: Bounds, pipeline: str) -> Iterator[Excess]:
    """With its own token, a job has Buildkite sign a token for any audience."""
    is_limited = bounds.agent_api is AgentApiUse.REQUIRED or bounds.oidc_audiences is not None
    if grant.agent_api is None and is_limited:
        got = "the job's own token of Buildkite, for tokens of any audience"
        yield _excess(AGENT_API, got, ("what `agent-api` of a rule lists",))
    for audience in grant.audiences:
        yield from _listed(
            "oidc-audiences", bounds.oidc_audiences, audience, pipeline, audiences_admit
        )


def _builds(grant: Grant, bounds: Bounds, pipeline: str) -> Iterator[Excess]:
    del pipeline
    if grant.builds and bounds.builds is not None and grant.builds not in bounds.builds:
        yield _excess("builds", grant.builds, bounds.builds)


def _egress(grant: Grant, bounds: Bounds, pipeline: str) -> Iterator[Excess]:
    del pipeline
    if bounds.egress is not None:
        for key, got, allowed in egress.beyond(grant.egress, bounds.egress):
            name = f"{EGRESS}.{key}" if key else EGRESS
            yield replace(_excess(name, got, allowed), hint="" if key else _LIST_IT)


def _listed(
    guardrail: str,
    patterns: tuple[str, ...] | None,
    name: str,
    pipeline: str,
    admit: Callable[[Collection[str], str], bool],
) -> Iterator[Excess]:
    if patterns is not None and not admit(allowed := filled(patterns, pipeline), name):
        yield _excess(guardrail, name, allowed)


def _sessions(grant: Grant, bounds: Bounds, pipeline: str) -> Iterator[Excess]:
    del pipeline
    longest = bounds.session
    if longest is not None and granted_roles(grant) and grant.duration > longest:
        yield _excess("session", length(grant.duration), (f"at most {length(longest)}",))


def _limits(grant: Grant, bounds: Bounds, pipeline: str) -> Iterator[Excess]:
    """All containers of a job together: each limit is what one job may use of a machine."""
    del pipeline
    for name in LIMITS:
        limit, most = getattr(grant.limits, name), getattr(bounds.limits, name)
        beside = _of_services(grant, name) + (_LEAST[name] if grant.builds else 0)
        needed = beside + (limit or _LEAST[name])
        if most is not None and (limit or beside) and needed > most:
            got = _shown(name, needed)
            if beside:
                got += f", of which {'' if limit else 'at least '}"
                got += f"{_shown(name, limit or _LEAST[name])} for the job"
            if grant.builds:
                got += f" and at least {_shown(name, _LEAST[name])} for BuildKit"
            yield _excess(f"limits.{name}", got, (f"at most {_shown(name, most)}",))


def _shown(name: str, value: float) -> str:
    return size(int(value)) if name == "memory" else f"{value:g}"


_CHECKS: tuple[Callable[[Grant, Bounds, str], Iterator[Excess]], ...] = (
    _roles, _images, _secrets, _session_tags, _agent_api, _builds, _egress, _sessions, _limits,
)  # fmt: skip


def _forks(claims: Claims, grant: Grant, guardrails: Guardrails) -> Iterator[Excess]:
    """A pull request whose repository is unknown counts as a fork's."""
    fact = claims.facts.get("pull-request")
    if isinstance(fact, Known) and fact.value != PullRequest.FORK:
        return
    forks = forks_for(guardrails, claims.pipeline)
    if forks is ForkAccess.REFUSE:
        yield _excess("forks", "a fork's pull request", ("no pull request of a fork",))
    elif forks is ForkAccess.NOTHING and gives_access(grant):
        what = "image builds for" if is_empty(grant) else "a grant to"
        yield _excess("forks", f"{what} a fork's pull request", ("nothing",))


def is_empty(grant: Grant) -> bool:
    """Return whether the grant is a sandbox without any role, secret, key or token's audience."""
    return not (grant.kinds or grant.buildkite_secrets or grant.audiences)


def gives_access(grant: Grant) -> bool:
    """Return whether the grant is more than a sandbox as any job's.

    A build is no access to anything, but reaches more of the host's kernel than other jobs.
    """
    return not is_empty(grant) or grant.builds is not None


def _plugins(claims: Claims, guardrails: Guardrails) -> Iterator[Excess]:
    fact = claims.facts.get("plugin")
    for place, bounds in bounds_for(guardrails, claims.pipeline):
        if bounds.plugins is None:
            continue
        if not isinstance(fact, KnownSet):
            why = f": {fact.why}" if isinstance(fact, Absent) else ""
            got = f"plugins that cannot be determined{why}"
            yield _excess(f"{place}plugins", got, bounds.plugins)
            continue
        for plugin in sorted(fact.values):
            if not admits(bounds.plugins, plugin):
                yield _excess(f"{place}plugins", plugin, bounds.plugins)


def _excess(guardrail: str, got: str, allowed: tuple[str, ...]) -> Excess:
    return Excess(guardrail=guardrail, got=printable(got), allowed=in_words(allowed))
