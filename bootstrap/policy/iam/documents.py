"""The IAM documents that the policies of a store need, within IAM's limits."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from bootstrap.aws.iam import LOGIN, allow
from bootstrap.errors import WrongConfiguration
from bootstrap.policy.glob import matches
from bootstrap.policy.iam import host, quotas
from bootstrap.policy.iam.bounds import allowed, within
from bootstrap.policy.iam.calls import Call, calls, observed
from bootstrap.policy.iam.checks import check
from bootstrap.policy.iam.control import service_control
from bootstrap.policy.iam.model import (
    Document,
    HostNeeds,
    Iam,
    Role,
    Size,
    Trust,
    account_of,
    parts,
)
from bootstrap.policy.iam.notes import notes
from bootstrap.policy.iam.quotas import Need
from bootstrap.policy.iam.reading import by_role, read_by_all
from bootstrap.policy.iam.refs import in_subject
from bootstrap.policy.iam.trust import trust_policy
from bootstrap.policy.model import Bounds, Grant, Guardrails, Policy

_COMPRESSED = (
    "What rules name takes more than the managed policies of one role, so the hosts' role may "
    "assume and read what the guardrails' `roles`, `secrets` and `images` allow. Trust policies "
    "are not affected."
)
_ARN_GLOB = re.compile(r"arn:([^:]*:){4}")
_UNLIMITED = 1 << 30
HOUR = timedelta(hours=1)  # the least that IAM lets a role allow


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How the documents are made. Without an `organization`, tokens of a placeholder are trusted.

    What exceeds the `guardrails` is granted to no job, and is left out. Their globs over roles are
    what the hosts' role may assume if the names of all roles take more than IAM allows. `keys` are
    the ARNs of the KMS keys of secrets.
    """

    host_role: str
    organization: str | None = None
    needs: HostNeeds = HostNeeds()  # noqa: RUF009 - frozen
    trust: Trust = Trust.PIPELINES
    trust_quota: int = quotas.TRUST
    keys: tuple[str, ...] = ()
    guardrails: Guardrails | None = None

    @property
    def patterns(self) -> tuple[str, ...]:
        """The guardrails' globs that are ARNs, as IAM's."""
        listed = allowed(self.guardrails, lambda bounds: bounds.roles)
        return tuple(p for p in listed if _ARN_GLOB.match(p))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Fleet:
    """The calls of all policies, by role and by caller, and the grants that use a role's own."""

    calls: tuple[Call, ...]
    by_role: Mapping[str, list[Call]]
    by_caller: Mapping[str | None, list[Call]]
    own: Mapping[str, list[tuple[str, Grant]]]  # role -> pipeline and grant


def iam(policies: Iterable[Policy], options: Options) -> Iam:
    """Return all documents. Raises WrongConfiguration for what IAM would refuse."""
    listed, beyond = within(policies, options.guardrails)
    fleet = _fleet(listed, options)
    check(fleet.calls, options.trust, options.host_role)
    roles = {arn: _role(arn, fleet, options) for arn in sorted(fleet.by_role)}
    documents, compressed = _host(listed, fleet, options)
    callers = {options.host_role, *(caller for caller in fleet.by_caller if caller)}
    scp = service_control(sorted(callers), list(roles))
    sizes = tuple(_sizes(options, documents, roles, scp))
    quotas.require_all(sizes)
    return Iam(
        host_role=options.host_role,
        host=documents,
        roles=roles,
        providers=tuple(sorted({account_of(c.role) for c in fleet.by_caller.get(None, ())})),
        scp=scp,
        notes=(
            *beyond,
            *compressed,
            *notes(fleet.calls, options.trust, options.organization, policies_of_control=len(scp)),
            *_read_by_all(fleet),
        ),
        sizes=sizes,
    )


