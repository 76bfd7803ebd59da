"""Documents as files that only root could have written."""

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bootstrap.errors import WrongConfiguration
from bootstrap.policy.model import MAX_TEXT

_HINT = "Name a directory of <pipeline slug>.yaml documents."
_COPY = "Replace the link by a copy of the file that it leads to."
_ACCESS = "Check the owner and mode of the file and of the directories above it."
_REPLACE = "Remove it, or put a document in its place."
_MOST = 4 * MAX_TEXT  # bytes of a document's characters in UTF-8
# Never wait for a pipe, never follow a link out of the store.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, kw_only=True, slots=True)
class _Setting:
    """What a key of airlock.toml names: as errors call it, and what to do about each mistake."""

    called: str
    owner: str
    no_directory: str
    no_file: str


_STORE = _Setting(
    called="the policy store's",
    owner="policy.store in airlock.toml names the store; `chown root` and `chmod go-w` it.",
    no_directory="policy.store in airlock.toml names the store: correct it, or create the "
    "directory.",
    no_file=_REPLACE,
)
_GUARDRAILS = _Setting(
    called="the guardrails'",
    owner="policy.guardrails in airlock.toml names them; `chown root` and `chmod go-w` it. Only "
    "root may be able to write the file and its directory.",
    no_directory=_ACCESS,
    no_file="policy.guardrails in airlock.toml names them: name the file if this is its directory, "
    "else put a document in its place.",
)


def pipeline_text(directory: Path, pipeline: str) -> str | None:
    """Return the text of <directory>/<pipeline>.yaml, or None if there is none.

    Raises WrongConfiguration if the directory or the file cannot be read, or if a user other
    than root could have written them. `pipeline` must be safe as a file name (job.assemble).
    """
    _trusted(directory, _STORE)
    return text_of(directory / f"{pipeline}.yaml")


def guardrails_text(path: Path) -> str | None:
    """Return the text of the guardrails, or None if there are none. Raises as `pipeline_text`.

    Who can write their directory could put an older document of root's in their place.
    """
    text = _trusted_text(path, _GUARDRAILS)
    if text is not None:
        _trusted(path.parent, _GUARDRAILS)
    return text


def text_of(path: Path) -> str | None:
    """Return the text of one file, or None if there is none. Raises as `pipeline_text`."""
    return _trusted_text(path, _STORE)


def _trusted_text(path: Path, setting: _Setting) -> str | None:
    try:
        return _text(path, lambda status: _check(path, status, setting, directory=False))
    except FileNotFoundError:
        return None
    except _Unusable as unusable:
        raise _wrong(path, setting, str(unusable), unusable.hint) from unusable


def plain_text(path: Path) -> str:
    """Return the text of a document that decides about no job here: its owner does not matter.

    Raises WrongConfiguration for everything else because of which a host would not read it.
    """
    try:
        return _text(path, _regular)
    except FileNotFoundError as absent:
        raise WrongConfiguration(_why(absent), hint=_HINT) from absent
    except _Unusable as unusable:
        raise WrongConfiguration(str(unusable), hint=unusable.hint) from unusable


class _Unusable(Exception):
    """No host would read this file."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.hint = hint


def _text(path: Path, check: Callable[[os.stat_result], None]) -> str:
    """Return a file's text. Raises FileNotFoundError, _Unusable, and what `check` raises."""
    try:
        descriptor = os.open(path, _FLAGS)
    except FileNotFoundError:
        raise
    except OSError as unreadable:
        is_link = unreadable.errno == errno.ELOOP
        raise _Unusable(_why(unreadable), _COPY if is_link else _ACCESS) from unreadable
    try:
        check(os.fstat(descriptor))
        return _content(descriptor)
    finally:
        os.close(descriptor)


def _regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _Unusable("is not a regular file", _REPLACE)


def _content(descriptor: int) -> str:
    try:
        content = os.read(descriptor, _MOST + 1)
    except OSError as failed:
        raise _Unusable(f"cannot be read: {failed.strerror}", _ACCESS) from failed
    if len(content) > _MOST:
        text = f"has more than {_MOST} bytes, the most that a document can have"
        raise _Unusable(text, "Remove comments and repeated rules, or list patterns in one rule.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as binary:
        raise _Unusable(f"is not UTF-8 at byte {binary.start}", "Save it as UTF-8.") from binary


def _why(unreadable: OSError) -> str:
    if unreadable.errno == errno.ELOOP:
        return "cannot be read: it is a symbolic link, which hosts do not follow"
    return f"cannot be read: {unreadable.strerror}"


def _trusted(directory: Path, setting: _Setting) -> None:
    try:
        status = directory.stat()
    except OSError as absent:
        why = f"cannot be read: {absent.strerror}"
        raise _wrong(directory, setting, why, setting.no_directory) from absent
    _check(directory, status, setting, directory=True)


def _check(path: Path, status: os.stat_result, setting: _Setting, *, directory: bool) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if directory and not stat.S_ISDIR(status.st_mode):
        raise _wrong(path, setting, "is not a directory", setting.no_directory)
    if not directory and not stat.S_ISREG(status.st_mode):
        raise _wrong(path, setting, "is not a regular file", setting.no_file)
    if status.st_uid not in (0, os.geteuid()) or mode & 0o022:
        owner = f"belongs to uid {status.st_uid} with mode {mode:04o}"
        why = f"{owner}; expected root, and no write permission for others"
        raise _wrong(path, setting, why, setting.owner)


def _wrong(path: Path, setting: _Setting, what: str, hint: str) -> WrongConfiguration:
    return WrongConfiguration(f"{setting.called} {path} {what}", hint=hint)
