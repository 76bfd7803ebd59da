"""The ruleset, and each container's part of it.

`ensure_loaded` makes exactly `agent-config/airlock.nft` take effect, and a routing rule that does
not depend on netfilter. The expected listing comes from the kernel itself, which prints it for the
same file in an empty network namespace.
"""

import hashlib
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address
from pathlib import Path

from bootstrap import files, process
from bootstrap.errors import CannotStart, WrongConfiguration
from bootstrap.host.lock import locked
from bootstrap.sandbox.model import Running
from bootstrap.sandbox.network import (
    addresses,
    conntrack,
    elements,
    netlink,
    nftables,
    routing,
    second_layer,
)
from bootstrap.sandbox.network.addresses import AddressRecord

BRIDGE = "airlock0"
ENDPOINT_ADDRESS = "169.254.170.2"  # the only http host that every AWS SDK ever shipped accepts
TABLE = ("inet", "airlock")
LOADING = 30.0  # seconds: the kernel loads a dozen modules for the first one after a boot
WATCHING = 2.0  # seconds for an answer while a job runs


@dataclass(frozen=True, kw_only=True, slots=True)
class Ruleset:
    """The loaded ruleset, as the kernel prints it without counters and map elements."""

    expected: str
    reloaded: bool


@cache
def ruleset_text() -> str:
    """Return the text of airlock.nft: beside this file when installed, else in agent-config/."""
    return ruleset_file().read_text()


def ruleset_file() -> Path:
    """Return where airlock.nft is on this host."""
    packaged = Path(__file__).with_name("airlock.nft")
    checkout = Path(__file__).parents[3] / "agent-config" / "airlock.nft"
    return packaged if packaged.is_file() else checkout


def ensure_loaded(runtime: Path, *, before_bridge: bool = False) -> Ruleset:
    """Load the ruleset and the routing rule unless both are loaded, and return what is.

    A reload is one transaction and keeps the elements of running jobs. `before_bridge`: the bridge
    may not exist yet, as before Docker has started; its address and the routing rule come with it.
    Raises CannotStart if it does not take effect, WrongConfiguration if this host's nft or kernel
    does not support it.
    """
    expected = _expected(runtime)
    with locked(runtime / "firewall.lock"):
        reloaded = not is_loaded(expected)
        if reloaded:
            nftables.load(ruleset_text() + _elements(runtime))
        if not before_bridge or _has_bridge():
            second_layer.ensure_rules(BRIDGE)
            _endpoint_address()
    # Else nothing has changed it since: whoever watches it does so from before it was read.
    if reloaded and nftables.listed(TABLE) != expected:
        raise CannotStart(
            "table inet airlock differs from airlock.nft right after it was loaded",
            hint="Another program changes that table: find it with `nft monitor`. Compare "
            f"`nft list table inet airlock` with {ruleset_file()}.",
        )
    return Ruleset(expected=expected, reloaded=reloaded)


def is_loaded(expected: str) -> bool:
    """Say whether the table is as `as_loaded` returned it. Raises CannotStart if it is unreadable.

    Another version of nftables may print the same table differently, so its program decides.
    """
    return nftables.listed_by_library(TABLE) == expected or nftables.listed(TABLE) == expected


def is_unchanged(ruleset: Ruleset) -> bool:
    """Say whether the ruleset is what `ensure_loaded` left. Raises CannotStart if it is unreadable.

    A ruleset that was removed is changed.
    """
    return nftables.listed(TABLE, WATCHING) == ruleset.expected


def restore_routing() -> bool:
    """Put back the routing rules of `ensure_loaded`; False if none was missing. Raises CannotStart.

    systemd-networkd removes rules that it has not made, each time it starts.
    """
    return second_layer.ensure_rules(BRIDGE, WATCHING)


def refusals(container_ip: str) -> int:
    """Return how many packets from this address the table has refused."""
    with counted_refusals(container_ip) as counted:
        return counted()


@contextmanager
def counted_refusals(container_ip: str) -> Iterator[Callable[[], int]]:
    """Yield what returns how many packets from this address the table has refused by now."""
    address = IPv4Address(container_ip)
    with netlink.connected(netlink.NETFILTER) as kernel:

        def counted() -> int:
            with netlink.explained("count the refused packets of a container"):
                return elements.refusals(kernel, address)

        yield counted


def refused_packets() -> dict[str, int]:
    """Return how many packets the table has refused, by address; none without a table.

    An address that has sent none for some hours is left out. Raises CannotStart.
    """
    return nftables.counted(TABLE, "refused")


def assign_address(directory: Path, running: Running, port: int | None) -> None:
    """Record the container's address, and remove what an earlier holder left in the kernel.

    The container then reaches the listener at `port`, until `remove_listener`; without a port it
    reaches none. `directory` is the job directory. Call before the start gate opens. Raises
    CannotStart, also if the container has ended or another running container has the address.
    """
    try:
        record = addresses.record_of(directory, running, port)
    except FileNotFoundError as ended:
        raise CannotStart(
            "the container ended before it was connected to the network",
            hint="Does the image have /bin/sh? Try `docker run --rm IMAGE /bin/sh -c true`.",
        ) from ended
    with _locked(directory):
        if others := _others(directory, record.address):
            raise CannotStart(
                f"the address {record.address} is in use by the container of job {others[0].token}",
                hint="Do two Docker engines share the bridge? `ip link show master airlock0` lists "
                "its ports.",
            )
        addresses.write(directory, record)  # first, so that it is found if this process is killed
        with (
            netlink.explained("lead the container to its credential listener"),
            netlink.connected(netlink.NETFILTER) as kernel,
        ):
            present = _element(kernel, record.address)
            elements.change(kernel, delete=present, create=_mapping(record))
    conntrack.forget(record.address)


