"""The proof: from the container's network namespace, try what must not work.

A thread on the host opens the sockets in the namespace, so nothing of the image takes part. They
send to the metadata addresses, the host, the credential listener and the engine's resolver, and try
to send to a neighbour on the bridge without the gateway.
"""

import errno
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address

from bootstrap.errors import CannotStart
from bootstrap.sandbox.model import Running
from bootstrap.sandbox.network import firewall
from bootstrap.sandbox.network.namespaces import in_network_of

PATIENCE = 2.0  # seconds; the ruleset answers in less than a millisecond
PATIENCE_UDP = 0.1  # seconds; an open service would answer sooner, and silence is common
POLL = 0.002  # seconds between two looks at what the table has counted

SILENCE = "no answer"  # counts as refused for UDP: ICMP errors have a rate limit

METADATA_V4 = "169.254.169.254"
METADATA_V6 = "fd00:ec2::254"
ENGINE_RESOLVER = "127.0.0.11"  # in every container of a network of one's own

# A refusal alone proves nothing: an idle host refuses too. Each probe is one packet, and the table
# has to have counted it as refused.
REFUSED = {"tcp": frozenset({"ECONNREFUSED"}), "udp": frozenset({"EHOSTUNREACH", SILENCE})}
# Without an address and a route the kernel refuses before it sends.
NO_IPV6 = frozenset({"ENETUNREACH", "EADDRNOTAVAIL", "EAFNOSUPPORT"})
# inside.nft refuses at once, a datagram with EPERM.
REFUSED_INSIDE = {"tcp": frozenset({"ECONNREFUSED"}), "udp": frozenset({"EPERM"})}


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """One attempt, and its outcome."""

    target: str
    outcome: str
    passed: bool


def prove(running: Running, listener_path: str | None) -> tuple[Probe, ...]:
    """Make every attempt and return the probes, all passed. Raises CannotStart if one did not."""
    attempts = tuple(attempts_for(running.gateway, listener=listener_path is not None))
    with ExitStack() as held:
        neighbour, client = in_network_of(running.pid, lambda: _opened(held, attempts, running))
        counted = make(attempts, held.enter_context(firewall.counted_refusals(running.address)))
        listener = () if listener_path is None else (_listener(client, listener_path),)
    expected = sum(attempt.is_counted for attempt in attempts)
    count = Probe(
        target="refusals counted by table inet airlock",
        outcome=f"{counted} of {expected}",
        passed=counted >= expected,
    )
    *others, tcp, udp = (attempt.probe() for attempt in attempts)
    return passed((*others, *listener, neighbour, tcp, udp, count))


def passed(probes: Sequence[Probe]) -> tuple[Probe, ...]:
    """Return the probes, all passed. Raises CannotStart if one did not."""
    broken = [probe for probe in probes if not probe.passed]
    if broken:
        raise CannotStart(
            "the container is not isolated: "
            + "; ".join(f"{p.target}: {p.outcome}" for p in broken),
            hint="Nothing of the job has run. Check `nft list table inet airlock` and `ip rule`: "
            "another rule may have answered first. `airlock doctor` names the usual ones.",
            details=tuple(f"{p.target}: {p.outcome}" for p in probes),
        )
    return tuple(probes)


class Attempt:
    """One packet that has to be refused; `is_counted` if it is table inet airlock that refuses."""

    def __init__(
        self, protocol: str, address: str, port: int, accepted: frozenset[str] | None = None
    ) -> None:
        self.protocol = protocol
        self.address = address
        self.port = port
        self.is_counted = accepted is None
        self._accepted = accepted or REFUSED[protocol]
        self._socket: socket.socket | None = None
        self._outcome = ""

    def open(
        self, make: Callable[[int, int], socket.socket] = socket.socket
    ) -> socket.socket | None:
        """Open its socket; None if there is no IPv6. `make` opens it in the container's namespace.

        The default does so in the namespace of the calling thread.
        """
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        kind = socket.SOCK_STREAM if self.protocol == "tcp" else socket.SOCK_DGRAM
        with self._noting_refusal():
            self._socket = make(family, kind | socket.SOCK_NONBLOCK)
        return self._socket

    def send(self) -> None:
        """Send the packet."""
        if self._socket is not None:
            with self._noting_refusal():
                self._socket.connect((self.address, self.port))
                if self.protocol == "udp":
                    self._socket.send(b"airlock")
                else:
                    self._outcome = "reached"

    def pending(self) -> int | None:
        """Return the descriptor from which its outcome is to be read; None if it is known."""
        return None if self._outcome or self._socket is None else self._socket.fileno()

    def read(self) -> None:
        """Read the outcome, if there is one by now."""
        if self._socket is None:
            return
        with self._noting_refusal():
            if self.protocol == "udp":
                self._socket.recv(64)
            elif number := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(number, "")
            self._outcome = "reached"

    def probe(self) -> Probe:
        """Return the outcome."""
        outcome = self._outcome or SILENCE
        host = f"[{self.address}]" if ":" in self.address else self.address
        target = f"{self.protocol}://{host}:{self.port}"
        return Probe(target=target, outcome=outcome, passed=outcome in self._accepted)

    @contextmanager
    def _noting_refusal(self) -> Iterator[None]:
        try:
            yield
        except BlockingIOError:  # nothing yet; a TCP connection is under way
            pass
        except OSError as answer:
            self._outcome = errno.errorcode.get(answer.errno or 0, SILENCE)


