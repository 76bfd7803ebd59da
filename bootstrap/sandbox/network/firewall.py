"""The ruleset, and each container's part of it. Only this and bridge.py call nft.

`ensure_loaded` makes exactly `agent-config/airlock.nft` take effect, and a routing rule that does
not depend on netfilter. The expected listing comes from the kernel itself, which prints it for the
same file in an empty network namespace.
"""

import hashlib
import json
import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bootstrap import files, process
from bootstrap.errors import CannotStart, WrongConfiguration
from bootstrap.host.lock import locked
from bootstrap.sandbox.model import Running
from bootstrap.sandbox.network import addresses, conntrack, ipv6
from bootstrap.sandbox.network.addresses import AddressRecord

BRIDGE = "airlock0"
ENDPOINT_ADDRESS = "169.254.170.2"  # the only http host that every AWS SDK ever shipped accepts
TABLE = ("inet", "airlock")
# After `local` (0), so our own listener stays reachable; before every table with a default route.
PREFERENCE = "1690"
WATCHING = 2.0  # seconds for nft and ip while a job runs


@dataclass(frozen=True, kw_only=True, slots=True)
class Ruleset:
    """The loaded ruleset, as the kernel prints it without counters and map elements."""

    expected: str
    reloaded: bool


@cache
def ruleset_text() -> str:
    """Return the text of airlock.nft: beside this file when installed, else in agent-config/."""
    return _ruleset_file().read_text()


def _ruleset_file() -> Path:
    packaged = Path(__file__).with_name("airlock.nft")
    checkout = Path(__file__).parents[3] / "agent-config" / "airlock.nft"
    return packaged if packaged.is_file() else checkout


def ensure_loaded(runtime: Path) -> Ruleset:
    """Load the ruleset and the routing rule unless both are loaded, and return what is.

    A reload is one transaction and keeps the elements of running jobs. Raises CannotStart if it
    does not take effect, WrongConfiguration if this host's nft or kernel does not support it.
    """
    expected = _expected(runtime)
    with locked(runtime / "firewall.lock"):
        reloaded = _listing() != expected
        if reloaded:
            process.run(["nft", "-f", "-"], stdin=ruleset_text() + _elements(runtime))
        _policy_routing()
        _endpoint_address()
    if _listing() != expected:
        raise CannotStart(
            "table inet airlock differs from airlock.nft right after it was loaded",
            hint="Another program changes that table: find it with `nft monitor`. Compare "
            f"`nft list table inet airlock` with {_ruleset_file()}.",
        )
    return Ruleset(expected=expected, reloaded=reloaded)


def is_unchanged(ruleset: Ruleset) -> bool:
    """Say whether the ruleset is what `ensure_loaded` left. Raises CannotStart if it is unreadable.

    A ruleset that was removed is changed.
    """
    return _listing(WATCHING) == ruleset.expected


def restore_routing() -> bool:
    """Put back the routing rules of `ensure_loaded`; False if none was missing. Raises CannotStart.

    systemd-networkd removes rules that it has not made, each time it starts.
    """
    return _policy_routing(WATCHING)


def refusals(container_ip: str) -> int:
    """Return how many packets from this address the table has refused."""
    shown = json.loads(process.run(["nft", "-j", "list", "set", *TABLE, "refused"]))
    for item in shown["nftables"]:
        for element in item.get("set", {}).get("elem", []):
            if element["elem"]["val"] == container_ip:
                return int(element["elem"]["counter"]["packets"])
    return 0


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
        stale = listeners().get(record.address)
        commands = [] if stale is None else [_command("delete", record.address, stale)]
        commands += [] if port is None else [_command("add", record.address, port)]
        if commands:
            process.run(["nft", "-f", "-"], stdin="".join(commands))
    conntrack.forget(record.address)


def remove_listener(directory: Path) -> None:
    """Stop the container from reaching its listener. Call before the container is removed.

    Does nothing if the address has another holder by now. Raises CannotStart.
    """
    with _locked(directory):
        record = addresses.read(directory)
        if record and not _others(directory, record.address):
            _remove_element(record)


def release_address(directory: Path) -> None:
    """Remove the address record of an ended container, its listener and its connections.

    Listener and connections stay if the address has another holder by now. Raises CannotStart,
    also if the container still runs.
    """
    with _locked(directory):
        record = addresses.read(directory)
        if record is None:
            return
        if addresses.is_running(record):
            raise CannotStart(
                f"the container of job {record.token} still runs, so its address is not released",
                hint=f"Remove it: `docker rm -f airlock-{record.token}`.",
            )
        if not _others(directory, record.address):
            _remove_element(record)
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


