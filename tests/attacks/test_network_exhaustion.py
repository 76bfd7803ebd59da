"""Exhaustion by one job of the network that all jobs and the host share.

Every attack also runs in a container on an ordinary bridge, where it has to succeed. It sends to
the lab's own world and to its own bridge only.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from bootstrap.errors import CannotStart
from bootstrap.sandbox.model import Running
from bootstrap.sandbox.network import conntrack
from bootstrap.sandbox.proof import prove
from tests.attacks.attacker import UNPROTECTED, Attacker, Unprotected, attacker, run
from tests.lab import world
from tests.lab.engine import eventually
from tests.lab.lab import Fleet

# The size of the kernel's table can be set only in the machine's first network namespace.
pytestmark = [pytest.mark.lab, pytest.mark.host_namespaces]

COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")
MAXIMUM = COUNT.with_name("nf_conntrack_max")
LIMIT = 4096  # of airlock.nft

# One loop: a flow to every port of the world, from each of a few sockets.
UDP_FLOOD = """
python3 - <<'PY'
import socket
sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range({sockets})]
for port in range(2000, 4000):
    for each in sockets:
        try: each.sendto(b"x", ("{address}", port))
        except OSError: pass
PY
"""

# Opens and ends connections one after the other; prints how many of them came about.
TCP_LOOP = """
python3 - <<'PY'
import socket
made = 0
for _ in range({number}):
    try:
        with socket.create_connection(("10.77.0.2", {port}), timeout=2): made += 1
    except OSError: pass
print(made)
PY
"""

# Several hundred neighbours, by the subnet's route and past all routes; prints how many are known.
# Many sockets: what waits for a neighbour counts against the buffer of its own.
SCAN = """
python3 - <<'PY'
import ipaddress, socket
ways = []
for _ in range(10):
    plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
    ways += [(plain, 0), (bound, socket.MSG_DONTROUTE)]
for number, address in enumerate(list(ipaddress.ip_network("{subnet}").hosts())[100:900]):
    each, flags = ways[number % len(ways)]
    try: each.sendto(b"x", flags | socket.MSG_DONTWAIT, (str(address), 9))
    except OSError: pass
print(len(open("/proc/net/arp").readlines()) - 1)
PY
"""
HONEST = "timeout 1 bash -c 'exec 3<>/dev/tcp/10.77.0.2/{port}' && echo connected"


@pytest.fixture(scope="module")
def neighbour(shared: Fleet, sandbox: Attacker) -> Iterator[Attacker]:
    """An honest job beside the attacker's."""
    with attacker(shared) as made:
        yield made


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """A port in the world that accepts every connection and closes it."""
    listener = world.inside_world(lambda: socket.create_server((world.WORLD, 0), backlog=1024))

    def serve() -> None:
        try:
            while True:
                listener.accept()[0].close()
        except OSError:  # the listener is closed
            return

    thread = threading.Thread(target=serve)
    thread.start()
    yield int(listener.getsockname()[1])
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    listener.close()


@contextmanager
def tracking_no_more_than(further: int) -> Iterator[int]:
    """Make the kernel's table small, so that a test can fill it; yields its size."""
    before = MAXIMUM.read_text()
    size = tracked() + further
    MAXIMUM.write_text(str(size))
    try:
        yield size
    finally:
        MAXIMUM.write_text(before)


def test_conntrack_flood_by_one_job_stops_at_its_limit(
    sandbox: Attacker, neighbour: Attacker, unprotected: Unprotected, server: int
) -> None:
    flood, honest = UDP_FLOOD.format(sockets=5, address=world.WORLD), HONEST.format(port=server)
    with tracking_no_more_than(LIMIT + 1000) as size:
        sandbox.tries(flood)
        assert LIMIT * 0.9 < tracked() < size - 500
        for _ in range(10):
            assert neighbour.tries(honest).stdout == "connected\n"
        before = tracked()
        conntrack.forget(sandbox.address)
        assert before - tracked() < LIMIT + 100  # a few that have ended
        unprotected.tries(flood)
        assert tracked() > size * 0.99
        eventually(lambda: neighbour.tries(honest).stdout == "", "the neighbour is cut off")
    conntrack.forget(address_of(unprotected))


