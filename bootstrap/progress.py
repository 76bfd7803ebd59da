"""A line on the terminal while something takes long; nothing anywhere else."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from bootstrap.text import printable

_CLEAR = "\r\x1b[K"


@contextmanager
def working(what: str, *, stream: TextIO | None = None, every: float = 1.0) -> Iterator[None]:
    """Show `what` and for how long it has been done, once it takes longer than `every` seconds.

    The line is on standard error, only if that is a terminal, and is cleared at the end.
    """
    shown = stream or sys.stderr
    if not shown.isatty():
        yield
        return
    done = threading.Event()
    line = threading.Thread(target=_show, args=(what, shown, every, done), daemon=True)
    line.start()
    try:
        yield
    finally:
        done.set()
        line.join()


def _show(what: str, stream: TextIO, every: float, done: threading.Event) -> None:
    number = 0
    while not done.wait(every):
        number += 1
        stream.write(f"{_CLEAR}{printable(what)} … {number * every:.0f} s")
        stream.flush()
    if number:
        stream.write(_CLEAR)
        stream.flush()