def _remove_element(record: AddressRecord) -> None:
    if record.port is not None and listeners().get(record.address) == record.port:
        process.run(["nft", "-f", "-"], stdin=_command("delete", record.address, record.port))


def _listing(timeout: float = 10.0) -> str:
    listing = ["nft", "--stateless", "--terse", "list", "table", *TABLE]
    try:
        return process.run(listing, timeout=timeout)
    except CannotStart as absent:
        if "No such file or directory" in absent.problem:
            return ""
        raise


def listeners() -> dict[str, int]:
    """Return the map `credentials`: the port of the listener by the container's address."""
    try:
        shown = json.loads(process.run(["nft", "-j", "list", "map", *TABLE, "credentials"]))
    except CannotStart as absent:
        if "No such file or directory" in absent.problem:
            return {}
        raise
    maps = (item["map"] for item in shown["nftables"] if "map" in item)
    pairs = (pair for one in maps for pair in one.get("elem", []))
    # A key with a comment, which is not ours, is an object.
    return {
        key if isinstance(key, str) else key["elem"]["val"]: int(value["concat"][1])
        for key, value in pairs
    }


def _expected(runtime: Path) -> str:
    """Return what the kernel prints for our ruleset; cached per ruleset and nft version."""
    nft = shutil.which("nft", path=process.ENVIRONMENT["PATH"])
    version = Path(nft).stat().st_mtime_ns if nft else 0
    digest = hashlib.sha256(f"{version}\n{ruleset_text()}".encode()).hexdigest()[:16]
    cache = runtime / f"ruleset-{digest}"
    if not cache.exists():
        files.write(cache, _as_loaded().encode())
    return cache.read_text()


def _as_loaded() -> str:
    """Load the ruleset into an empty network namespace, and return the kernel's listing of it."""
    load = ["unshare", "--net", "sh", "-c", "nft -f - && nft -s -t list table inet airlock"]
    try:
        return process.run(load, stdin=ruleset_text())
    except CannotStart as refused:
        _, found, message = refused.problem.partition("Error: ")
        raise WrongConfiguration(
            "this host's nft or kernel rejects Airlock's ruleset: "
            f"{message.splitlines()[0] if found else refused.problem}",
            hint="Expected nftables 1.0.6 or newer, root, and a kernel with "
            f"CONFIG_NF_CONNTRACK_TIMEOUT. `unshare --net nft -f {_ruleset_file()}` prints every "
            "error.",
        ) from refused


def _elements(runtime: Path) -> str:
    """Return the map elements of all running containers, as nft commands."""
    lines = [
        _command("add", record.address, record.port)
        for record in addresses.in_use(runtime / "jobs")
        if record.port is not None
    ]
    return "\n" + "".join(lines)


def _command(verb: str, address: str, port: int) -> str:
    element = f"{{ {address} : {ENDPOINT_ADDRESS} . {port} }}"
    return f"{verb} element inet airlock credentials {element}\n"


def _policy_routing(timeout: float = 10.0) -> bool:
    """Refuse the metadata range by routing too: that holds if nftables is flushed.

    A kernel without IPv6 has no rules of it, and needs none. Returns whether a rule was missing. It
    takes no lock: the watch of a job must not wait for one.
    """
    missing = False
    wanted = {"-4": ["to", "169.254.0.0/16"], **({"-6": []} if ipv6.is_supported() else {})}
    for family, target in wanted.items():
        rule = ["iif", BRIDGE, *target, "prohibit"]
        if _has_rule(family, rule, timeout):
            continue
        missing = True
        try:
            process.run(["ip", family, "rule", "add", "pref", PREFERENCE, *rule], timeout=timeout)
        except CannotStart:
            if not _has_rule(family, rule, timeout):  # else another job has added it meanwhile
                raise
    return missing


def _has_rule(family: str, rule: list[str], timeout: float) -> bool:
    shown = process.run(["ip", family, "rule", "show", "pref", PREFERENCE], timeout=timeout)
    expected = sorted([f"{PREFERENCE}:", "from", "all", *rule])
    return any(sorted(line.split()) == expected for line in shown.splitlines())


def _endpoint_address() -> None:
    shown = process.run(["ip", "-j", "-4", "addr", "show", "dev", BRIDGE])
    present = {a["local"] for link in json.loads(shown) for a in link["addr_info"]}
    if ENDPOINT_ADDRESS not in present:
        process.run(["ip", "addr", "add", f"{ENDPOINT_ADDRESS}/32", "dev", BRIDGE])
