"""The attacker's program: what a job sends to an ssh agent. Runs inside, with Python alone.

python3 ssh_agent_job.py change|malformed|flood|misuse SOCKET [KNOWN_HOST]
"""

import base64
import os
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def exactly(client: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        chunk = client.recv(count - len(received))
        if not chunk:
            raise ConnectionAbortedError
        received += chunk
    return received


def connect() -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(sys.argv[2])
    client.settimeout(20)
    return client


def answer(client: socket.socket) -> bytes:
    return exactly(client, struct.unpack(">I", exactly(client, 4))[0])


def ask(client: socket.socket, kind: int, body: bytes = b"") -> bytes:
    client.sendall(string(bytes([kind]) + body))
    return answer(client)


def change() -> None:
    """Send every request that changes an agent."""
    library = bytes(next(Path("/usr/lib").glob("*-linux-gnu/libcrypto.so.3")))
    pair = string(b"ssh-ed25519") + string(bytes(range(32))) + string(bytes(range(64)))
    requests = {
        "add-smartcard-key": (20, string(library) + string(b"")),
        "add-smartcard-key-constrained": (26, string(library) + string(b"") + b"\x01" + bytes(4)),
        "add-identity": (17, pair + string(b"mine")),
        "add-id-constrained": (25, pair + string(b"mine") + b"\x01" + struct.pack(">I", 99)),
        "lock": (22, string(b"a")),
        "unlock": (23, string(b"a")),
        "remove-smartcard-key": (21, string(library) + string(b"")),
        "remove-all-identities": (19, b""),
        "query": (27, string(b"query")),
        "unknown": (200, b"?"),
    }
    for name, (kind, body) in requests.items():
        with connect() as client:
            print(f"{name}={ask(client, kind, body)[0]}")
    print(f"helpers={sum('pkcs11' in command(path) for path in Path('/proc').glob('[0-9]*/comm'))}")


def command(comm: Path) -> str:
    try:
        return comm.read_text()
    except OSError:
        return ""


def malformed() -> None:
    """Send messages of no length, of too much, and of less than they announce."""
    for length in (0, 256 * 1024 + 1, 0xFFFFFFFF):
        with connect() as client:
            client.sendall(struct.pack(">I", length))
            print(f"length {length}={answer(client)[0]}")
    bodies = (b"\x0d", b"\x0d" + string(b"key"), b"\x0d\xff\xff\xff\xff", b"\x1b" + b"\xff" * 9)
    for number, body in enumerate(bodies):
        with connect() as client:
            client.sendall(string(body))
            print(f"cut short {number}={answer(client)[0]}")
    with connect() as client:
        client.sendall(struct.pack(">IB", 1000, 13))
        client.shutdown(socket.SHUT_WR)
        print(f"left halfway={client.recv(1)!r}")


def flood() -> None:
    """Keep as many connections open as possible, print that, and go on until it is ended."""
    slow = connect()
    slow.sendall(struct.pack(">IB", 256 * 1024, 13))
    unread = connect()
    unread.settimeout(0.5)
    with suppress(OSError):
        unread.sendall(struct.pack(">IB", 1, 11) * 1_000_000)
    opened: list[socket.socket] = []
    while True:
        opened.append(connect())
        if len(opened) == 500:
            print("flooded", flush=True)
        if len(opened) > 500:
            opened.pop(0).close()
        try:
            slow.send(b"x")
        except OSError:
            slow = connect()


def misuse() -> None:
    """Request signatures that no trusted host has asked for."""
    with connect() as client:
        listed = ask(client, 11)
        (length,) = struct.unpack_from(">I", listed, 5)
        request = string(listed[9 : 9 + length]) + string(b"whatever I like") + bytes(4)
        print(f"unbound={ask(client, 13, request)[0]}")
    host = base64.b64decode(sys.argv[3].split()[2])
    with connect() as client:
        claim = string(b"session-bind@openssh.com") + string(host) + string(b"s" * 32)
        signature = string(string(b"ssh-ed25519") + string(bytes(64)))
        print(f"forged bind={ask(client, 27, claim + signature + bytes(1))[0]}")
        print(f"after it={ask(client, 13, request)[0]}")


if __name__ == "__main__":
    {"change": change, "malformed": malformed, "flood": flood, "misuse": misuse}[sys.argv[1]]()
    print(f"{sys.argv[1]} done as {os.getuid()}")
