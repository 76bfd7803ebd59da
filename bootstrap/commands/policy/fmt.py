"""`airlock policy fmt`: one layout for documents."""

import json
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bootstrap import files
from bootstrap.commands.policy.source import Output
from bootstrap.errors import WrongConfiguration
from bootstrap.policy.layout import laid_out
from bootstrap.text import counted


def fmt(*, paths: Sequence[Path], check: bool, as_json: bool, output: Output) -> int:
    """Lay out every document, or with `check` none: then the status is 1 if one would change.

    Raises WrongConfiguration before anything is written if a document cannot be read or laid out.
    """
    found = list(dict.fromkeys(document for path in paths for document in _documents(path)))
    if not found:
        hold = "holds" if len(paths) == 1 else "hold"
        raise WrongConfiguration(
            f"{' and '.join(map(str, paths))} {hold} no documents, so nothing was laid out",
            hint="Documents are files named <name>.yaml, directly in the directory.",
        )
    changed = {path: new for path, old, new in _laid_out(found) if new != old}
    if not check:
        for path, text in changed.items():
            _write(path, text)
    if as_json:
        output(json.dumps({"documents": len(found), "changed": [str(path) for path in changed]}))
        return int(check and bool(changed))
    for path in changed:
        output(f"{'would change' if check else 'changed'} {path}")
    output(f"{counted(len(found), 'document')}, {len(changed)} {'to change' * check or 'changed'}")
    return int(check and bool(changed))


def _documents(path: Path) -> Iterator[Path]:
    try:
        if path.is_dir():
            yield from sorted(one for one in path.iterdir() if one.suffix == ".yaml")
        else:
            yield path
    except OSError as failed:
        raise _unreadable(path, failed.strerror or "") from failed


def _laid_out(paths: Iterable[Path]) -> Iterator[tuple[Path, str, str]]:
    for path in paths:
        try:
            old = path.read_bytes().decode()  # read_text would hide the ends of its lines
            yield path, old, laid_out(old)
        except OSError as failed:
            raise _unreadable(path, failed.strerror or "") from failed
        except ValueError as wrong:  # UnicodeDecodeError among them
            raise WrongConfiguration(
                f"{path} cannot be laid out: {wrong}",
                hint="Correct it first; `airlock policy lint` names every mistake.",
            ) from wrong


def _write(path: Path, text: str) -> None:
    target = path.resolve()  # a link stays one
    try:
        files.write(target, text.encode(), stat.S_IMODE(target.stat().st_mode))
    except OSError as failed:
        raise WrongConfiguration(
            f"{path} cannot be written: {failed.strerror}", hint="Check its permissions."
        ) from failed


def _unreadable(path: Path, why: str) -> WrongConfiguration:
    return WrongConfiguration(
        f"{path} cannot be read: {why}", hint="Name documents, or a directory of them."
    )
