"""The world outside of the host: a network namespace behind a bridge of its own.

It has the metadata service at 169.254.169.254 and, at 10.77.0.2, everything that a job may talk to.
NETWORK RULE: no packet to a metadata address may leave this machine. So the unreachable routes are
added first and removed last, and every probe calls `assert_contained` before it sends.
"""

import ctypes
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

NAMESPACE = "airlock-world"
LINK = "airlockw0"
HOST, WORLD = "10.77.0.1", "10.77.0.2"
METADATA_V4, METADATA_V6 = "169.254.169.254", "fd00:ec2::254"
CLONE_NEWNET = 0x40000000

_UNREACHABLE = {
    "-4": ("169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32", "192.0.0.192/32"),
    "-6": ("fd00:ec2::/32",),
}


def ip(*arguments: str, check: bool = True) -> str:
    """Run `ip` with these arguments."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


@contextmanager
def world() -> Iterator[None]:
    """Build the namespace, contained before it is reachable, and remove all of it at the end."""
    _tear_down()
    try:
        _contain()
        _build()
        assert_contained()
        yield
    finally:
        _tear_down()


def _contain() -> None:
    for family, networks in _UNREACHABLE.items():
        for network in networks:
            ip(family, "route", "replace", "unreachable", network)


def _build() -> None:
    ip("netns", "add", NAMESPACE)
    ip("link", "add", LINK, "type", "veth", "peer", "name", "world0", "netns", NAMESPACE)
    ip("addr", "add", f"{HOST}/24", "dev", LINK)
    ip("-6", "addr", "add", "fd77::1/64", "dev", LINK, "nodad")
    ip("link", "set", LINK, "up")
    inside = ("-n", NAMESPACE)
    for address in (f"{WORLD}/24", f"{METADATA_V4}/32", "fd77::2/64", f"{METADATA_V6}/128"):
        family = "-6" if ":" in address else "-4"
        nodad = ("nodad",) if ":" in address else ()
        ip(*inside, family, "addr", "add", address, "dev", "world0", *nodad)
    ip(*inside, "link", "set", "lo", "up")
    ip(*inside, "link", "set", "world0", "up")
    ip(*inside, "route", "add", "default", "via", HOST)
    ip("route", "add", f"{METADATA_V4}/32", "via", WORLD, "dev", LINK)
    ip("-6", "route", "add", f"{METADATA_V6}/128", "via", "fd77::2", "dev", LINK)


def _tear_down() -> None:
    ip("link", "del", LINK, check=False)  # its routes go with it
    ip("netns", "del", NAMESPACE, check=False)
    for family, networks in _UNREACHABLE.items():
        for network in networks:
            ip(family, "route", "del", "unreachable", network, check=False)


def assert_contained() -> None:
    """Fail unless metadata addresses lead to our namespace or nowhere. Call before any probe."""
    for family, address in (("-4", METADATA_V4), ("-6", METADATA_V6)):
        route = ip(family, "route", "get", address, check=False)
        assert f"dev {LINK}" in route, f"{address} would leave the lab: {route!r}"
    for family, networks in _UNREACHABLE.items():
        routes = ip(family, "route", "show", "type", "unreachable").split()
        for network in networks:
            shown = network.removesuffix("/32") if family == "-4" else network
            assert shown in routes, f"{network} is not contained"


def listen(address: str, port: int) -> socket.socket:
    """Return a socket that listens inside the world, served from this process."""
    return inside_world(
        lambda: socket.create_server(
            (address, port),
            family=socket.AF_INET6 if ":" in address else socket.AF_INET,
            backlog=128,
        )
    )


def inside_world(work: Callable[[], T]) -> T:
    """Run `work` in a thread that has entered the namespace, and return its result."""
    results: list[T] = []

    def enter() -> None:
        with Path("/run/netns", NAMESPACE).open("rb") as namespace:
            if ctypes.CDLL(None).setns(namespace.fileno(), CLONE_NEWNET) != 0:
                raise OSError("setns failed: the lab needs root")
        results.append(work())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return results[0]
