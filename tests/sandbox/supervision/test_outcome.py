"""Where a job's status comes from: the kernel, else an engine that is asked until it answers."""

import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from bootstrap.errors import CannotStart
from bootstrap.sandbox import engine
from bootstrap.sandbox.supervision.outcome import Outcome, outcome

WHAT = {"ExitCode": 7, "OOMKilled": True}


class _Engine(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Answers as Docker's API: `answers` has one entry per question, the last one stays.

    A number is a status, None is no answer at all, a dictionary the container's state.
    """

    daemon_threads = True

    def __init__(self, path: Path, answers: list[Any]) -> None:
        self.answers = answers
        self.asked = 0
        self.over = threading.Event()
        super().__init__(str(path), _Handler)

    def next(self) -> Any:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class _Handler(BaseHTTPRequestHandler):
    server: _Engine
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/version":
            self._reply(200, {"ApiVersion": "1.41"})
        else:
            self._reply(200, {"State": self.server.answers[0]})

    def do_POST(self) -> None:
        match self.server.next():
            case None:
                self.server.over.wait(30)
                self.close_connection = True
            case int(status):
                self._reply(status, {"message": "no"})
            case _:
                self._reply(200, {"StatusCode": 0})

    def _reply(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def address_string(self) -> str:
        return "unix"


@contextmanager
def serving(path: Path, *answers: Any) -> Iterator[_Engine]:
    with _Engine(path, list(answers)) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        try:
            yield made
        finally:
            made.over.set()
            made.shutdown()
            path.unlink()


def silent(_: float) -> None:
    """An older kernel, in a network namespace of its own."""


def reports(seconds: float) -> int:
    """A newer kernel."""
    assert seconds >= 0
    return 3


Kernel = Callable[[float], int | None]


def asked(path: Path, kernel: Kernel, seconds: float, *, cancelled: bool = False) -> Outcome:
    """Ask the engine at `path`, for `seconds` at most."""
    deadline = time.monotonic() + seconds
    client = engine.connect(f"unix://{path}")
    ask = partial(_ask, client)
    return outcome(kernel, ask, left=lambda: deadline - time.monotonic(), cancelled=cancelled)


def _ask(client: Any, seconds: float) -> tuple[int, bool] | None:
    return engine.outcome(client, "c0ffee", timeout=seconds)


@pytest.mark.parametrize(
    "before", [(), (500,), (500, 503, 500), (None, 500)], ids=["at once", "once", "often", "hung"]
)
def test_an_engine_that_fails_is_asked_again(tmp_path: Path, before: tuple[Any, ...]) -> None:
    with serving(tmp_path / "socket", *before, WHAT) as made:
        found = asked(tmp_path / "socket", silent, 20)
        assert found == Outcome(code=7, out_of_memory=True)
        assert made.asked == len(before) + 1


def test_an_engine_that_is_restarted_meanwhile_answers_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    results: list[Outcome] = []
    with serving(path, None) as made:
        asking = threading.Thread(target=lambda: results.append(asked(path, silent, 30)))
        asking.start()
        while not made.asked:
            threading.Event().wait(0.01)
    assert not path.exists()
    with serving(path, WHAT):
        asking.join(30)
    assert results == [Outcome(code=7, out_of_memory=True)]


@pytest.mark.parametrize("answer", [500, None], ids=["fails", "does not answer"])
def test_nobody_knows_once_the_time_is_over(tmp_path: Path, answer: object) -> None:
    """The time may be what a cancellation leaves until the agent's SIGKILL."""
    with serving(tmp_path / "socket", answer):
        began = time.monotonic()
        found = asked(tmp_path / "socket", silent, 1.0)
        assert time.monotonic() - began < 2.5
    assert (found.code, found.out_of_memory) == (None, None)
    assert "Docker could not report how the container ended" in found.why


def test_a_container_that_is_gone_is_not_asked_for_again(tmp_path: Path) -> None:
    with serving(tmp_path / "socket", 404) as made:
        found = asked(tmp_path / "socket", silent, 30)
        assert made.asked == 1
    assert found == Outcome(code=None, out_of_memory=None, why="Docker no longer has the container")


def test_the_kernels_status_counts_and_the_engine_only_adds_to_it(tmp_path: Path) -> None:
    with serving(tmp_path / "socket", WHAT):
        found = asked(tmp_path / "socket", reports, 30)
    assert found == Outcome(code=3, out_of_memory=True)


@pytest.mark.parametrize(("cancelled", "longest"), [(True, 2.5), (False, 8.0)])
def test_what_only_explains_a_status_is_not_waited_for_long(
    tmp_path: Path, *, cancelled: bool, longest: float
) -> None:
    with serving(tmp_path / "socket", None):
        began = time.monotonic()
        found = asked(tmp_path / "socket", reports, 30, cancelled=cancelled)
        assert time.monotonic() - began < longest
    assert (found.code, found.out_of_memory) == (3, None)


def test_a_call_restores_the_clients_own_patience(tmp_path: Path) -> None:
    with serving(tmp_path / "socket", 500):
        client = engine.connect(f"unix://{tmp_path}/socket")
        with pytest.raises(CannotStart, match="report how the container ended"):
            _ask(client, 0.2)
        assert client.timeout == engine.TIMEOUT
