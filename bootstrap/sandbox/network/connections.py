"""What the host's ruleset has refused a job while it ran, and which limit it hit."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address

from bootstrap.errors import CannotStart
from bootstrap.log import JobLog
from bootstrap.record import Record
from bootstrap.sandbox.network import elements, netlink
from bootstrap.text import counted


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusals:
    """Packets from one address: all that were refused, and those beyond each limit."""

    refused: int = 0
    over_open: int = 0
    over_opened: int = 0
    over_asked: int = 0

    def since(self, before: "Refusals") -> "Refusals":
        """Return what came after `before`. A counter that was made anew counts as a whole."""
        return Refusals(**{
            name: now - old if now >= (old := getattr(before, name)) else now
            for name, now in asdict(self).items()
        })  # fmt: skip


def refusals(address: str) -> Refusals:
    """Return what has been refused so far. Raises CannotStart."""
    with (
        netlink.explained("count the refused packets of a container"),
        netlink.connected(netlink.NETFILTER) as kernel,
    ):
        return _read(kernel, IPv4Address(address))


def _read(kernel: socket.socket, address: IPv4Address) -> Refusals:
    return Refusals(
        refused=elements.refusals(kernel, address),
        over_open=elements.refusals(kernel, address, elements.OVER_OPEN),
        over_opened=elements.refusals(kernel, address, elements.OVER_OPENED),
        over_asked=elements.refusals(kernel, address, elements.OVER_ASKED),
    )


@contextmanager
def reported(address: str, log: JobLog, record: Record) -> Iterator[None]:
    """Report at the end what was refused meanwhile. Raises CannotStart before, and nothing after.

    The job's result is known by then, so nothing here changes it.
    """
    before = refusals(address)
    yield
    with suppress(CannotStart):  # the table is gone: then that has ended the job, and is reported
        used = refusals(address).since(before)
        for line in lines(used):
            log.alert(line)
        if used.refused:
            record.connections(asdict(used))


def lines(used: Refusals) -> Iterator[str]:
    """Yield one sentence for each limit that the job has hit."""
    if used.over_open:
        yield (
            "the job had 4096 connections open, which is a sandbox's limit: "
            f"{counted(used.over_open, 'packet')} that would have opened more were refused. Have "
            "it close connections, or use fewer at a time"
        )
    if used.over_opened:
        yield (
            "the job opened more than 400 TCP connections in a second, which is a sandbox's limit "
            f"(2000 at once): {counted(used.over_opened, 'packet')} were refused. Have it keep "
            "connections open and use them again"
        )
    if used.over_asked:
        yield (
            "the job sent more than 400 DNS queries in a second, which is a sandbox's limit (2000 "
            f"at once): {counted(used.over_asked, 'packet')} were refused. Have it keep what it "
            "has looked up"
        )
