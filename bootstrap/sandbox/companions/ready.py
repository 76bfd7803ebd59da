"""Whether a service container is ready: one attempt, from inside of the job's network.

What answers is not trusted: of an answer only its first line is read, and that not for long.
"""

import re
import socket
import time
from contextlib import suppress
from functools import partial
from typing import assert_never

from bootstrap.policy.services import HttpReady, LogReady, Ready, StartedReady, TcpReady
from bootstrap.sandbox.companions.output import Output
from bootstrap.sandbox.network.namespaces import in_network_of

PATIENCE = 2.0  # seconds for one attempt
_LOOPBACK = "127.0.0.1"
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: |\r)")
_LINE = 64  # bytes of an answer


def is_ready(ready: Ready, pid: int, output: Output) -> bool:
    """Try once. `pid` is a process in the network namespace of the job. Raises CannotStart."""
    match ready:
        case StartedReady():
            return True
        case LogReady():
            return output.found
        case TcpReady(port=port):
            return in_network_of(pid, partial(_answers, port, b""))
        case HttpReady(port=port, path=path):
            return in_network_of(pid, partial(_answers, port, request(path)))
        case _ as unreachable:
            assert_never(unreachable)


def request(path: str) -> bytes:
    """Return the request. HTTP/1.0: the server closes the connection by itself."""
    return (
        f"GET {path} HTTP/1.0\r\nHost: {_LOOPBACK}\r\nUser-Agent: airlock\r\n"
        "Connection: close\r\n\r\n"
    ).encode("ascii")


def is_success(answer: bytes) -> bool:
    """Say whether this is the beginning of an answer with a status from 200 to 399."""
    found = _STATUS.match(answer)
    return found is not None and 200 <= int(found[1]) < 400


def _answers(port: int, sent: bytes) -> bool:
    deadline = time.monotonic() + PATIENCE
    answer = b""
    with suppress(OSError), socket.create_connection((_LOOPBACK, port), PATIENCE) as connection:
        if not sent:
            return True
        connection.sendall(sent)
        while len(answer) < _LINE and (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            if not (more := connection.recv(_LINE - len(answer))):
                break
            answer += more
    return is_success(answer)
