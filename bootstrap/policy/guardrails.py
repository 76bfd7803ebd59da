"""What no pipeline's policy may exceed: the platform team's one document for the organisation.

A rule that grants more is refused with the guardrail's name, not trimmed: a job must not run with
less than its policy grants.
"""

from collections.abc import Callable, Iterator

from bootstrap.job.model import Absent, Claims, Known, KnownSet, PullRequest
from bootstrap.policy.glob import any_matches
from bootstrap.policy.model import Excess, ForkAccess, Grant, Guardrails
from bootstrap.policy.plugins import admits
from bootstrap.policy.wording import in_words
from bootstrap.text import printable

Check = Callable[[Grant, Guardrails], Iterator[Excess]]


def exceeds(grant: Grant, guardrails: Guardrails) -> tuple[Excess, ...]:
    """Return everything in which the grant exceeds the guardrails, whatever the job."""
    return tuple(excess for check in _CHECKS for excess in check(grant, guardrails))


def exceeds_for(claims: Claims, grant: Grant, guardrails: Guardrails) -> tuple[Excess, ...]:
    """Return what `exceeds` does, and in what this job would exceed the guardrails."""
    return (
        *exceeds(grant, guardrails),
        *_forks(claims, grant, guardrails),
        *_plugins(claims, guardrails),
    )


def _roles(grant: Grant, guardrails: Guardrails) -> Iterator[Excess]:
    for role in _granted_roles(grant):
        if guardrails.roles is not None and not any_matches(guardrails.roles, (role,)):
            yield _excess("roles", role, guardrails.roles)
        account = role.split(":")[4]
        if guardrails.accounts is not None and account not in guardrails.accounts:
            yield _excess("accounts", account, guardrails.accounts)


def _granted_roles(grant: Grant) -> tuple[str, ...]:
    return tuple(filter(None, (*grant.roles.values(), grant.via)))


def _images(grant: Grant, guardrails: Guardrails) -> Iterator[Excess]:
    if not grant.image or guardrails.images is None:
        return
    if not any_matches(guardrails.images, (grant.image,)):
        yield _excess("images", grant.image, guardrails.images)


def _secrets(grant: Grant, guardrails: Guardrails) -> Iterator[Excess]:
    for reference in grant.references:
        if guardrails.secrets is not None and not any_matches(guardrails.secrets, (reference,)):
            yield _excess("secrets", reference, guardrails.secrets)


def _sessions(grant: Grant, guardrails: Guardrails) -> Iterator[Excess]:
    longest = guardrails.session
    if longest is not None and _granted_roles(grant) and grant.duration > longest:
        yield _excess("session", str(grant.duration), (f"at most {longest}",))


def _limits(grant: Grant, guardrails: Guardrails) -> Iterator[Excess]:
    for name in ("memory", "cpus", "pids"):
        limit, most = getattr(grant.limits, name), getattr(guardrails.limits, name)
        if limit is not None and most is not None and limit > most:
            yield _excess(f"limits.{name}", str(limit), (f"at most {most}",))


_CHECKS: tuple[Check, ...] = (_roles, _images, _secrets, _sessions, _limits)


def _forks(claims: Claims, grant: Grant, guardrails: Guardrails) -> Iterator[Excess]:
    """A pull request whose repository is unknown counts as a fork's."""
    fact = claims.facts.get("pull-request")
    if isinstance(fact, Known) and fact.value != PullRequest.FORK:
        return
    if guardrails.forks is ForkAccess.REFUSE:
        yield _excess("forks", "a fork's pull request", ("no pull request of a fork",))
    elif guardrails.forks is ForkAccess.NOTHING and not is_empty(grant):
        yield _excess("forks", "a grant to a fork's pull request", ("nothing",))


def is_empty(grant: Grant) -> bool:
    """Return whether the grant is a sandbox without any role, secret or key."""
    return not grant.kinds


def _plugins(claims: Claims, guardrails: Guardrails) -> Iterator[Excess]:
    if guardrails.plugins is None:
        return
    fact = claims.facts.get("plugin")
    if not isinstance(fact, KnownSet):
        why = f": {fact.why}" if isinstance(fact, Absent) else ""
        yield _excess("plugins", f"plugins that cannot be determined{why}", guardrails.plugins)
        return
    for plugin in sorted(fact.values):
        if not admits(guardrails.plugins, plugin):
            yield _excess("plugins", plugin, guardrails.plugins)


def _excess(guardrail: str, got: str, allowed: tuple[str, ...]) -> Excess:
    return Excess(guardrail=guardrail, got=printable(got), allowed=in_words(allowed))
