"""The proof of a replay's network: from its namespace, try what must not work.

The sockets are the namespace's (holder.py) and are used by this process. Nothing of the image runs
yet. A refusal alone proves nothing, because an idle machine refuses too: the ruleset has to have
counted each.
"""

import errno
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from ipaddress import IPv4Address

from bootstrap.errors import CannotStart
from bootstrap.replay import rules
from bootstrap.replay.holder import Holder, explained
from bootstrap.sandbox.network import netlink
from bootstrap.sandbox.network.firewall import ENDPOINT_ADDRESS
from bootstrap.sandbox.proof import (
    ENGINE_RESOLVER,
    METADATA_V4,
    METADATA_V6,
    NO_IPV6,
    REFUSED_INSIDE,
    Attempt,
    Probe,
    make,
)

_OTHERS = ("169.254.170.23", "168.63.129.16", "100.100.100.200", "192.0.0.192")


def prove(
    holder: Holder, gateway: str, own: Sequence[IPv4Address], *, endpoint: bool
) -> tuple[Probe, ...]:
    """Make every attempt and return the probes, all passed. Raises CannotStart if one did not.

    `own` are this machine's addresses. `endpoint` is whether the job has a credential endpoint.
    """
    attempts = tuple(attempts_for(gateway, own, endpoint=endpoint))
    counted = partial(rules.refusals, holder.kernel(netlink.NETFILTER))
    with explained("try what must not work"), ExitStack() as held:
        for attempt in attempts:
            if made := attempt.open(holder.opened):
                held.enter_context(made)
        probes = [_neighbour(holder, gateway)]
        before = counted()
        make(attempts, counted)
        probes += [attempt.probe() for attempt in attempts]
        probes.append(_count(counted() - before, attempts))
    return _passed(probes)


def attempts_for(gateway: str, own: Sequence[IPv4Address], *, endpoint: bool) -> Iterator[Attempt]:
    """Yield all attempts, in the order in which they are listed."""
    yield _refused("tcp", METADATA_V4, 80)
    yield _refused("tcp", METADATA_V4, 443)
    yield _refused("udp", METADATA_V4, 53)
    for address in (*_OTHERS, *(() if endpoint else (ENDPOINT_ADDRESS,))):
        yield _refused("tcp", address, 80)
    for address in dict.fromkeys((gateway, *map(str, own))):
        if not (endpoint and address == ENDPOINT_ADDRESS):  # there it is the namespace's own
            yield _refused("tcp", address, 22)
            yield _refused("udp", address, 53)
    for protocol in ("tcp", "udp"):
        yield _refused(protocol, ENGINE_RESOLVER, 53)
    for protocol in ("tcp", "udp"):
        yield Attempt(protocol, METADATA_V6, 80, NO_IPV6)


def _refused(protocol: str, address: str, port: int) -> Attempt:
    return Attempt(protocol, address, port, REFUSED_INSIDE[protocol])


def _count(refused: int, attempts: Sequence[Attempt]) -> Probe:
    expected = sum(":" not in attempt.address for attempt in attempts)
    return Probe(
        target="refusals counted by table inet airlock",
        outcome=f"{refused} of {expected}",
        passed=refused >= expected,
    )


def _neighbour(holder: Holder, gateway: str) -> Probe:
    """Send to a neighbour on the bridge, past the routes: the ruleset refuses it with EPERM."""
    other = str(IPv4Address(gateway) + 200)
    with holder.opened(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        outcome = _sent(lambda: probe.sendto(b"airlock", socket.MSG_DONTROUTE, (other, 53)))
    return Probe(target=f"neighbour {other}", outcome=outcome, passed=outcome == "EPERM")


def _sent(send: Callable[[], object]) -> str:
    try:
        send()
    except OSError as refused:
        return errno.errorcode.get(refused.errno or 0, "no answer")
    return "sent"


def _passed(probes: Sequence[Probe]) -> tuple[Probe, ...]:
    broken = [f"{probe.target}: {probe.outcome}" for probe in probes if not probe.passed]
    if broken:
        raise CannotStart(
            f"the job's network is not isolated: {'; '.join(broken)}",
            hint="Nothing of the job has run. The ruleset is in the network namespace of the "
            "job's container alone: see docs/replay.md#the-sandbox for what it has to refuse.",
            details=tuple(f"{probe.target}: {probe.outcome}" for probe in probes),
        )
    return tuple(probes)
