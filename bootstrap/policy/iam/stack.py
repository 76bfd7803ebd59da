"""The part of the documents that belongs to one account, and its form as JSON."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import wrap

from bootstrap.aws.iam import AUDIENCE, ISSUER, provider
from bootstrap.errors import WrongConfiguration
from bootstrap.policy.iam.model import Document, Iam, Role, account_of, partition_of
from bootstrap.text import counted

RESOURCES = 500  # of one CloudFormation stack
WIDTH = 96  # of a comment's line
PROVIDER_URL = f"https://{ISSUER}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stack:
    """What one account needs. `host` are managed policies for the role that the hosts have."""

    account: str
    host_role: str
    host: tuple[Document, ...]
    roles: tuple[Role, ...]
    provider: str | None  # the ARN that Buildkite has as an identity provider of the account
    comments: tuple[str, ...]

    def after(self, role: Role) -> tuple[str, ...]:
        """Return the ids of the roles of this stack that have to exist before this one."""
        return tuple(logical(each.arn) for each in self.roles if each.arn in role.callers)

    @property
    def commented(self) -> str:
        """The comments, of which a file's own language begins each line with #."""
        lines = (line for text in self.comments for line in wrap(text, WIDTH) or [""])
        return "".join(f"# {line}\n" for line in lines)


def stack_of(made: Iam, account: str | None) -> Stack:
    """Return the stack of the account, or of the only one there is. Raises WrongConfiguration."""
    if account is None and len(made.accounts) == 1:
        account = made.accounts[0]
    account = known_account(made, account)
    roles = tuple(role for role in made.roles.values() if role.account == account)
    is_host = account_of(made.host_role) == account
    found = Stack(
        account=account,
        host_role=made.host_role,
        host=made.host if is_host else (),
        roles=roles,
        provider=provider(partition_of(roles[0].arn), account)
        if account in made.providers
        else None,
        comments=tuple(_comments(made, account, {role.arn for role in roles})),
    )
    _require_few(found)
    return found


def known_account(made: Iam, account: str | None) -> str:
    """Return the account. Raises WrongConfiguration for none, and for one that needs no stack."""
    if account is None or account not in made.accounts:
        known = ", ".join(made.accounts) or "none"
        raise WrongConfiguration(
            f"account {account} has no role of these policies"
            if account
            else f"a stack is of one account, and the policies need {len(made.accounts)}",
            hint=f"Pass --account with one of: {known}.",
        )
    return account


def _comments(made: Iam, account: str, roles: set[str]) -> Iterator[str]:
    yield f"Account {account}. Written by `airlock policy iam`; change the policies instead."
    for size in made.sizes:
        if size.account == account:
            yield str(size)
    for note in made.notes:
        if not note.startswith("arn:") or note.split(" ", 1)[0] in roles:
            yield note


def _require_few(stack: Stack) -> None:
    number = len(stack.host) + len(stack.roles) + 1
    if number > RESOURCES:
        raise WrongConfiguration(
            f"the stack of account {stack.account} has {counted(number, 'resource')}; "
            f"CloudFormation allows {RESOURCES}",
            hint="Let pipelines share roles (docs/aws.md#a-catalogue-of-roles).",
        )


def as_json(made: Iam, account: str | None) -> Document:
    """Return all documents by their purpose, of one account or of all."""
    of_host = account in {None, account_of(made.host_role)}
    return {
        "host-role": list(made.host) if of_host else [],
        "roles": {
            arn: {
                "trust": role.trust,
                "policy": role.policy,
                "max-session-duration": int(role.longest.total_seconds()),
            }
            for arn, role in made.roles.items()
            if account in {None, role.account}
        },
        "identity-providers": [
            {"account": each, "url": PROVIDER_URL, "audience": AUDIENCE}
            for each in made.providers
            if account in {None, each}
        ],
        "scp": list(made.scp),
        "sizes": [
            {"document": size.what, "account": size.account, "characters": size.characters,
             "quota": size.quota}
            for size in made.sizes
            if account is None or size.account in {None, account}
        ],
        "notes": list(made.notes),
    }  # fmt: skip


def host_description(number: int) -> str:
    """Return a managed policy's description, which never changes: a new one replaces the policy."""
    return f"What Airlock needs on its hosts, part {number}"


def logical(role: str) -> str:
    """Return an id of letters and digits that no other role has: `ci/a-b` is not `ci/a/b`."""
    words = re.findall(r"[A-Za-z0-9]+", role.partition(":role/")[2])
    digest = hashlib.sha256(role.encode()).hexdigest()[:8]
    return "".join(["Role", *(word[:1].upper() + word[1:] for word in words)])[:247] + digest
