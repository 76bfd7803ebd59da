"""Runs in a sandbox: a client of the credential endpoint, beside three hostile ones if asked to.

Called with seconds, requests a second, and `hostile` or `alone`. Prints one line of JSON: how late
each answer came after the moment at which it was due to be asked, in milliseconds.
"""

import json
import multiprocessing
import os
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor

ADDRESS = ("169.254.170.2", 80)
PATH = os.environ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"]
REQUEST = f"GET {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
NONSENSE = (
    b"BREW / HTTP/1.1\r\n\r\n",
    b"GET /v1/../../etc/passwd HTTP/1.1\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"POST / HTTP/1.1\r\nContent-Length: 999999999\r\n\r\nxxxx",
    b"\r\n" * 3000,
)


def fetched(due: float) -> float:
    """Return the milliseconds from `due` to the whole answer. Raises if it has no session."""
    time.sleep(max(0.0, due - time.monotonic()))
    with socket.create_connection(ADDRESS, timeout=10) as connection:
        connection.sendall(REQUEST)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    if not (answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"}")):
        raise RuntimeError(f"no session: {answer[:100]!r}")
    return (time.monotonic() - due) * 1000


def slow(until: float) -> None:
    """Open as many connections as possible, and send a byte on each now and then."""
    opened: list[socket.socket] = []
    while time.monotonic() < until:
        try:
            opened.append(socket.create_connection(ADDRESS, timeout=1))
            opened = opened[-300:]
            for connection in opened[::7]:
                connection.send(b"G")
        except OSError:
            opened = opened[1:]


def endless(until: float) -> None:
    """Send a header without an end."""
    while time.monotonic() < until:
        try:
            with socket.create_connection(ADDRESS, timeout=5) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nX: ")
                while time.monotonic() < until:
                    connection.sendall(b"a" * 65536)
        except OSError:
            continue


def nonsense(until: float) -> None:
    """Send what is not a valid request, and close without reading the answer."""
    while time.monotonic() < until:
        for content in NONSENSE:
            try:
                with socket.create_connection(ADDRESS, timeout=5) as connection:
                    connection.sendall(content)
            except OSError:
                continue


def main(seconds: float, rate: float, how: str) -> None:
    hostile = (slow, endless, nonsense) if how == "hostile" else ()
    began = time.monotonic() + 1
    processes = [multiprocessing.Process(target=e, args=(began + seconds,)) for e in hostile]
    for process in processes:
        process.start()
    with ThreadPoolExecutor(32) as pool:
        due = [began + number / rate for number in range(int(seconds * rate))]
        took = sorted(pool.map(fetched, due))
    for process in processes:
        process.join()
    at = {f"p{p}": took[int(len(took) * p / 100)] for p in (50, 99)}
    print("measured", json.dumps({"requests": len(took), **at, "max": took[-1]}), flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]), float(sys.argv[2]), sys.argv[3])
