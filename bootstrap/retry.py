"""Retries of failed calls: the only caller of tenacity."""

import time
from collections.abc import Callable
from typing import TypeVar

ONE_CALL = 7  # seconds that a single call to another service may take

T = TypeVar("T")


def with_retries(
    work: Callable[[], T],
    *,
    transient: Callable[[BaseException], bool],
    patience: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Call `work` until it succeeds, with jitter, as long as its failures are `transient`.

    No call starts that could end more than `patience` seconds after the start of the first.
    Raises the last failure.
    """
    from tenacity import (  # noqa: PLC0415 - imports that a refused job need not wait for
        RetryCallState,
        Retrying,
        retry_if_exception,
        wait_random_exponential,
    )

    started = clock()

    def is_over(state: RetryCallState) -> bool:
        return clock() - started + state.upcoming_sleep + ONE_CALL > max(patience, ONE_CALL)

    return Retrying(
        retry=retry_if_exception(transient),
        wait=wait_random_exponential(multiplier=0.2, max=4),
        stop=is_over,
        sleep=sleep,
        reraise=True,
    )(work)
