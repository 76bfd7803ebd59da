"""The buildkite-agent of a replay: a program that runs in every image."""

import os
import re
import shutil
import struct
from pathlib import Path

from bootstrap import process
from bootstrap.errors import CannotStart, WrongConfiguration

_HINT = (
    "The job's bootstrap is buildkite-agent's: download the release that your hosts run (a single "
    "file), and name it with --agent."
)
_MAGIC = b"\x7fELF\x02\x01"  # 64 bit, little endian, as amd64 and arm64 have it
_HEADER = struct.Struct("<32xQ14xHH")  # e_phoff, e_phentsize, e_phnum
_INTERPRETER = 3  # PT_INTERP: it is loaded by a program that an image may not have


def found(named: Path | None, search: str) -> Path:
    """Return the one that is named, else the one on the path `search`.

    Raises WrongConfiguration if there is none, or if it could not run in every image.
    """
    name = str(named) if named else shutil.which("buildkite-agent", path=search)
    if not name:
        raise WrongConfiguration("there is no buildkite-agent on PATH", hint=_HINT)
    path = Path(name).resolve()
    if not path.is_file() or not os.access(path, os.X_OK):
        raise WrongConfiguration(f"there is no program at {name}", hint=_HINT)
    if problem := _not_static(path):
        raise WrongConfiguration(f"{path} is no buildkite-agent as released: {problem}", hint=_HINT)
    return path


def version(path: Path) -> str:
    """Return the version that it prints. Raises WrongConfiguration if it is another program."""
    try:
        printed = process.run([str(path), "--version"])
    except (CannotStart, ValueError):  # ValueError: its output is no text
        printed = ""
    if match := re.match(r"buildkite-agent version ([^\s,]+)", printed):
        return match[1]
    raise WrongConfiguration(
        f"{path} is no buildkite-agent: `--version` does not print one", hint=_HINT
    )


def _not_static(path: Path) -> str:
    """Return why it would not run in any image, or ""."""
    with path.open("rb") as file:
        head = file.read(64)
        if not head.startswith(_MAGIC) or len(head) < 64:
            return "it is not a program of Linux, but a script or something else"
        offset, size, number = _HEADER.unpack_from(head)
        file.seek(offset)
        headers = file.read(size * number)
    types = {int.from_bytes(headers[at : at + 4], "little") for at in range(0, len(headers), size)}
    return "it is linked to libraries, which an image may not have" if _INTERPRETER in types else ""
