"""BuildKit ends when its job has ended, whatever Airlock does at that moment.

The lease would end it too, but only once the job's log is written, which may take as long as the
agent wants; until then a build would go on, in the network of the job and in its workspace.
"""

import os
import select
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from signal import Signals

from bootstrap.sandbox.builds import control
from bootstrap.sandbox.leases import first_process
from bootstrap.sandbox.limits import Used

KILLED = 137  # 128 + SIGKILL
_PATIENCE = 0.7  # seconds for the engine to say how BuildKit ended, once the job is over


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How BuildKit ended: before the job (`early`) or with it, and what it had used up.

    `code` is the exit status of one that ended early, None where that is not known.
    """

    early: bool = False
    code: int | None = None
    used: Used = field(default_factory=Used)

    @property
    def by_memory(self) -> bool:
        """Say whether BuildKit itself was killed for lack of memory, and not a step of it."""
        return self.early and self.code == KILLED and self.used.killed > 0


class Ending:
    """Kills BuildKit, `process`, when the process `job` has ended. Both are pidfds of the caller.

    They have to stay open until `close`. `used` is asked just before, or as soon as BuildKit has
    ended by itself: the engine removes what counts its memory and processes once it has ended.
    `outcome` asks the engine how it ended, None if that is not known. Raises CannotStart.
    """

    def __init__(
        self,
        job: int,
        process: int,
        *,
        used: Callable[[], Used],
        outcome: Callable[[], tuple[int, bool] | None],
    ) -> None:
        self._job, self._process = job, process
        self._look, self._outcome = used, outcome
        self._ended, self._killed = Ended(), threading.Event()
        self._closed, self._close = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="buildkit", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as failed:
            os.close(self._closed)
            os.close(self._close)
            raise control.failed(str(failed)) from failed

    def close(self) -> Ended:
        """Kill it if it still runs; return how it ended."""
        os.close(self._close)
        self._killed.wait()
        self._thread.join(_PATIENCE)
        os.close(self._closed)
        return self._ended

    def _run(self) -> None:
        poll = select.poll()
        for descriptor in (self._job, self._process, self._closed):
            poll.register(descriptor, select.POLLIN)
        poll.poll()
        self._ended = Ended(early=first_process.has_ended(self._process))
        try:
            self._ended = replace(self._ended, used=self._look())
        finally:
            first_process.send(self._process, Signals.SIGKILL)
            self._killed.set()
        if self._ended.early and (found := self._outcome()):
            code, out_of_memory = found
            used = self._ended.used
            if out_of_memory and not used.killed:  # it was not counted any more
                used = replace(used, killed=1)
            self._ended = Ended(early=True, code=code, used=used)
