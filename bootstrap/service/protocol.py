"""What launcher and service send each other: docs/service.md#the-protocol."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from bootstrap.errors import CannotStart, Refused, WrongConfiguration
from bootstrap.sandbox.supervision.exitstatus import DieBy, ExitStatus, ExitWith
from bootstrap.text import printable

MAGIC = b"ALR1"
HEADER = struct.Struct("=4sIII")
DESCRIPTORS = 4  # stdin, stdout, stderr, working directory
MOST_ARGUMENTS = 64 << 10  # bytes
MOST_ENVIRONMENT = 8 << 20  # bytes
# The kernel starts a program with about 200,000 at most, by default: each takes a pointer too.
MOST_VARIABLES = 1 << 18
COMMANDS = ("bootstrap", "admit")

BEGUN = b"B"
_EXIT, _SIGNAL, _REFUSED = b"E", b"S", b"R"
_ONE_VERSION = "Install Airlock's launcher and service from one version."


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """How many bytes of arguments and environment follow the header."""

    arguments: int
    environment: int


def sizes(header: bytes) -> Sizes:
    """Read a header. Raises WrongConfiguration, CannotStart if what it announces is too large."""
    if len(header) != HEADER.size:
        raise WrongConfiguration(
            f"the request's header has {len(header)} bytes, expected {HEADER.size}",
            hint=_ONE_VERSION,
        )
    magic, arguments, environment, zero = HEADER.unpack(header)
    if magic != MAGIC or zero:
        raise WrongConfiguration(
            f"the request begins with {magic!r} and ends its header with {zero}, expected "
            f"{MAGIC!r} and 0",
            hint=_ONE_VERSION,
        )
    if arguments > MOST_ARGUMENTS or environment > MOST_ENVIRONMENT:
        raise CannotStart(
            f"the request has {arguments} bytes of arguments and {environment} of environment, "
            f"expected at most {MOST_ARGUMENTS} and {MOST_ENVIRONMENT}",
            hint="Move large values of the build's environment into meta-data or artifacts.",
        )
    return Sizes(arguments=arguments, environment=environment)


def check_descriptors(number: int) -> None:
    """Raise WrongConfiguration unless a request brings as many descriptors as it has to."""
    if number != DESCRIPTORS:
        raise WrongConfiguration(
            f"the request has {number} descriptors, expected {DESCRIPTORS}", hint=_ONE_VERSION
        )


def command(data: bytes) -> str:
    """Return the command that the arguments name. Raises WrongConfiguration."""
    match _terminated(data, "arguments"):
        case []:
            return COMMANDS[0]
        case [word] if word.decode("utf-8", "surrogateescape") in COMMANDS:
            return word.decode()
        case words:
            shown = printable(b" ".join(words).decode("utf-8", "replace"), limit=200)
            raise WrongConfiguration(
                f"the launcher's arguments are {shown!r}, expected "
                f"{' or '.join(map(repr, COMMANDS))}, or none",
                hint='Correct bootstrap-script in buildkite-agent.cfg, or the hook: "bootstrap" '
                "runs a job, and is what happens without arguments.",
            )


def environment(data: bytes) -> Mapping[str, str]:
    """Return the variables, as `airlock bootstrap` would find them in its own environment.

    Of two with one name the first counts, and what has no "=" is left out. Raises Refused if a
    name is empty, WrongConfiguration if the last one is not terminated, CannotStart if there are so
    many that they would take much more of the host's memory than of the request.
    """
    if (number := data.count(b"\0")) > MOST_VARIABLES:
        raise CannotStart(
            f"the request has {number} variables, expected at most {MOST_VARIABLES}",
            hint="Set fewer variables in the build's environment.",
        )
    found: dict[str, str] = {}
    for entry in _terminated(data, "environment"):
        name, equals, value = entry.decode("utf-8", "surrogateescape").partition("=")
        if equals and not name:
            raise Refused(
                "the environment has a variable without a name",
                hint="No job may set one: remove it from the pipeline, the step or the build.",
            )
        if equals:
            found.setdefault(name, value)
    return found


def _terminated(data: bytes, what: str) -> list[bytes]:
    *entries, rest = data.split(b"\0")
    if rest:
        raise WrongConfiguration(
            f"the last of the request's {what} is not terminated", hint=_ONE_VERSION
        )
    return entries


def ended(status: ExitStatus) -> bytes:
    """Return the message that has the launcher end with this status."""
    match status:
        case ExitWith(code=code):
            return _EXIT + bytes([code])
        case DieBy(signal=signal):
            return _SIGNAL + bytes([signal])


def refused(status: int, text: str) -> bytes:
    """Return the message that has the launcher print `text` and exit with `status`."""
    encoded = text.encode("utf-8", "replace")[:0xFFFF]
    return struct.pack("=cBH", _REFUSED, status, len(encoded)) + encoded
