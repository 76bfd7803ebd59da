"""The two files in which the agent passes the job's environment.

Their form: docs/agent-contract.md#the-environment-files
"""

import json
import re
from collections.abc import Iterable, Mapping

from bootstrap.errors import AirlockError, CannotStart, Refused
from bootstrap.text import printable

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
MAX_FILE = 2 << 20  # bytes: Linux starts no process with a larger environment
MAX_STRING = 131_071  # bytes of NAME=VALUE, the kernel's MAX_ARG_STRLEN without its NUL

_SIMPLE = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", '"': '"', "'": "'",
}  # fmt: skip
_ESCAPE = re.compile(
    rb"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([abfnrtv\\\"'])|(.)|$)",
    re.DOTALL,
)


def parse_json(data: bytes) -> dict[str, str]:
    """Read BUILDKITE_ENV_JSON_FILE.

    Raises CannotStart if it is not what an agent writes, Refused for a name or value that no job
    may bring.
    """
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as broken:
        raise _broken(f"it is not JSON: {printable(str(broken))}") from broken
    if not isinstance(document, dict):
        raise _broken(f"expected an object of strings, got {type(document).__name__}")
    for name, value in document.items():
        if not isinstance(value, str):
            raise _broken(f"{printable(name)!r} is {type(value).__name__}, expected a string")
    return checked(document)


def parse_shell(data: bytes) -> dict[str, str]:
    """Read BUILDKITE_ENV_FILE: NAME="…" in Go's %q per line.

    Bare names (docs/agent-contract.md#agent-3-and-agent-4) are undefined. The file is
    never sourced: `$` and backticks in it are literal. Raises as `parse_json` does.
    """
    lines = [line for line in data.split(b"\n") if b"=" in line]
    return checked(_no_duplicates(_assignment(line) for line in lines))


def _assignment(line: bytes) -> tuple[str, str]:
    name, _, quoted = line.partition(b"=")
    if len(quoted) < 2 or not (quoted.startswith(b'"') and quoted.endswith(b'"')):
        raise _broken(
            f'the line of {printable(repr(name[:60]))} is not NAME="value"; '
            "the file may be cut short"
        )
    try:
        return name.decode("utf-8"), _ESCAPE.sub(_unescape, quoted[1:-1]).decode("utf-8")
    except UnicodeDecodeError as invalid:
        raise _broken(f"{printable(repr(name[:60]))} is not UTF-8") from invalid


def _unescape(match: re.Match[bytes]) -> bytes:
    byte, short, long, simple, unknown = match.groups()
    if byte:
        return bytes([int(byte, 16)])
    if short or long:
        code = int(short or long, 16)
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise _broken(f"\\u{code:x} is not a character")
        return chr(code).encode("utf-8")
    if simple:
        return _SIMPLE[simple.decode()].encode()
    raise _broken(f"unknown escape \\{printable(repr(unknown or b''))}")


def _no_duplicates(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    env: dict[str, object] = {}
    for name, value in pairs:
        if name in env:
            raise _broken(f"{printable(name)!r} is in it twice")
        env[name] = value
    return env


def checked(env: Mapping[str, object]) -> dict[str, str]:
    """Return the environment. Raises Refused for a name or value that no job may bring."""
    strings = {name: str(value) for name, value in env.items()}
    for name, value in strings.items():
        problem = _problem(name, value)
        if problem:
            raise Refused(
                f"the job's environment variable {printable(name, limit=80)!r} {problem}",
                hint="Rename or shorten it in the pipeline, the step or the build that sets it.",
            )
    return strings


def _problem(name: str, value: str) -> str | None:
    if not NAME.fullmatch(name):
        # "X=Y" as a name becomes an assignment of X, over the agent's own
        # (docs/agent-contract.md#who-sets-which-variable).
        return "is not a variable name: expected letters, digits and _, not starting with a digit"
    if "\0" in value:
        return "contains a NUL byte, which no process environment can contain"
    try:
        size = len(f"{name}={value}".encode())
    except UnicodeEncodeError:
        return "contains a lone surrogate, which is not text"
    if size > MAX_STRING:
        return f"takes {size} bytes with its name; Linux gives a process at most {MAX_STRING}"
    return None


def _broken(what: str) -> AirlockError:
    return CannotStart(
        f"the agent's job environment file cannot be used: {what}",
        hint="Check whether the disk of the agent's temporary directory is full. Airlock is tested "
        "with buildkite-agent 3.82 and later.",
    )