def test_short_connection_loop_by_one_job_is_rate_limited(
    sandbox: Attacker, neighbour: Attacker, unprotected: Unprotected, server: int
) -> None:
    """Ended connections do not count against the first limit; the second one is of the rate."""
    loop, honest = TCP_LOOP.format(number=6000, port=server), HONEST.format(port=server)
    assert int(unprotected.tries(loop).stdout) == 6000
    before = tracked()
    assert int(sandbox.tries(loop).stdout) < 6000
    assert tracked() < before + 6000
    assert neighbour.tries(honest).stdout == "connected\n"
    eventually(
        lambda: sandbox.tries(honest).stdout == "connected\n", "the attacker's job connects again"
    )


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.11"], ids=["own", "engine-resolver"])
def test_container_loopback_flood_is_not_tracked(
    sandbox: Attacker, unprotected: Unprotected, address: str
) -> None:
    """Its own loopback uses kernel memory that no limit of the job counts."""
    flood = UDP_FLOOD.format(sockets=5, address=address)
    unprotected.tries(flood)
    assert tracked_inside(pid_of(unprotected)) > 1000
    sandbox.tries(flood)
    assert tracked_inside(sandbox.pid) < 10


# From one socket, so that it is one tracked flow however many queries there are.
QUERIES = """
python3 - <<'PY'
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for number in range(20_000):
    try: s.sendto(b"%d" % number, ("10.77.0.2", 53))
    except OSError: pass
PY
"""


@contextmanager
def counting() -> Iterator[list[bytes]]:
    """A resolver in the world that answers nothing; yields what it has received."""

    def bound() -> socket.socket:
        ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        ours.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        ours.bind((world.WORLD, 53))
        ours.settimeout(0.3)
        return ours

    received: list[bytes] = []
    closing = threading.Event()

    def serve() -> None:
        while not closing.is_set():
            with suppress(TimeoutError):
                received.append(ours.recv(100))

    with world.inside_world(bound) as ours:
        thread = threading.Thread(target=serve)
        thread.start()
        yield received
        closing.set()
        thread.join()


def test_query_flood_by_one_job_leaves_resolver_to_others(
    sandbox: Attacker, neighbour: Attacker, unprotected: Unprotected
) -> None:
    with counting() as received:
        unprotected.tries(QUERIES)
        eventually(lambda: len(received) > 10_000, "without a limit nearly all arrive")
        received.clear()
        before = time.monotonic()
        sandbox.tries(QUERIES)
        took = time.monotonic() - before
        neighbour.tries("echo -n of a neighbour >/dev/udp/10.77.0.2/53")
        eventually(lambda: b"of a neighbour" in received, "the neighbour's query arrives")
    assert 1000 < len(received) < 2000 + 400 * (took + 1)


def test_neighbour_table_scan_by_one_job_reaches_gateway_only(
    sandbox: Attacker, neighbour: Attacker, unprotected: Unprotected, server: int
) -> None:
    theirs = IPv4Network(f"{address_of(unprotected)}/20", strict=False)
    assert int(unprotected.tries(SCAN.format(subnet=theirs)).stdout) > 500
    assert int(sandbox.tries(SCAN.format(subnet="198.18.240.0/20")).stdout) == 1
    assert neighbours_of(sandbox.pid) == {"198.18.240.1"}
    assert neighbour.tries(HONEST.format(port=server)).stdout == "connected\n"


def test_neighbour_probe_without_inner_ruleset_fails_proof(fleet: Fleet) -> None:
    """The probe sends to one, past all routes. Here it runs again, with the protection removed."""
    with attacker(fleet) as sandbox:
        running = Running(
            id=sandbox.container,
            name="",
            pid=sandbox.pid,
            address=sandbox.address,
            gateway="198.18.240.1",
        )
        (sent,) = [probe for probe in prove(running, None) if probe.target.startswith("neighbour ")]
        assert sent.outcome == "EPERM"
        run("nsenter", "--target", str(sandbox.pid), "--net", "nft", "delete table inet airlock")
        with pytest.raises(CannotStart, match=r"not isolated: neighbour 198\.18\.240\.\d+: sent"):
            prove(running, None)


def tracked() -> int:
    return int(COUNT.read_text())


def tracked_inside(pid: int) -> int:
    return int(run("nsenter", "--target", str(pid), "--net", "cat", str(COUNT)))


def neighbours_of(pid: int) -> set[str]:
    shown = run("nsenter", "--target", str(pid), "--net", "ip", "-4", "neigh", "show", "nud", "all")
    return {line.split()[0] for line in shown.splitlines() if " dev eth0 " in line}


def address_of(container: Unprotected) -> str:
    what = f"{{{{.NetworkSettings.Networks.{UNPROTECTED}.IPAddress}}}}"
    return run(*container.docker, "inspect", "-f", what, container.container).strip()


def pid_of(container: Unprotected) -> int:
    what = "{{.State.Pid}}"
    return int(run(*container.docker, "inspect", "-f", what, container.container))