def attempts_for(gateway: str, *, listener: bool) -> Iterator[Attempt]:
    """Yield all, in the order in which they are listed. Without a listener it is refused too."""
    yield Attempt("tcp", METADATA_V4, 80)
    yield Attempt("tcp", METADATA_V4, 443)
    yield Attempt("udp", METADATA_V4, 53)
    yield Attempt("tcp", firewall.ENDPOINT_ADDRESS, 8080)
    yield Attempt("tcp", gateway, 22)
    yield Attempt("udp", gateway, 53)
    if not listener:
        yield Attempt("tcp", firewall.ENDPOINT_ADDRESS, 80)
    for protocol in ("tcp", "udp"):
        yield Attempt(protocol, METADATA_V6, 80, NO_IPV6)
    for protocol in ("tcp", "udp"):
        yield Attempt(protocol, ENGINE_RESOLVER, 53, REFUSED_INSIDE[protocol])


def _opened(
    held: ExitStack, attempts: Sequence[Attempt], running: Running
) -> tuple[Probe, socket.socket]:
    """Open all sockets, and try the neighbour; the second value is the listener's client."""
    for attempt in attempts:
        if opened := attempt.open():
            held.enter_context(opened)
    return _neighbour(running), held.enter_context(socket.socket())


def make(attempts: Sequence[Attempt], refusals: Callable[[], int]) -> int:
    """Make all attempts, and return how many packets the table has refused meanwhile.

    Counted datagrams first, on their own: when the table has refused as many as were sent, none of
    them has an answer to wait for.
    """
    before = refusals()
    datagrams = [one for one in attempts if one.is_counted and one.protocol == "udp"]
    others = [one for one in attempts if one not in datagrams]
    _wait(datagrams, PATIENCE_UDP, until=lambda: refusals() - before >= len(datagrams))
    _wait(others, PATIENCE, until=lambda: False)
    return refusals() - before


def _wait(attempts: Sequence[Attempt], patience: float, until: Callable[[], bool]) -> None:
    """Send, and read the outcomes for `patience` seconds at most, or `until` that holds."""
    deadline = time.monotonic() + patience
    for attempt in attempts:
        attempt.send()
    pause = 0.0  # most outcomes are there at once
    while waiting := {number: one for one in attempts if (number := one.pending()) is not None}:
        poll = select.poll()
        for descriptor, attempt in waiting.items():
            events = select.POLLIN if attempt.protocol == "udp" else select.POLLOUT
            poll.register(descriptor, events)
        ready = poll.poll(1000 * pause)
        for descriptor, _ in ready:
            waiting[descriptor].read()
        if not ready and (until() or time.monotonic() > deadline):
            return
        pause = POLL


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


def _listener(client: socket.socket, path: str) -> Probe:
    """The job's own listener answers."""
    target = f"http://{firewall.ENDPOINT_ADDRESS}/…"
    client.settimeout(PATIENCE)
    received = b""
    try:
        client.connect((firewall.ENDPOINT_ADDRESS, 80))
        host = firewall.ENDPOINT_ADDRESS
        client.sendall(
            f"HEAD {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        )
        while b"\r\n" not in received and len(received) < 1024 and (chunk := client.recv(1024)):
            received += chunk
    except OSError as silent:
        return Probe(target=target, outcome=f"{SILENCE}: {silent}", passed=False)
    version, _, rest = received.partition(b" ")
    if version not in (b"HTTP/1.0", b"HTTP/1.1"):
        return Probe(target=target, outcome=f"{SILENCE}: no HTTP: {received[:40]!r}", passed=False)
    status = rest[:3].decode("ascii", "replace")
    return Probe(target=target, outcome=f"HTTP {status}", passed=status == "200")
