"""Runs Airlock with marks: `python -I marked.py MARKS serve …` writes one JSON line per mark.

A mark is a step that Airlock itself times, a program that it has run, or a call of the engine; each
with the clock, the processor time of the process so far and that of its children. The marks follow
a fork, so a job's worker writes them too. Nothing of Airlock is changed but what is measured.
"""

import cProfile
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import wraps
from types import TracebackType
from typing import Any, cast

sys.path[:0] = [os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))]  # noqa: PTH100, PTH120
MARKS = sys.argv.pop(1)


_STEPS = {
    "job": "job read",
    "sandbox": "sandbox recorded",
    "began": "start gate",
    "ended": "the job's end, and clearing",
    "save": "record saved",
}


def mark(kind: str, what: str, **more: float) -> None:
    """Write one line; other processes write to the same file."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    line = {
        "pid": os.getpid(),
        "at": time.monotonic(),
        "cpu": time.process_time(),
        "children": children.ru_utime + children.ru_stime,
        "kind": kind,
        "what": what,
        **more,
    }
    # Opened each time: a worker closes every descriptor that it does not know.
    file = os.open(MARKS, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.write(file, (json.dumps(line) + "\n").encode())
    os.close(file)


def _after(owner: Any, name: str, described: Callable[..., str]) -> None:
    """Have a step's mark written after each call of this method."""
    function = getattr(owner, name)

    @wraps(function)
    def marked(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        finally:
            mark("step", described(*args))

    setattr(owner, name, marked)


class _Program(subprocess.Popen[Any]):
    """A program with a mark when it has been waited for."""

    def __init__(self, args: Any, *more: Any, **how: Any) -> None:
        self._began = time.monotonic()
        super().__init__(args, *more, **how)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, value, trace)
        mark("program", " ".join(map(str, cast("list[str]", self.args))), began=self._began)


def _audited(event: str, args: tuple[Any, ...]) -> None:
    if event == "http.client.send" and isinstance(args[1], bytes):
        line = args[1].split(b"\r\n")[0].decode(errors="replace")
        if line.endswith(" HTTP/1.1"):
            mark("request", line.removesuffix(" HTTP/1.1"))
    elif event in ("os.fork", "os.posix_spawn"):
        mark("request", f"{event} {args[0] if args else ''}")


def _counted(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return it with a profile of its processor time, which is kept beside the marks."""

    @wraps(function)
    def profiled(*args: Any, **kwargs: Any) -> Any:
        profile = cProfile.Profile(time.thread_time)
        try:
            return profile.runcall(function, *args, **kwargs)
        finally:
            profile.dump_stats(f"{MARKS}.{os.getpid()}.{threading.get_ident()}")

    return profiled


def main() -> int:
    """Mark, then do what `airlock` does."""
    mark("step", "interpreter")
    from bootstrap import record  # noqa: PLC0415

    _after(record.Record, "timed", lambda _, step: str(step))
    for name, step in _STEPS.items():
        _after(record.Record, name, lambda *_, step=step: step)
    subprocess.Popen = _Program  # type: ignore[misc]
    sys.addaudithook(_audited)
    if os.path.exists(f"{MARKS}.functions"):  # noqa: PTH110 - profile.py has asked for it
        from bootstrap import run  # noqa: PLC0415

        run.run = _counted(run.run)
        threading.Thread.run = _counted(threading.Thread.run)  # type: ignore[method-assign]
    from bootstrap.cli import main as airlock  # noqa: PLC0415

    return airlock()


if __name__ == "__main__":
    raise SystemExit(main())
