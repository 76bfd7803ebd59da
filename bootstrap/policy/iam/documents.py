"""The IAM documents that the policies of a store need, within IAM's limits."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from bootstrap.aws.iam import LOGIN, allow
from bootstrap.errors import WrongConfiguration
from bootstrap.policy.glob import matches
from bootstrap.policy.iam import host, quotas
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
from bootstrap.policy.iam.trust import trust_policy
from bootstrap.policy.model import Policy

_COMPRESSED = (
    "The roles that rules name take more than the managed policies of one role, so the hosts' role "
    "may assume what the guardrails' `roles` allow. Trust policies are not affected."
)
HOUR = timedelta(hours=1)  # the least that IAM lets a role allow


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How the documents are made. Without an `organization`, tokens of a placeholder are trusted.

    `patterns` are the guardrails' globs over roles: what a host's role may assume if the names of
    all roles take more than IAM allows. `keys` are the ARNs of the KMS keys of secrets.
    """

    host_role: str
    organization: str | None = None
    needs: HostNeeds = HostNeeds()  # noqa: RUF009 - frozen
    trust: Trust = Trust.PIPELINES
    trust_quota: int = quotas.TRUST
    keys: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()


def iam(policies: Iterable[Policy], options: Options) -> Iam:
    """Return all documents. Raises WrongConfiguration for what IAM would refuse."""
    listed = tuple(policies)
    made = list(calls(listed, options.host_role))
    if options.needs.observe_role:
        made.append(observed(options.needs.observe_role, options.host_role))
    check(made, options.trust)
    by_role: dict[str, list[Call]] = {}
    for call in made:
        by_role.setdefault(call.role, []).append(call)
    roles = {arn: _role(arn, by_role[arn], made, listed, options) for arn in sorted(by_role)}
    documents, compressed = _host(listed, made, options)
    callers = {options.host_role, *(call.caller for call in made if call.caller)}
    scp = service_control(sorted(callers), list(roles))
    return Iam(
        host_role=options.host_role,
        host=documents,
        roles=roles,
        providers=tuple(sorted({account_of(c.role) for c in made if c.caller is None})),
        scp=scp,
        notes=(*compressed, *notes(made, options.trust)),
        sizes=tuple(_sizes(options, documents, roles, scp)),
    )


def _role(
    arn: str, own: Sequence[Call], made: Sequence[Call], listed: Sequence[Policy], options: Options
) -> Role:
    def trust_of(some: Sequence[Call]) -> Document:
        return trust_policy(some, options.organization, options.trust)

    trust = trust_of(own)
    names = sorted({call.pipeline for call in own if call.pipeline})
    shares = {p: quotas.length(trust_of([c for c in own if c.pipeline == p])) for p in names}
    quotas.require(
        f"the trust policy of {arn}", trust, options.trust_quota, shares,
        hint="Divide the role among pipelines, or use --trust tags, which names no pipeline in it "
        '(docs/aws.md#a-catalogue-of-roles), or let AWS raise the quota "Role trust policy '
        'length" of the account and pass --trust-policy-quota.',
    )  # fmt: skip
    return Role(
        arn=arn,
        trust=trust,
        policy=_policy(arn, made, listed, options),
        longest=max([HOUR, *(call.duration for call in own)]),
        callers=tuple(sorted({call.caller for call in own if call.caller})),
    )


def _policy(
    arn: str, made: Sequence[Call], listed: Sequence[Policy], options: Options
) -> Document | None:
    """Return what Airlock needs of the role itself: to assume others, and what `role` reads."""

    def needed(some: Sequence[Policy]) -> list[Need]:
        names = {policy.pipeline for policy in some}
        others = [c.role for c in made if c.caller == arn and c.pipeline in names]
        allowed = [r.allow for p in some for r in p.rules if r.allow.role == arn]
        read = [x for a in allowed if a.secrets_with_role for x in a.references]
        logs_in = any(kind.needs().ecr for a in allowed for kind in a.kinds)
        login = Need(names=["*"], made=lambda names: {"Sid": "AirlockLogin", **allow(LOGIN, names)})
        return [
            *host.sessions(others),
            *host.secrets(read, keys=options.keys, **host.of_account(arn)),
            *([login] if logs_in else []),
        ]

    documents = quotas.divided(needed(listed), 1 << 30)
    if not documents:
        return None
    quotas.require(
        f"the inline policy of {arn}", documents[0], quotas.INLINE, _shares(listed, needed),
        hint="Let fewer rules use this role for session.via or secrets-with.",
    )  # fmt: skip
    return documents[0]


def _host(
    listed: Sequence[Policy], made: Sequence[Call], options: Options
) -> tuple[tuple[Document, ...], tuple[str, ...]]:
    """Return the managed policies of the hosts' role, and whether a limit widened them."""

    def needed(some: Sequence[Policy], roles: Callable[[str], str] = str) -> list[Need]:
        names = {None, *(policy.pipeline for policy in some)}
        wanted = [
            roles(call.role)
            for call in made
            if call.caller == options.host_role and call.pipeline in names
        ]
        by_tag = options.trust is Trust.TAGS
        return [
            *(host.sessions_by_tag(wanted) if by_tag else host.sessions(wanted)),
            *_reading(some, options),
        ]

    documents = quotas.divided(needed(listed), quotas.MANAGED)
    if len(documents) <= quotas.MANAGED_OF_A_ROLE:
        return documents, ()
    arns = tuple(p for p in options.patterns if p.startswith("arn:") and p.count(":") >= 5)
    documents = quotas.divided(
        needed(listed, lambda role: next((p for p in arns if matches(p, role)), role)),
        quotas.MANAGED,
    )
    if len(documents) > quotas.MANAGED_OF_A_ROLE:
        raise _too_many(options.host_role, len(documents), _shares(listed, needed))
    return documents, (_COMPRESSED,)


def _reading(some: Sequence[Policy], options: Options) -> Iterable[Need]:
    """Yield what reading the store, secrets and images needs."""
    needs, partition = options.needs, host.of_account(options.host_role)["partition"]
    for number, statement in enumerate(needs.statements):
        yield host.fixed("AirlockPolicies" if number == 0 else "AirlockGuardrails", statement)
    rules = [rule.allow for policy in some for rule in policy.rules]
    read = [x for allowed in rules if not allowed.secrets_with_role for x in allowed.references]
    yield from host.secrets(
        [*read, *needs.references], keys=options.keys, **host.of_account(options.host_role)
    )
    images = [allowed.image for allowed in rules if allowed.image]
    yield from host.pulls([*images, *needs.images], partition=partition, login=needs.ecr)


def _shares(
    listed: Sequence[Policy], needed: Callable[[Sequence[Policy]], list[Need]]
) -> Mapping[str, int]:
    """Return how many characters each pipeline would need alone."""
    return {
        policy.pipeline: sum(map(quotas.length, quotas.divided(needed([policy]), 1 << 30)))
        for policy in listed
    }


def _too_many(host_role: str, found: int, shares: Mapping[str, int]) -> WrongConfiguration:
    return WrongConfiguration(
        f"{host_role} needs {found} managed policies of {quotas.MANAGED:,} characters; expected at "
        f"most {quotas.MANAGED_OF_A_ROLE}: {quotas.largest(shares)}",
        hint="Write guardrails whose `roles` are ARNs with globs, which are used instead of "
        "names, or keep the roles below paths of their pipelines and use --trust tags "
        "(docs/aws.md#a-catalogue-of-roles).",
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
