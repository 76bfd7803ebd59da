"""The proof: from the container's own network namespace, try what must not work.

It runs on the host in a thread that has entered the namespace, so it neither trusts the image nor
waits for it. It sends to the metadata addresses, to the host and to the credential listener only.
"""

import ctypes
import errno
import http.client
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from bootstrap.errors import CannotStart
from bootstrap.sandbox.firewall import ENDPOINT_ADDRESS

CLONE_NEWNET = 0x40000000
PATIENCE = 2.0  # seconds; our rule answers in less than a millisecond

METADATA_V4 = "169.254.169.254"
METADATA_V6 = "fd00:ec2::254"

# Our rule answers "administratively prohibited". "Connection refused" is what an open host says.
WALL_V4 = {errno.EHOSTUNREACH}
WALL_V6 = {errno.EACCES, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """One thing that was tried, and how it ended."""

    target: str
    outcome: str
    stood: bool


def prove(container_pid: int, gateway: str, listener_path: str | None) -> tuple[Probe, ...]:
    """Try everything and return the verdicts, all good. Raises CannotStart if one is not."""
    probes = inside(container_pid, lambda: _all(gateway, listener_path))
    broken = [probe for probe in probes if not probe.stood]
    if broken:
        raise CannotStart(
            "the room is not sealed: " + "; ".join(f"{p.target}: {p.outcome}" for p in broken),
            hint="Nothing of the job has run. Look at `nft list table inet airlock` and `ip rule`; "
            "another rule may answer before ours.",
            details=tuple(f"{p.target}: {p.outcome}" for p in probes),
        )
    return probes


def inside(pid: int, work: Callable[[], T]) -> T:
    """Run `work` in the network namespace of `pid`; only the one thread enters it."""
    results: list[T] = []
    failures: list[BaseException] = []

    def enter() -> None:
        try:
            _enter_network_of(pid)
            results.append(work())
        except BaseException as failure:  # noqa: BLE001 - raised again by the caller's thread
            failures.append(failure)

    thread = threading.Thread(target=enter, name="proof", daemon=True)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def _enter_network_of(pid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(descriptor, CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise CannotStart(
                f"cannot enter the container's network namespace: {os.strerror(number)}",
                hint="Airlock has to run as root on the host, not inside a container.",
            )
    finally:
        os.close(descriptor)


def _all(gateway: str, listener_path: str | None) -> tuple[Probe, ...]:
    return (
        _refused("tcp", METADATA_V4, 80),
        _refused("tcp", METADATA_V4, 443),
        _refused("udp", METADATA_V4, 53),
        _refused("tcp", METADATA_V6, 80),
        _refused("udp", METADATA_V6, 53),
        _refused("tcp", ENDPOINT_ADDRESS, 8080),
        _refused("tcp", gateway, 22),
        _refused("udp", gateway, 53),
        _listener(listener_path),
    )


def _refused(protocol: str, address: str, port: int) -> Probe:
    """Expect our wall's own answer; silence, refusal by anybody else and success are failures."""
    target = f"{protocol}://{_bracketed(address)}:{port}"
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    wall = WALL_V6 if family == socket.AF_INET6 else WALL_V4
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    try:
        with socket.socket(family, kind) as probe:
            probe.settimeout(PATIENCE)
            probe.connect((address, port))
            if protocol == "udp":
                probe.send(b"airlock")
                probe.recv(64)
    except OSError as answer:
        name = errno.errorcode.get(answer.errno or 0, "no answer")
        return Probe(target=target, outcome=name, stood=answer.errno in wall)
    return Probe(target=target, outcome="reached", stood=False)


def _listener(path: str | None) -> Probe:
    """The job's own listener answers, or, for a job without credentials, nobody does."""
    if path is None:
        return _refused("tcp", ENDPOINT_ADDRESS, 80)
    target = f"http://{ENDPOINT_ADDRESS}/…"
    connection = http.client.HTTPConnection(ENDPOINT_ADDRESS, 80, timeout=PATIENCE)
    try:
        connection.request("HEAD", path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as silent:
        return Probe(target=target, outcome=f"no answer: {silent}", stood=False)
    finally:
        connection.close()
    return Probe(target=target, outcome=f"HTTP {status}", stood=status == 200)


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
