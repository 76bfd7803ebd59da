"""The proof: from the container's network namespace, try what must not work.

A thread on the host enters the namespace, so nothing of the image takes part. It sends to the
metadata addresses, the host, the credential listener and the engine's resolver, and tries to send
to a neighbour on the bridge without the gateway.
"""

import ctypes
import errno
import http.client
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TypeVar

from bootstrap.errors import CannotStart
from bootstrap.sandbox.model import Running
from bootstrap.sandbox.network import firewall

CLONE_NEWNET = 0x40000000
PATIENCE = 2.0  # seconds; the ruleset answers in less than a millisecond
PATIENCE_UDP = 0.1  # seconds; an open service would answer sooner, and silence is common

SILENCE = "no answer"  # counts as refused for UDP: ICMP errors have a rate limit

METADATA_V4 = "169.254.169.254"
METADATA_V6 = "fd00:ec2::254"
ENGINE_RESOLVER = "127.0.0.11"  # in every container of a network of one's own

# A refusal alone proves nothing: an idle host refuses too. Each probe is one packet, and the table
# has to have counted it as refused.
REFUSED = {"tcp": {"ECONNREFUSED"}, "udp": {"EHOSTUNREACH", SILENCE}}
NO_IPV6 = {"ENETUNREACH", "EADDRNOTAVAIL", "EAFNOSUPPORT"}

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """One attempt, and its outcome."""

    target: str
    outcome: str
    passed: bool


def prove(running: Running, listener_path: str | None) -> tuple[Probe, ...]:
    """Make every attempt and return the probes, all passed. Raises CannotStart if one did not."""
    before = firewall.refusals(running.address)
    blocked, listener, inside = in_network_of(
        running.pid,
        lambda: (
            _blocked(running.gateway),
            _listener(listener_path),
            (_neighbour(running), *_engine_resolver()),
        ),
    )
    counted = firewall.refusals(running.address) - before
    probes = (*blocked, *_no_ipv6(running.pid), listener, *inside)
    expected = len(blocked) + (1 if listener_path is None else 0)
    count = Probe(
        target="refusals counted by table inet airlock",
        outcome=f"{counted} of {expected}",
        passed=counted >= expected,
    )
    return _all_passed((*probes, count))


def _all_passed(probes: tuple[Probe, ...]) -> tuple[Probe, ...]:
    broken = [probe for probe in probes if not probe.passed]
    if broken:
        raise CannotStart(
            "the container is not isolated: "
            + "; ".join(f"{p.target}: {p.outcome}" for p in broken),
            hint="Nothing of the job has run. Check `nft list table inet airlock` and `ip rule`: "
            "another rule may have answered first.",
            details=tuple(f"{p.target}: {p.outcome}" for p in probes),
        )
    return probes


def in_network_of(pid: int, work: Callable[[], T]) -> T:
    """Run `work` in a thread in the network namespace of `pid`. Raises what it raises."""
    results: list[T] = []
    failures: list[BaseException] = []

    def enter() -> None:
        try:
            _enter_network_of(pid)
            results.append(work())
        except BaseException as failure:  # noqa: BLE001 - raised in the caller's thread
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
                hint="Run Airlock as root on the host, not in a container.",
            )
    finally:
        os.close(descriptor)


def _blocked(gateway: str) -> tuple[Probe, ...]:
    return (
        _refused("tcp", METADATA_V4, 80),
        _refused("tcp", METADATA_V4, 443),
        _refused("udp", METADATA_V4, 53),
        _refused("tcp", firewall.ENDPOINT_ADDRESS, 8080),
        _refused("tcp", gateway, 22),
        _refused("udp", gateway, 53),
    )


def _neighbour(running: Running) -> Probe:
    """Send to a neighbour on the bridge, past the routes: inside.nft refuses at once, with EPERM.

    Without that rule the kernel would resolve the neighbour first.
    """
    first = IPv4Address(running.gateway) + 1
    other = str(first if str(first) != running.address else first + 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        try:
            probe.sendto(b"airlock", socket.MSG_DONTROUTE, (other, 53))
            outcome = "sent"
        except OSError as answer:
            outcome = errno.errorcode.get(answer.errno or 0, SILENCE)
    return Probe(target=f"neighbour {other}", outcome=outcome, passed=outcome == "EPERM")


def _engine_resolver() -> Iterator[Probe]:
    """Ask the engine's resolver: inside.nft refuses at once, a datagram with EPERM."""
    for protocol, expected in (("tcp", "ECONNREFUSED"), ("udp", "EPERM")):
        outcome = _try(protocol, ENGINE_RESOLVER, 53)
        target = f"{protocol}://{ENGINE_RESOLVER}:53"
        yield Probe(target=target, outcome=outcome, passed=outcome == expected)


def _no_ipv6(pid: int) -> tuple[Probe, ...]:
    """Try IPv6: without an address and a route the kernel refuses before it sends."""
    outcomes = in_network_of(pid, lambda: [_try(p, METADATA_V6, 80) for p in ("tcp", "udp")])
    return tuple(
        Probe(target=f"{protocol}://[{METADATA_V6}]:80", outcome=outcome, passed=outcome in NO_IPV6)
        for protocol, outcome in zip(("tcp", "udp"), outcomes, strict=True)
    )


def _refused(protocol: str, address: str, port: int) -> Probe:
    outcome = _try(protocol, address, port)
    target = f"{protocol}://{address}:{port}"
    return Probe(target=target, outcome=outcome, passed=outcome in REFUSED[protocol])


def _try(protocol: str, address: str, port: int) -> str:
    """Send one packet; return the name of the error, SILENCE or "reached"."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    try:
        with socket.socket(family, kind) as probe:
            probe.settimeout(PATIENCE if protocol == "tcp" else PATIENCE_UDP)
            probe.connect((address, port))
            if protocol == "udp":
                probe.send(b"airlock")
                probe.recv(64)
    except TimeoutError:
        return SILENCE
    except OSError as answer:
        return errno.errorcode.get(answer.errno or 0, SILENCE)
    return "reached"


def _listener(path: str | None) -> Probe:
    """The job's own listener answers; for a job without one, the address is refused."""
    if path is None:
        return _refused("tcp", firewall.ENDPOINT_ADDRESS, 80)
    target = f"http://{firewall.ENDPOINT_ADDRESS}/…"
    connection = http.client.HTTPConnection(firewall.ENDPOINT_ADDRESS, 80, timeout=PATIENCE)
    try:
        connection.request("HEAD", path)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as silent:
        return Probe(target=target, outcome=f"no answer: {silent}", passed=False)
    finally:
        connection.close()
    return Probe(target=target, outcome=f"HTTP {status}", passed=status == 200)
