"""The values between the server of the agent API and its two back ends."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from bootstrap.agent_api.routes import Route

if TYPE_CHECKING:
    from bootstrap.agent_api.spool import Spool

_JSON = {"Content-Type": "application/json"}


class MalformedError(ValueError):
    """A call's body is not what the call has to have. The message is for whoever made it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One authenticated call, except for `STORE`, whose path is the authentication."""

    route: Route
    method: str
    path: tuple[str, ...]  # decoded
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names in small letters; those that repeat are refused
    body: BinaryIO  # at its beginning; the server closes it
    size: int  # bytes

    def document(self) -> dict[str, Any]:
        """Return the body's JSON object, or an empty one without a body. Raises MalformedError.

        Names that repeat are refused: two readers could take different ones for the right one.
        """
        return parsed(self.body.read(self.size))


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What is sent back. A file is sent from where it is, and `closing` called at the end."""

    status: int = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | BinaryIO = b""
    size: int = 0  # of a file; that of bytes is their own
    closing: Callable[[], object] = lambda: None
    refused: str = ""  # why, if this refuses the call

    @property
    def length(self) -> int:
        """The bytes of the body."""
        return len(self.body) if isinstance(self.body, bytes) else self.size


@dataclass(frozen=True, kw_only=True, slots=True)
class RefusedCall:
    """A call that was refused, for the audit trail. Every text is printable."""

    method: str
    path: str  # without its query
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentApiGrant:
    """What a rule allows a live job's agent to call. By default nothing but its checkout's call.

    `steps`: read and update steps of its build, update the job, declare its failure.
    `cancel`: cancel steps of its build, and the build. `other_builds`: read meta-data and search
    artifacts of other builds too. `caches`: cache registries, which other pipelines may share.
    """

    oidc_audiences: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    meta_data: bool = False
    artifacts: bool = False
    annotations: bool = False
    pipeline_upload: bool = False
    steps: bool = False
    cancel: bool = False
    other_builds: bool = False
    caches: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnIds:
    """What Buildkite calls this job, its build and its step; "", where unknown, equals nothing."""

    job: str
    build: str = ""
    step: str = ""


class Backend(Protocol):
    """Answers the calls of one job. Both methods are called from several threads."""

    @property
    def spool(self) -> "Spool":
        """Where bodies are kept until their call has been answered."""

    def refuses(self, route: Route) -> str:
        """Return why every call of this kind is refused, or "". Waits for nothing."""

    def answer(self, call: Call) -> Answer:
        """Answer a call of the server's own job. May wait. Raises MalformedError."""


def parsed(content: bytes) -> dict[str, Any]:
    """Return a JSON object; an empty one for no content. Raises MalformedError."""
    if not content.strip():
        return {}
    try:
        document = json.loads(content, object_pairs_hook=_distinct, parse_constant=_no_constant)
    except (ValueError, RecursionError) as wrong:
        raise MalformedError(f"the body is not JSON: {wrong}") from None
    if not isinstance(document, dict):
        raise MalformedError("the body is not a JSON object")
    return document


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a name is there twice")
    return members


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def json_answer(document: Any, status: int = HTTPStatus.OK) -> Answer:  # noqa: ANN401 - JSON
    """Answer with a JSON document."""
    return Answer(status=status, headers=_JSON, body=json.dumps(document).encode())


def problem(status: int, message: str) -> Answer:
    """Answer with an error, whose message the agent prints."""
    return json_answer({"message": message}, status)


def refusal(why: str, *, status: int = HTTPStatus.FORBIDDEN) -> Answer:
    """Refuse a call: it is reported, and the agent, which does not try again, prints why."""
    document = json.dumps({"message": f"Airlock: {why}"}).encode()
    return Answer(status=status, headers=_JSON, body=document, refused=why)