def remove_listener(directory: Path, later: ExitStack) -> None:
    """Stop the container from reaching its listener. Call before the container is removed.

    Does nothing if the address has another holder by now. `later` closes a socket, which would take
    10 ms now: whoever closes one waits until the kernel has freed what was deleted. Raises
    CannotStart.
    """
    with _locked(directory):
        record = addresses.read(directory)
        if record and not _others(directory, record.address):
            _remove_element(record, later)


def release_address(directory: Path) -> None:
    """Remove the address record of an ended container, its listener and its connections.

    Listener and connections stay if the address has another holder by now. Raises CannotStart,
    also if the container still runs.
    """
    with ExitStack() as held, _locked(directory):
        record = addresses.read(directory)
        if record is None:
            return
        if addresses.is_running(record):
            raise CannotStart(
                f"the container of job {record.token} still runs, so its address is not released",
                hint=f"Remove it: `docker rm -f airlock-{record.token}`.",
            )
        if not _others(directory, record.address):
            _remove_element(record, held)
            conntrack.forget(record.address)
        addresses.remove(directory)


def _locked(directory: Path) -> AbstractContextManager[None]:
    return locked(directory.parents[1] / "firewall.lock")


def _others(directory: Path, address: str) -> tuple[AddressRecord, ...]:
    """Return the records of other jobs' running containers that have this address."""
    return tuple(
        other
        for other in addresses.in_use(directory.parent)
        if other.address == address and other.token != directory.name
    )


def _remove_element(record: AddressRecord, held: ExitStack) -> None:
    with netlink.explained("remove the container's credential listener from the ruleset"):
        kernel = held.enter_context(netlink.connected(netlink.NETFILTER))
        present = _element(kernel, record.address)
        if present is not None and present.port == record.port:
            elements.change(kernel, delete=present)


def listeners() -> dict[str, int]:
    """Return the map `credentials`: the port of the listener by the container's address."""
    with (
        netlink.explained("list the credential listeners"),
        netlink.connected(netlink.NETFILTER) as kernel,
    ):
        return {str(one.address): one.port for one in elements.listeners(kernel)}


def _element(kernel: socket.socket, address: str) -> elements.Mapping | None:
    found = elements.listeners(kernel)
    return next((one for one in found if str(one.address) == address), None)


def _mapping(record: AddressRecord) -> elements.Mapping | None:
    if record.port is None:
        return None
    return elements.Mapping(
        address=IPv4Address(record.address), host=IPv4Address(ENDPOINT_ADDRESS), port=record.port
    )


def _expected(runtime: Path) -> str:
    """Return what the kernel prints for our ruleset; cached per ruleset and nft version."""
    digest = hashlib.sha256(f"{nftables.version()}\n{ruleset_text()}".encode()).hexdigest()[:16]
    cache = runtime / f"ruleset-{digest}"
    if not cache.exists():
        files.write(cache, as_loaded().encode())
    return cache.read_text()


def as_loaded() -> str:
    """Load the ruleset into an empty network namespace, and return the kernel's listing of it.

    Raises WrongConfiguration if this host's nft or kernel does not support it.
    """
    load = ["unshare", "--net", "sh", "-c", "nft -f - && nft -s -t list table inet airlock"]
    try:
        return process.run(load, stdin=ruleset_text(), timeout=LOADING)
    except CannotStart as refused:
        if process.was_late(refused):
            raise
        _, found, message = refused.problem.partition("Error: ")
        raise WrongConfiguration(
            "this host's nft or kernel rejects Airlock's ruleset: "
            f"{message.splitlines()[0] if found else refused.problem}",
            hint="Expected nftables 1.0.6 or newer, root, and a kernel with "
            f"CONFIG_NF_CONNTRACK_TIMEOUT. `unshare --net nft -f {ruleset_file()}` prints every "
            "error.",
        ) from refused


def _elements(runtime: Path) -> str:
    """Return the map elements of all running containers, as nft commands."""
    lines = [
        f"add element inet airlock credentials {{ {record.address} : {ENDPOINT_ADDRESS} . "
        f"{record.port} }}\n"
        for record in addresses.in_use(runtime / "jobs")
        if record.port is not None
    ]
    return "\n" + "".join(lines)


def _has_bridge() -> bool:
    return BRIDGE in (name for _, name in socket.if_nameindex())


def _endpoint_address() -> None:
    address = IPv4Address(ENDPOINT_ADDRESS)
    with (
        netlink.explained(f"give {BRIDGE} the address {address}"),
        netlink.connected(netlink.ROUTE) as kernel,
    ):
        bridge = socket.if_nametoindex(BRIDGE)
        if address not in routing.addresses_of(kernel, bridge):
            routing.add_address(kernel, bridge, address)
