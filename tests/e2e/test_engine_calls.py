"""How often a job asks the engine: each call is time that its first byte comes later."""

import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.faults.direct import direct
from tests.faults.jobs import run_to_end
from tests.lab.lab import Fleet

pytestmark = pytest.mark.lab

_REQUEST = re.compile(rb"(GET|HEAD|POST|DELETE) (?:/v[0-9.]+)?(/[^ ?]*)[^ ]* HTTP/1\.1\r\n")
_NAME = re.compile(r"(?<=/images/).+(?=/json)|(?<=/containers/)(airlock-[^/]+|[0-9a-f]{64})")


class Proxy:
    """Passes everything on to the engine, and counts requests."""

    def __init__(self, path: Path, engine: str) -> None:
        self.requests: Counter[str] = Counter()
        self._opened: list[socket.socket] = []
        self._engine = engine
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for opened in (self._listener, *self._opened):
            opened.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                engine = socket.socket(socket.AF_UNIX)
                engine.connect(self._engine)
                self._opened += [client, engine]
                threading.Thread(
                    target=self._pass, args=(client, engine, self._count), daemon=True
                ).start()
                threading.Thread(
                    target=self._pass, args=(engine, client, lambda _: None), daemon=True
                ).start()

    def _count(self, chunk: bytes) -> None:
        if found := _REQUEST.match(chunk):
            path = _NAME.sub("X", found[2].decode())
            self.requests[f"{found[1].decode()} {path}"] += 1

    @staticmethod
    def _pass(one: socket.socket, other: socket.socket, note: Callable[[bytes], object]) -> None:
        with suppress(OSError):
            while chunk := one.recv(1 << 16):
                note(chunk)
                other.sendall(chunk)
        with suppress(OSError):
            other.shutdown(socket.SHUT_WR)


@contextmanager
def proxy(fleet: Fleet) -> Iterator[Proxy]:
    path = fleet.base / "engine.sock"
    made = Proxy(path, fleet.lab.docker.removeprefix("unix://"))
    text = fleet.config.read_text()
    fleet.config.write_text(text.replace(fleet.lab.docker, f"unix://{path}"))
    try:
        yield made
    finally:
        made.close()


def test_a_job_takes_twelve_calls_of_the_engine(fleet: Fleet) -> None:
    with ExitStack() as held:
        counted = held.enter_context(proxy(fleet))
        jobs = held.enter_context(direct(fleet))
        run_to_end(jobs.start())  # creates the network
        counted.requests.clear()
        assert "the job runs" in run_to_end(jobs.start())
        assert counted.requests == {
            "GET /_ping": 3,
            "GET /networks": 1,
            "GET /images/X/json": 1,
            "POST /containers/create": 1,
            "POST /containers/X/attach": 1,
            "POST /containers/X/start": 1,
            "GET /containers/X/json": 2,
            "POST /containers/X/wait": 1,
            "DELETE /containers/X": 1,
        }
