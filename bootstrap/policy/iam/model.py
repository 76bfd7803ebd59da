"""IAM documents of all policies, and what they are made of."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from bootstrap.aws.iam import Statement
from bootstrap.text import counted

Document = dict[str, Any]


class Trust(StrEnum):
    """What the trust policies of roles name."""

    PIPELINES = "pipelines"  # the pipelines, branches and tags of the rules that grant the role
    TAGS = "tags"  # that a host of Airlock tagged the session: no new pipeline changes them


@dataclass(frozen=True, kw_only=True, slots=True)
class HostNeeds:
    """What a host's own configuration needs of AWS, whatever the policies grant."""

    statements: tuple[Statement, ...] = ()  # to read the store and the guardrails
    observe_role: str | None = None
    images: tuple[str, ...] = ()
    references: tuple[str, ...] = ()  # of the logins of its registries
    ecr: bool = False  # whether a registry's login is ECR's


@dataclass(frozen=True, kw_only=True, slots=True)
class Role:
    """One role that a rule grants, or that assumes such a role."""

    arn: str
    trust: Document
    policy: Document | None  # what Airlock itself needs of it; the permissions are the operator's
    longest: timedelta  # MaxSessionDuration
    callers: tuple[str, ...]  # roles that the trust policy names: they have to exist before

    @property
    def account(self) -> str:
        """The twelve digits of the role's account."""
        return account_of(self.arn)


@dataclass(frozen=True, kw_only=True, slots=True)
class Iam:
    """Everything that the policies of a store need."""

    host_role: str
    host: tuple[Document, ...]  # managed policies for the hosts' role
    roles: Mapping[str, Role]  # by ARN
    providers: tuple[str, ...]  # accounts that need Buildkite as an identity provider
    scp: tuple[Document, ...]
    notes: tuple[str, ...]  # what IAM cannot express, and what a limit changed
    sizes: tuple["Size", ...]

    @property
    def accounts(self) -> tuple[str, ...]:
        """Every account that needs a stack."""
        roles = {role.account for role in self.roles.values()}
        host = {account_of(self.host_role)} if self.host else set[str]()
        return tuple(sorted(roles | host))


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How long a document is, and how long IAM allows it to be."""

    what: str
    account: str | None  # None: the organization
    characters: int
    quota: int

    def __str__(self) -> str:
        return f"{self.what}: {self.characters:,} of {counted(self.quota, 'character')}"


def document(*statements: Mapping[str, Any]) -> Document:
    """Return a policy of these statements."""
    return {"Version": "2012-10-17", "Statement": [dict(statement) for statement in statements]}


def account_of(arn: str) -> str:
    """Return the twelve digits of an ARN's account."""
    return arn.split(":")[4]


def partition_of(arn: str) -> str:
    """Return the partition of an ARN."""
    return arn.split(":")[1]


def parts(role: str) -> tuple[str, str]:
    """Return path and name of a role's ARN."""
    path, _, name = role.partition(":role/")[2].rpartition("/")
    return f"/{path}/" if path else "/", name


def one_or_list(values: Iterable[str]) -> str | list[str]:
    """Return the values as IAM's shortest form of them: one, or a sorted list."""
    listed = sorted(set(values))
    return listed[0] if len(listed) == 1 else listed