def _fleet(listed: Sequence[Policy], options: Options) -> _Fleet:
    made = list(calls(listed, options.host_role))
    if options.needs.observe_role:
        made.append(observed(options.needs.observe_role, options.host_role))
    by_role: dict[str, list[Call]] = {}
    by_caller: dict[str | None, list[Call]] = {}
    for call in made:
        by_role.setdefault(call.role, []).append(call)
        by_caller.setdefault(call.caller, []).append(call)
    own: dict[str, list[tuple[str, Grant]]] = {}
    for policy in listed:
        for rule in policy.rules:
            if rule.allow.role:
                own.setdefault(rule.allow.role, []).append((policy.pipeline, rule.allow))
    return _Fleet(calls=tuple(made), by_role=by_role, by_caller=by_caller, own=own)


def _read_by_all(fleet: _Fleet) -> Iterator[str]:
    for role, grants in sorted(fleet.own.items()):
        pipelines = {call.pipeline for call in fleet.by_role.get(role, ()) if call.pipeline}
        yield from read_by_all(role, grants, pipelines)


def _role(arn: str, fleet: _Fleet, options: Options) -> Role:
    own = fleet.by_role[arn]

    def trust_of(some: Sequence[Call]) -> Document:
        return trust_policy(some, options.organization, options.trust)

    def shares() -> dict[str, int]:
        names = sorted({call.pipeline for call in own if call.pipeline})
        return {p: quotas.length(trust_of([c for c in own if c.pipeline == p])) for p in names}

    trust = trust_of(own)
    quotas.require(
        f"the trust policy of {arn}", trust, options.trust_quota, shares,
        hint="Divide the role among pipelines, or use --trust tags, which names no pipeline in it "
        '(docs/aws.md#a-catalogue-of-roles), or let AWS raise the quota "Role trust policy '
        'length" of the account and pass --trust-policy-quota.',
    )  # fmt: skip
    return Role(
        arn=arn,
        trust=trust,
        policy=_policy(arn, fleet, options),
        longest=max([HOUR, *(call.duration for call in own)]),
        callers=tuple(sorted({call.caller for call in own if call.caller})),
    )


def _policy(arn: str, fleet: _Fleet, options: Options) -> Document | None:
    """Return what Airlock needs of the role itself: to assume others, and what `role` reads."""

    def needed(pipeline: str | None = None) -> list[Need]:
        others = [c.role for c in fleet.by_caller.get(arn, ()) if pipeline in {None, c.pipeline}]
        grants = [(p, g) for p, g in fleet.own.get(arn, ()) if pipeline in {None, p}]
        logs_in = any(kind.needs().ecr for _, g in grants for kind in g.kinds)
        login = Need(names=["*"], made=lambda names: {"Sid": "AirlockLogin", **allow(LOGIN, names)})
        return [
            *host.sessions(others),
            *by_role(arn, grants, options.keys),
            *([login] if logs_in else []),
        ]

    def shares() -> dict[str, int]:
        users = {*(c.pipeline for c in fleet.by_caller.get(arn, ())),
                 *(pipeline for pipeline, _ in fleet.own.get(arn, ()))}  # fmt: skip
        return {p: _alone(needed(p)) for p in sorted(filter(None, users))}

    documents = quotas.divided(needed(), _UNLIMITED)
    if not documents:
        return None
    quotas.require(
        f"the inline policy of {arn}", documents[0], quotas.INLINE, shares,
        hint="Let fewer rules use this role for session.via or secrets-with.",
    )  # fmt: skip
    return documents[0]


