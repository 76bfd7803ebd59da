"""What a kind of grant is: what it needs of AWS, and how it reaches the sandbox of a job.

Each kind is one file beside this one and one entry of `bootstrap.grants.KINDS`. Policies, IAM,
guardrails, the fetching of secrets and their delivery use this interface and name no kind.
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

# What rules and guardrails decide about. A secret in one of these, the rule's or Buildkite's own,
# would make it another job than the one that was admitted.
DECIDED = frozenset(
    f"BUILDKITE_{name}"
    for name in (
        "BRANCH", "COMMAND", "COMMIT", "GIT_REMOTE_MIRROR_URL", "JOB_ID", "ORGANIZATION_SLUG",
        "PIPELINE_SLUG", "PLUGINS", "PULL_REQUEST", "PULL_REQUEST_REPO", "REFSPEC", "REPO", "TAG",
    )
)  # fmt: skip

G = TypeVar("G")
Variables = Mapping[str, str | Secret]  # of the job's environment; a Secret is redacted in its log


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """What must be obtained before a grant can be delivered."""

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
            hint="Check this host's clock: `chronyc tracking`.",
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
        """The directory in which the job sees the files."""

    @property
    def env(self) -> Mapping[str, str]:
        """The job's own variables that reach the sandbox."""

    @property
    def region(self) -> str:
        """The host's AWS region."""

    @property
    def endpoint(self) -> str | None:
        """The path of the job's credential endpoint; None if the grant has none."""

    def put(self, inside: PurePosixPath, content: bytes) -> None:
        """Write a file below `root`, whole, that only the job's user can read."""

    def start_ssh_agent(self, keys: Mapping[str, Secret]) -> Variables:
        """Load these keys, by their references, into an agent on the host that ends with the job.

        Raises WrongConfiguration for a key that cannot be used, CannotStart without an agent.
        """


@dataclass(frozen=True, kw_only=True)
class Kind(ABC, Generic[G]):
    """One kind; an instance is what one rule grants of it. Instances are pure values."""

    key: ClassVar[str]  # below `allow:` in a policy
    noun: ClassVar[str]  # what `who-can`, `diff` and the access map call one of it

    granted: G  # what the rule says at `key`; never empty

    @staticmethod
    @abstractmethod
    def grammar() -> Any:  # noqa: ANN401 - an annotation
        """Return the annotation of `granted` for pydantic, with its empty default."""

    @abstractmethod
    def needs(self) -> Needs:
        """Return what must be obtained."""

    def variables(self) -> tuple[str, ...]:
        """Return the variables whose names the rule chooses."""
        return ()

    def check(self, obtained: Obtained) -> None:
        """Raise WrongConfiguration for a secret that cannot be delivered, before the job begins."""

    def fetches(self, repository: str) -> bool:
        """Return whether git may need this kind to fetch the repository of that URL."""
        del repository
        return False

    def hosts(self) -> tuple[str, ...]:
        """Return the hosts for which this is, as far as the grant says so."""
        return ()

    def derived(self, obtained: Obtained) -> tuple[Secret, ...]:
        """Return the forms, beside the stored one, in which a checked secret could be printed."""
        del obtained
        return ()

    @abstractmethod
    def deliver(self, obtained: Obtained, sandbox: Delivery) -> Variables:
        """Write the files of a checked grant, and return its variables."""
