"""One job's queries leave a resolver to the others, also where one packet of its has many of them.

A VPC's resolver counts packets of the network: what the kernel makes of a job's packet, later.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.attacks.attacker import Attacker, Unprotected
from tests.attacks.test_network_exhaustion import counting
from tests.lab import world
from tests.lab.engine import eventually

pytestmark = pytest.mark.lab

# udp(7): UDP_SEGMENT, here 60 datagrams in one packet.
BUNDLES = """
python3 - <<'PY'
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(17, 103, 32)
for number in range(1000):
    try: s.sendto(b"{letter}" * 32 * 60, ("10.77.0.2", 53))
    except OSError: pass
PY
"""

# Queries one after the other on one connection, many of them in one packet.
STREAM = """
python3 - <<'PY'
import socket
with socket.create_connection(("10.77.0.2", 53)) as s:
    try:
        for _ in range(100): s.sendall(b"q" * 20 * 2000)
    except OSError: pass
PY
"""


def test_bundled_queries_by_one_job_are_limited_one_by_one(
    sandbox: Attacker, unprotected: Unprotected
) -> None:
    theirs, ours = b"u" * 32, b"s" * 32
    with counting() as received:
        unprotected.tries(BUNDLES.format(letter="u"))
        eventually(lambda: received.count(theirs) > 10_000, "without a limit nearly all arrive")
        before = time.monotonic()
        sandbox.tries(BUNDLES.format(letter="s"))
        took = time.monotonic() - before
        unprotected.tries("echo -n the last one >/dev/udp/10.77.0.2/53")
        eventually(lambda: b"the last one" in received, "all have arrived")
    assert 1000 < received.count(ours) < 2000 + 400 * (took + 1)


@contextmanager
def streaming() -> Iterator[list[int]]:
    """A resolver in the world that reads what comes over TCP; yields the bytes of each read."""
    listener = world.inside_world(lambda: socket.create_server((world.WORLD, 53)))
    received: list[int] = []
    closing = threading.Event()

    def serve() -> None:
        while not closing.is_set():
            with suppress(OSError), listener.accept()[0] as client:
                client.settimeout(0.3)  # of a refused connection it hears nothing more
                while found := client.recv(1 << 16):
                    received.append(len(found))

    thread = threading.Thread(target=serve)
    thread.start()
    yield received
    closing.set()
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    listener.close()


def test_queries_over_tcp_by_one_job_are_limited(
    sandbox: Attacker, unprotected: Unprotected
) -> None:
    with streaming() as received:
        unprotected.tries(STREAM)
        eventually(lambda: sum(received) == 4_000_000, "without a limit all arrive")
        received.clear()
        before = time.monotonic()
        sandbox.tries(STREAM)
        took = time.monotonic() - before
    assert 0 < sum(received) < (256 + 64 * (took + 1)) * 1024