def _host(
    listed: Sequence[Policy], fleet: _Fleet, options: Options
) -> tuple[tuple[Document, ...], tuple[str, ...]]:
    """Return the managed policies of the hosts' role, and whether a limit widened them."""
    made = fleet.by_caller.get(options.host_role, [])
    by_tag = options.trust is Trust.TAGS

    def needed(some: Sequence[Policy], roles: Iterable[str], *, widely: bool) -> list[Need]:
        sessions = host.sessions_by_tag(roles) if by_tag else host.sessions(roles)
        return [*sessions, *_reading(some, options, options.guardrails if widely else None)]

    named = needed(listed, (call.role for call in made), widely=by_tag)
    documents = quotas.divided(named, quotas.MANAGED)
    if len(documents) <= quotas.MANAGED_OF_A_ROLE:
        return documents, ()
    globs = options.patterns
    widened = (next((p for p in globs if matches(p, c.role)), c.role) for c in made)
    documents = quotas.divided(needed(listed, widened, widely=True), quotas.MANAGED)
    if len(documents) > quotas.MANAGED_OF_A_ROLE:
        of_pipeline: dict[str | None, list[str]] = {}
        for call in made:
            of_pipeline.setdefault(call.pipeline, []).append(call.role)
        shares = {
            p.pipeline: _alone(needed([p], of_pipeline.get(p.pipeline, []), widely=False))
            for p in listed
        }
        raise _too_many(options.host_role, len(documents), shares)
    return documents, (_COMPRESSED,)


def _alone(needs: Iterable[Need]) -> int:
    """Return how many characters these statements have in one document."""
    return sum(map(quotas.length, quotas.divided(needs, _UNLIMITED)))


def _reading(some: Sequence[Policy], options: Options, rails: Guardrails | None) -> Iterable[Need]:
    """Yield what reading the store, secrets and images needs.

    The globs of `rails` take the place of the names that they match.
    """
    needs, partition = options.needs, host.of_account(options.host_role)["partition"]
    for number, statement in enumerate(needs.statements):
        sid = "AirlockPolicies" if number == 0 else "AirlockGuardrails"
        yield from host.documents(sid, statement, keys=options.keys, partition=partition)
    rules = [rule.allow for policy in some for rule in policy.rules]
    read = [x for grant in rules if not grant.secrets_with_role for x in grant.references]
    images = [image for grant in rules for image in grant.images]

    def widely(names: list[str], of: Callable[[Bounds], tuple[str, ...] | None]) -> list[str]:
        for_new = options.trust is Trust.TAGS  # whatever a new pipeline is granted is allowed
        globs = [g for g in allowed(rails, of) if for_new or any(matches(g, n) for n in names)]
        return [*names, *map(in_subject, globs)]

    read, images = widely(read, lambda b: b.secrets), widely(images, lambda b: b.images)
    yield from host.secrets(
        [*read, *needs.references], keys=options.keys, **host.of_account(options.host_role)
    )
    yield from host.pulls([*images, *needs.images], partition=partition, login=needs.ecr)


def _too_many(host_role: str, found: int, shares: Mapping[str, int]) -> WrongConfiguration:
    return WrongConfiguration(
        f"{host_role} needs {found} managed policies of {quotas.MANAGED:,} characters; expected at "
        f"most {quotas.MANAGED_OF_A_ROLE}: {quotas.largest(shares)}",
        hint="Write guardrails whose `roles` are ARNs with globs, and whose `secrets` and `images` "
        "are globs: they are used instead of names. Or keep the roles below paths of their "
        "pipelines and use --trust tags (docs/aws.md#a-catalogue-of-roles).",
    )


def _sizes(
    options: Options,
    documents: Sequence[Document],
    roles: Mapping[str, Role],
    scp: Sequence[Document],
) -> Iterable[Size]:
    def size(what: str, account: str | None, made: Document, quota: int) -> Size:
        return Size(what=what, account=account, characters=quotas.length(made), quota=quota)

    of_host, name = account_of(options.host_role), parts(options.host_role)[1]
    for number, made in enumerate(documents, start=1):
        what = f"managed policy {number} of {len(documents)} of {name}"
        yield size(what, of_host, made, quotas.MANAGED)
    for arn, role in roles.items():
        yield size(
            f"trust policy of {parts(arn)[1]}", role.account, role.trust, options.trust_quota
        )
        if role.policy:
            what = f"inline policy of {parts(arn)[1]}"
            yield size(what, role.account, role.policy, quotas.INLINE)
    for number, made in enumerate(scp, start=1):
        yield size(f"service control policy {number} of {len(scp)}", None, made, quotas.SCP)
