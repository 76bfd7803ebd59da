"""A call that a worker answers, and the connection that waits for the answer without blocking."""

import socket
import threading
from contextlib import suppress
from http import HTTPStatus

from bootstrap.agent_api.model import Answer, problem


class Pending:
    """`done` becomes readable once there is an answer, or none will come."""

    def __init__(self) -> None:
        self.done, self._ready = socket.socketpair()
        self.done.settimeout(0)
        self._mutex = threading.Lock()
        self._answer: Answer | None = None
        self._is_wanted = True

    def finish(self, answer: Answer) -> None:
        """Provide the answer, in any thread. Nobody may want it any more."""
        with self._mutex:
            is_wanted = self._is_wanted
            if is_wanted:
                self._answer = answer
        if not is_wanted:
            with suppress(OSError):
                answer.closing()
        self._ready.close()

    @property
    def is_wanted(self) -> bool:
        """Whether somebody still waits for the answer."""
        with self._mutex:
            return self._is_wanted

    def taken(self) -> Answer:
        """Return the answer, which is the caller's from now on, once `done` is readable."""
        self.done.close()
        answer, self._answer = self._answer, None
        status = HTTPStatus.INTERNAL_SERVER_ERROR
        return answer or problem(status, "Airlock has no answer to this call")

    def abandon(self) -> None:
        """Want no answer any more."""
        with self._mutex:
            self._is_wanted = False
            answer, self._answer = self._answer, None
        if answer:
            with suppress(OSError):
                answer.closing()
        self.done.close()
