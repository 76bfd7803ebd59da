"""A launcher in Python: the protocol's other side, with every part under the test's control.

    python client.py SOCKET [--held] [COMMAND]

runs as a program in the real launcher's place. With --held it connects, and sends its request when
it can read a line from its standard input.
"""

import os
import signal
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

HEADER = struct.Struct("=4sIII")


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What the service sent: whether the job began, and `E`, `S` or `R` with its number.

    `kind` is "" if the connection ended without a status.
    """

    begun: bool
    kind: str
    number: int = 0
    text: str = ""


def connected(path: Path, seconds: float = 60) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    connection.settimeout(seconds)
    return connection


def terminated(words: Sequence[bytes]) -> bytes:
    return b"".join(word + b"\0" for word in words)


def variables(env: Mapping[str, str]) -> bytes:
    return terminated([f"{name}={value}".encode() for name, value in env.items()])


def send(
    connection: socket.socket,
    arguments: bytes,
    environment: bytes,
    descriptors: Sequence[int],
    *,
    header: bytes = b"",
) -> None:
    """Send a request; `header` is another one than the right one.

    As with the launcher, a connection that was closed may have its answer all the same.
    """
    right = HEADER.pack(b"ALR1", len(arguments), len(environment), 0)
    with suppress(BrokenPipeError, ConnectionResetError):
        socket.send_fds(connection, [header or right], list(descriptors))
        connection.sendall(arguments)
        connection.sendall(environment)


def answer(connection: socket.socket) -> Answer:
    """Receive all that the service sends."""
    data = b""
    try:
        while chunk := connection.recv(1 << 16):
            data += chunk
    except ConnectionResetError:
        pass
    begun, rest = data.startswith(b"B"), data.removeprefix(b"B")
    match rest[:1]:
        case b"R":
            status, length = struct.unpack("=BH", rest[1:4])
            assert len(rest) == 4 + length
            return Answer(begun=begun, kind="R", number=status, text=rest[4:].decode())
        case b"E" | b"S":
            assert len(rest) == 2
            return Answer(begun=begun, kind=rest[:1].decode(), number=rest[1])
        case _:
            assert rest == b"", rest
            return Answer(begun=begun, kind="")


def main() -> None:
    """Pass this process's job to the service, and end as it does."""
    path, *command = sys.argv[1:]
    connection = connected(Path(path))
    if command[:1] == ["--held"]:
        del command[0]
        sys.stdin.readline()
    connection.settimeout(None)
    for number in ("TERM", "INT", "HUP", "QUIT", "USR1", "USR2"):
        signal.signal(
            getattr(signal, f"SIG{number}"), lambda number, _: connection.send(bytes([number]))
        )
    environment = terminated([name + b"=" + value for name, value in os.environb.items()])
    directory = os.open(".", os.O_PATH)
    send(
        connection, terminated([os.fsencode(w) for w in command]), environment, (0, 1, 2, directory)
    )
    end = answer(connection)
    if end.kind == "R":
        sys.stderr.write(f"{end.text}\n")
    if end.kind == "S":
        if end.number != signal.SIGKILL:
            signal.signal(end.number, signal.SIG_DFL)
        os.kill(os.getpid(), end.number)
    os._exit(end.number if end.kind else 79 if end.begun else 125)


if __name__ == "__main__":
    main()
