"""What a kind of grant is: what it needs of AWS, and how it reaches the sandbox of a job.

Each kind is one file beside this one and one entry of `bootstrap.grants.KINDS`. Policies, IAM,
guardrails, the fetching of secrets and their delivery ask the kinds and name none of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from bootstrap.aws.model import Session
from bootstrap.errors import CannotStart
from bootstrap.logins import Login
from bootstrap.secret import Secret

DEFAULT = "default"  # the name of the session that is not a named profile's

BY_ROLE = "role"  # in place of a reference: what ECR gives to the session of DEFAULT

G = TypeVar("G")
Variables = Mapping[str, str | Secret]  # of the job's environment; a Secret is redacted in its log


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """What has to be obtained before a grant can be delivered."""

    roles: Mapping[str, str] = field(default_factory=dict)  # AWS profile, or DEFAULT -> role ARN
    references: Mapping[str, str] = field(default_factory=dict)  # name -> "ssm:/path"
    ecr: tuple[str, ...] = ()  # registries whose login is BY_ROLE


class Sessions(Protocol):
    """One role's session, which is renewed while the job runs."""

    def current(self) -> Session | None:
        """Return the session, or None once it has expired."""

    def publish(self, to: Callable[[Session], object]) -> None:
        """Call `to` with the current session and with every later one."""


def unexpired(sessions: Sessions, role: str) -> Session:
    """Return the session of the role. Raises CannotStart if it has expired already."""
    session = sessions.current()
    if session is None:
        raise CannotStart(
            f"the session of {role} expired before the sandbox was ready",
            hint="Is this host's clock right?",
        )
    return session


@dataclass(frozen=True, kw_only=True, slots=True)
class Obtained:
    """What the kinds of one grant needed."""

    sessions: Mapping[str, Sessions]  # by AWS profile; DEFAULT is the job's own role
    secrets: Mapping[str, Secret]  # by reference
    logins: Mapping[str, Login]  # of ECR, by registry


class Delivery(Protocol):
    """A job's sandbox, before anything of the job runs in it."""

    @property
    def root(self) -> PurePosixPath:
        """Where the job sees the files that are put there."""

    @property
    def env(self) -> Mapping[str, str]:
        """The variables of the job's own that it gets."""

    @property
    def region(self) -> str:
        """The host's AWS region."""

    @property
    def endpoint(self) -> str | None:
        """The path of the job's credential endpoint; None if the grant has none."""

    def put(self, inside: PurePosixPath, content: bytes) -> None:
        """Write a file below `root`, whole, that only the job's user reads."""

    def start_ssh_agent(self, keys: Mapping[str, Secret]) -> Variables:
        """Hold these keys, by their references, in an agent on the host for as long as the job.

        Raises WrongConfiguration for a key that cannot be used, CannotStart without an agent.
        """


@dataclass(frozen=True, kw_only=True)
class Kind(ABC, Generic[G]):
    """One kind; an instance is what one rule grants of it. Instances are pure values."""

    key: ClassVar[str]  # below `allow:` in a policy
    noun: ClassVar[str]  # what `who-can`, `diff` and the access map call one of it
    grammar: ClassVar[Any]  # the annotation of `granted` for pydantic, with its empty default

    granted: G  # what the rule says at `key`; never empty

    @abstractmethod
    def needs(self) -> Needs:
        """Return what has to be obtained."""

    def check(self, obtained: Obtained) -> None:
        """Raise WrongConfiguration for a secret that cannot be delivered: no container yet."""

    def fetches(self, repository: str) -> bool:
        """Say whether git may need this kind to fetch the repository of that URL."""
        del repository
        return False

    def derived(self, obtained: Obtained) -> tuple[Secret, ...]:
        """Return the forms, beside the stored one, in which a checked secret could be printed."""
        del obtained
        return ()

    @abstractmethod
    def deliver(self, obtained: Obtained, sandbox: Delivery) -> Variables:
        """Put the files of a checked grant, and return its variables."""
