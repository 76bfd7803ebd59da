"""What is wrong with airlock.toml, and what to do about it."""

from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.errors import WrongConfiguration
from bootstrap.grammar import Schema
from bootstrap.text import counted

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

_CORRECT = (
    "agent-config/airlock.toml in Airlock's repository shows every setting; `airlock serve "
    "--check` reads the file again."
)
_WRITE = (
    "`install -D -m 0644 agent-config/airlock.toml /etc/airlock/airlock.toml` in Airlock's "
    "repository writes one to edit; --config names another."
)
_REMOVED = ("sandbox", "uid")
_REMOVED_TEXT = (
    "sandbox.uid no longer exists: each running job has a uid of its own; "
    "set first-uid and slots there instead"
)


def unreadable(path: Path, why: OSError) -> WrongConfiguration:
    """Return the error for a file that cannot be read."""
    return _wrong(path, f"cannot be read: {why.strerror}", hint=_WRITE)


def not_toml(path: Path, why: ValueError) -> WrongConfiguration:
    """Return the error for a file of another form."""
    return _wrong(path, f"is not TOML: {why}")


def writable_by_others(path: Path, *, uid: int, mode: int) -> WrongConfiguration:
    """Return the error for a file that others than root can write to."""
    return _wrong(
        path,
        f"belongs to uid {uid} with mode {mode:04o}; expected root, 0644",
        hint=f"`chown root {path} && chmod go-w {path}`, and check what was written to it.",
    )


def invalid(path: Path, found: "ValidationError", schema: Schema) -> WrongConfiguration:
    """Return the error for a file with mistakes; `schema` is the JSON schema of such files."""
    from bootstrap.mistakes import explain  # noqa: PLC0415 - as pydantic, see bootstrap/fields.py

    errors = [error for error in found.errors() if error["loc"] != _REMOVED]
    details = [explain(_without_secrets(error), schema) for error in errors]
    if len(errors) < found.error_count():
        details.append(_REMOVED_TEXT)
    return _wrong(path, f"has {counted(len(details), 'mistake')}", details=tuple(details))


def _without_secrets(error: "ErrorDetails") -> "ErrorDetails":
    """Hide a proxy's URL: it may have a password, in a form that nothing masks."""
    if error["loc"] == ("aws", "https-proxy"):
        return {**error, "input": "another text, which is not shown"}
    return error


def _wrong(
    path: Path, what: str, *, details: tuple[str, ...] = (), hint: str = _CORRECT
) -> WrongConfiguration:
    return WrongConfiguration(f"{path} {what}", hint=hint, details=details)
