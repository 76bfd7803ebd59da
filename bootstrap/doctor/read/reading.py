"""One reading: its failure is a value, and it has a deadline, whatever it waits for."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from bootstrap.doctor.model import Failed, NotKnown, Read, Unread
from bootstrap.errors import AirlockError

T = TypeVar("T")

PATIENCE = 15.0  # seconds for one reading
MOST = 1 << 20  # bytes of one file

_NO_RIGHT = "Run `airlock doctor` as root."


def read(work: Callable[[], T], *, patience: float = PATIENCE) -> Read[T]:
    """Return what `work` returns, or why it returned nothing.

    An AirlockError is Failed: a job would fail by it too. Everything else is Unread, and so is what
    takes more than `patience` seconds; its thread is left behind, and ends with this process.
    """
    results: list[Read[T]] = []
    thread = threading.Thread(target=lambda: results.append(here(work)), daemon=True)
    thread.start()
    thread.join(patience)
    if not results:
        return Unread(why=f"no answer within {patience:.0f} s")
    return results[0]


def here(work: Callable[[], T]) -> Read[T]:
    """Return the same in the calling thread, for work that has deadlines of its own."""
    try:
        return work()
    except NotKnown as because:
        return Unread(why=because.verdict.seen.removeprefix("not known: "), fix=because.verdict.fix)
    except AirlockError as wrong:
        return Failed(problem=wrong.problem, fix=wrong.hint, details=wrong.details)
    except PermissionError as refused:
        fix = "" if os.geteuid() == 0 else _NO_RIGHT
        return Unread(why=str(refused), fix=fix)
    except Exception as failed:  # noqa: BLE001 - one reading that fails keeps no other from its turn
        return Unread(why=f"{type(failed).__name__}: {failed}")


def text(path: Path) -> str:
    """Return a file's text. Raises OSError, also for a file of more than MOST bytes."""
    with path.open("rb") as file:
        content = file.read(MOST + 1)
    if len(content) > MOST:
        raise OSError(f"{path} has more than {MOST} bytes")
    return content.decode(errors="replace")
