"""Requests to a running service, right and wrong ones."""

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.lab.service import Serving
from tests.service.client import Answer, answer, connected, send, terminated, variables


@contextmanager
def descriptors(number: int = 4) -> Iterator[list[int]]:
    """Open as many descriptors of /dev/null."""
    opened = [os.open(os.devnull, os.O_RDWR) for _ in range(number)]
    try:
        yield opened
    finally:
        for one in opened:
            os.close(one)


def ask(
    service: Serving,
    *,
    arguments: bytes = b"",
    environment: bytes = b"",
    header: bytes = b"",
    number: int = 4,
) -> Answer:
    """Send one request and return the answer."""
    with connected(service.socket) as connection, descriptors(number) as some:
        try:
            send(connection, arguments, environment, some, header=header)
            connection.shutdown(socket.SHUT_WR)
        except BrokenPipeError:
            pass  # it was refused before it was complete
        return answer(connection)


def job(service: Serving, env: Mapping[str, str], *words: str) -> tuple[Answer, str]:
    """Have the service run a job; return the answer and the job's log."""
    reader, writer = os.pipe()
    with connected(service.socket) as connection, descriptors(4) as some:
        passed: Sequence[int] = (some[0], writer, writer, some[3])
        send(connection, terminated([w.encode() for w in words]), variables(env), passed)
        os.close(writer)
        with os.fdopen(reader, "rb") as log:
            text = log.read().decode()
        return answer(connection), text


def answers(service: Serving) -> bool:
    """Return whether the service runs a right request: it ends with 78, for it names no job."""
    found, log = job(service, {})
    return found == Answer(begun=False, kind="E", number=78) and "BUILDKITE_ENV_FILE" in log


def opened(pid: int) -> int:
    """Return how many descriptors a process has."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
