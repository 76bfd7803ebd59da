"""Where a job's status comes from: the kernel if it reports it, else Docker.

The reasons: docs/design.md#where-a-jobs-status-comes-from
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from bootstrap.errors import CannotStart

# Seconds. The kernel reports at once; only a container's shim that does not run delays it.
KERNEL = 2.0
ENGINE = 60.0  # for the status, if the kernel does not report it: a restart of Docker takes less
OUT_OF_MEMORY = 5.0  # for what only explains a status
OUT_OF_MEMORY_CANCELLED = 1.0
ONCE = 2.0  # for one answer: a cancellation that comes meanwhile shortens the whole
AGAIN = 0.1

Ask = Callable[[float], tuple[int, bool] | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a container's first process ended; None is what nobody reports, and `why` says why."""

    code: int | None
    out_of_memory: bool | None
    why: str = ""


def outcome(
    kernel: Callable[[float], int | None],
    ask: Ask,
    *,
    left: Callable[[], float],
    cancelled: bool,
) -> Outcome:
    """Find out how the container ended, which it has.

    Both `kernel` (`ProcessEnd.status`) and `ask`, which asks the engine once (`engine.outcome`),
    wait for at most the seconds they get. `left` returns those until Airlock itself has to end.
    """
    code = kernel(min(KERNEL, max(left(), 0.0)))
    explains = OUT_OF_MEMORY_CANCELLED if cancelled else OUT_OF_MEMORY
    deadline = time.monotonic() + (ENGINE if code is None else explains)
    reported = _asked(ask, lambda: min(deadline - time.monotonic(), left()))
    if isinstance(reported, str):
        return Outcome(code=code, out_of_memory=None, why=reported)
    return Outcome(code=reported[0] if code is None else code, out_of_memory=reported[1])


def _asked(ask: Ask, left: Callable[[], float]) -> tuple[int, bool] | str:
    """Ask until there is an answer or no time is left; return why there is none."""
    while True:
        try:
            return ask(max(min(left(), ONCE), AGAIN)) or "Docker no longer has the container"
        except Exception as silent:  # noqa: BLE001 - an unexpected answer is like silence
            if left() <= AGAIN:
                return silent.problem if isinstance(silent, CannotStart) else repr(silent)
        time.sleep(AGAIN)
