"""BuildKit ends when its job has ended, whatever Airlock does at that moment.

The lease would end it too, but only once the job's log is written, which may take as long as the
agent wants; until then a build would go on, in the network of the job and in its workspace.
"""

import os
import select
import threading
from collections.abc import Callable
from signal import Signals

from bootstrap.sandbox.builds import control
from bootstrap.sandbox.leases import first_process
from bootstrap.sandbox.limits import Used


class Ending:
    """Kills BuildKit, `process`, when the process `job` has ended. Both are pidfds of the caller.

    They have to stay open until `close`. `used` is asked just before: the engine removes what
    counts its memory and processes once it has ended. Raises CannotStart.
    """

    def __init__(self, job: int, process: int, used: Callable[[], Used]) -> None:
        self._job, self._process, self._look = job, process, used
        self._early, self._used = False, Used()
        self._closed, self._close = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="buildkit", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as failed:
            os.close(self._closed)
            os.close(self._close)
            raise control.failed(str(failed)) from failed

    def close(self) -> tuple[bool, Used]:
        """Kill it if it still runs; return whether it had ended early, and what it used up."""
        os.close(self._close)
        self._thread.join()
        os.close(self._closed)
        return self._early, self._used

    def _run(self) -> None:
        poll = select.poll()
        for descriptor in (self._job, self._closed):
            poll.register(descriptor, select.POLLIN)
        poll.poll()
        self._early = first_process.has_ended(self._process)
        try:
            self._used = self._look()
        finally:
            first_process.send(self._process, Signals.SIGKILL)
