"""The service containers of a rule as values (docs/services.md)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

MOST = 8  # service containers of one rule
MEMORY, CPUS, PIDS = 1 << 30, 1.0, 512  # what one may use if its rule does not say
READY_WITHIN = timedelta(minutes=2)

_PORT = r"(?P<port>[1-9][0-9]{0,4})"
_TCP = re.compile(rf"tcp:{_PORT}", re.ASCII)
_HTTP = re.compile(rf"http:{_PORT}(?P<path>/[!-~]{{0,500}})?", re.ASCII)
_LOG = re.compile(r"log:(?P<text>\S(.{0,198}\S)?)")


@dataclass(frozen=True, kw_only=True, slots=True)
class TcpReady:
    """Ready once something accepts a connection at this port."""

    port: int


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpReady:
    """Ready once a GET of this path has a status from 200 to 399."""

    port: int
    path: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LogReady:
    """Ready once it has printed a line with this text in it."""

    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StartedReady:
    """Ready as soon as it has started."""


Ready = TcpReady | HttpReady | LogReady | StartedReady


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceContainer:
    """One server beside a job. Nothing of it is secret.

    `command` is None for the image's own. `ready` is as documents have it, see `readiness`.
    `user` is a name, "" for the service's own; its number is that of the job's user.
    """

    image: str
    env: Mapping[str, str] = field(default_factory=dict)
    command: tuple[str, ...] | None = None
    ready: str = ""
    ready_within: timedelta = READY_WITHIN
    user: str = ""
    tmpfs: tuple[str, ...] = ()
    memory: int = MEMORY  # bytes
    cpus: float = CPUS
    pids: int = PIDS


def readiness(text: str) -> Ready:
    """Return when a service counts as ready, of `tcp:PORT`, `http:PORT/PATH`, `log:TEXT` or "".

    Raises ValueError with what was expected.
    """
    if not text:
        return StartedReady()
    if found := _TCP.fullmatch(text):
        return TcpReady(port=_port(found["port"]))
    if found := _HTTP.fullmatch(text):
        return HttpReady(port=_port(found["port"]), path=found["path"] or "/")
    if (found := _LOG.fullmatch(text)) and text.isprintable():
        return LogReady(text=found["text"])
    raise ValueError(
        "expected tcp:5432, http:8080/path or log:TEXT, with a text of at most 200 printable "
        "characters"
    )


def _port(digits: str) -> int:
    port = int(digits)
    if port > 65535:
        raise ValueError("expected a port from 1 to 65535")
    return port


def port_of(ready: Ready) -> int | None:
    """Return the port that a service has to listen at to be ready, if that is known."""
    match ready:
        case TcpReady(port=port) | HttpReady(port=port):
            return port
        case LogReady() | StartedReady():
            return None
