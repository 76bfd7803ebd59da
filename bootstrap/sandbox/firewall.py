"""The kernel's side of the walls: the only caller of nft and ip.

`stand` makes sure that exactly `agent-config/airlock.nft` is in force, plus a second layer that
does not depend on netfilter; `is_unchanged` says whether it still is. What is expected is not
remembered but asked of the kernel itself, in an empty network namespace.
"""

import hashlib
import json
import shutil
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import resources
from ipaddress import IPv4Address
from pathlib import Path

from bootstrap import files, process
from bootstrap.errors import CannotStart, WrongConfiguration
from bootstrap.host.lock import locked
from bootstrap.sandbox import claims, conntrack
from bootstrap.sandbox.claims import Claim
from bootstrap.sandbox.model import Running

BRIDGE = "airlock0"
ENDPOINT_ADDRESS = "169.254.170.2"  # the only http host that every AWS SDK ever shipped accepts
TABLE = ("inet", "airlock")
# After `local` (0), so our own listener stays reachable; before every table with a default route.
PREFERENCE = "1690"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ruleset:
    """The ruleset in force, as the kernel prints it without counters and map elements."""

    expected: str
    reloaded: bool


def ruleset() -> str:
    """Return the text of airlock.nft: beside this file when installed, else in agent-config/."""
    packaged = resources.files("bootstrap.sandbox").joinpath("airlock.nft")
    if packaged.is_file():
        return packaged.read_text()
    checkout = Path(__file__).parents[2] / "agent-config" / "airlock.nft"
    return checkout.read_text()


def ensure_loaded(runtime: Path) -> Ruleset:
    """Put both layers in force if they are not, and return what is now.

    Elements of running jobs survive a reload, which happens in one transaction. Raises CannotStart.
    """
    expected = _expected(runtime)
    with locked(runtime / "firewall.lock"):
        reloaded = _listing() != expected
        if reloaded:
            process.run(["nft", "-f", "-"], stdin=ruleset() + _elements(runtime))
        _policy_routing()
        _endpoint_address()
    if _listing() != expected:
        raise CannotStart(
            "nftables does not hold the rules that were just loaded into table inet airlock",
            hint="Something else rewrites that table: compare `nft list table inet airlock` "
            "with agent-config/airlock.nft.",
        )
    return Ruleset(expected=expected, reloaded=reloaded)


def is_unchanged(ruleset: Ruleset) -> bool:
    """Say whether the ruleset still is what `ensure_loaded` left. Unreadable counts as gone."""
    try:
        return _listing() == ruleset.expected
    except CannotStart:
        return False


def refusals(container_ip: str) -> int:
    """Return how many packets of this container the table has refused since it was first seen."""
    shown = json.loads(process.run(["nft", "-j", "list", "set", *TABLE, "refused"]))
    for item in shown["nftables"]:
        for element in item.get("set", {}).get("elem", []):
            if element["elem"]["val"] == container_ip:
                return int(element["elem"]["counter"]["packets"])
    return 0


def claim(directory: Path, running: Running, port: int | None) -> None:
    """Make the container's address its own: nothing of whoever had it before is left of it.

    With a port it reaches the listener there until `withdraw`, without one none. Call before the
    start gate opens. `directory` is the job's own. Raises CannotStart, also if a container that
    lives has the address.
    """
    try:
        ours = claims.of(directory, running, port)
    except FileNotFoundError as ended:
        raise CannotStart(
            "the container ended before it was connected to the network",
            hint="Does the image hold /bin/sh? `docker run --rm IMAGE /bin/sh` tells.",
        ) from ended
    with _locked(directory):
        if others := _others(directory, ours.address):
            raise CannotStart(
                f"the address {ours.address} is in use by the container of job {others[0].token}",
                hint="Two engines on one bridge? `ip link show master airlock0` lists its ports.",
            )
        claims.write(directory, ours)  # first, so that it is found if we are killed
        stale = listeners().get(ours.address)
        commands = [] if stale is None else [_command("delete", ours.address, stale)]
        commands += [] if port is None else [_command("add", ours.address, port)]
        if commands:
            process.run(["nft", "-f", "-"], stdin="".join(commands))
    conntrack.forget(ours.address)


def withdraw(directory: Path) -> None:
    """Let the job's container no longer reach its listener. To be called before it is removed."""
    with _locked(directory):
        ours = claims.read(directory)
        if ours and not _others(directory, ours.address):
            _withdraw(ours)


def release(directory: Path) -> None:
    """Give up the address of a container that is gone, and all that the kernel knows of it.

    What somebody else has by now is left alone. Raises CannotStart, also if the container lives.
    """
    with _locked(directory):
        ours = claims.read(directory)
        if ours is None:
            return
        if claims.is_alive(ours):
            raise CannotStart(
                f"the container of job {ours.token} still runs, so its address is not given up",
                hint=f"`docker rm -f airlock-{ours.token}` removes it.",
            )
        if not _others(directory, ours.address):
            _withdraw(ours)
            conntrack.forget(ours.address)
        claims.remove(directory)


def _locked(directory: Path) -> AbstractContextManager[None]:
    return locked(directory.parents[1] / "firewall.lock")


def _others(directory: Path, address: str) -> tuple[Claim, ...]:
    """Other containers that live and have this address: there is none, or it is theirs by now."""
    return tuple(
        other
        for other in claims.living(directory.parent)
        if other.address == address and other.token != directory.name
    )


def _withdraw(ours: Claim) -> None:
    if ours.port is not None and listeners().get(ours.address) == ours.port:
        process.run(["nft", "-f", "-"], stdin=_command("delete", ours.address, ours.port))


def enclose(container_pid: int, gateway: str) -> None:
    """Load inside.nft into the container's network namespace: nothing goes but by the gateway."""
    rules = resources.files("bootstrap.sandbox").joinpath("inside.nft").read_text()
    process.run(
        ["nsenter", "--target", str(container_pid), "--net", "nft", "-f", "-"],
        stdin=f"define gateway = {IPv4Address(gateway)}\n{rules}",
    )


def isolate(port: str) -> None:
    """Cut one veth of the bridge off from every other one, at layer 2 and without netfilter."""
    process.run(["ip", "link", "set", "dev", port, "type", "bridge_slave", "isolated", "on"])


def bridge_port(container_pid: int) -> str:
    """Return the name of the host's end of the container's network interface."""
    inside = process.run(
        ["nsenter", "--target", str(container_pid), "--net", "ip", "-j", "link", "show", "eth0"]
    )
    index = json.loads(inside)[0]["link_index"]
    for link in json.loads(process.run(["ip", "-j", "link", "show", "master", BRIDGE])):
        if link["ifindex"] == index:
            return str(link["ifname"])
    raise CannotStart(
        f"the container's interface is not a port of {BRIDGE}",
        hint="Somebody moved it while the job was starting; look at `ip link`.",
    )


def _listing() -> str:
    try:
        return process.run(["nft", "--stateless", "--terse", "list", "table", *TABLE])
    except CannotStart as absent:
        if "No such file or directory" in absent.problem:
            return ""
        raise


def listeners() -> dict[str, int]:
    """The map `credentials`: the port of the listener by the container's address."""
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
    """What the kernel prints for our ruleset, learned once per ruleset and nft version."""
    nft = shutil.which("nft", path=process.ENVIRONMENT["PATH"])
    version = Path(nft).stat().st_mtime_ns if nft else 0
    digest = hashlib.sha256(f"{version}\n{ruleset()}".encode()).hexdigest()[:16]
    cache = runtime / f"ruleset-{digest}"
    if not cache.exists():
        files.write(cache, _as_loaded().encode())
    return cache.read_text()


def _as_loaded() -> str:
    """Load the ruleset into an empty network namespace, and return what the kernel made of it."""
    load = ["unshare", "--net", "sh", "-c", "nft -f - && nft -s -t list table inet airlock"]
    try:
        return process.run(load, stdin=ruleset())
    except CannotStart as refused:
        _, found, said = refused.problem.partition("Error: ")
        raise WrongConfiguration(
            "this host's nft or kernel does not take Airlock's ruleset: "
            f"{said.splitlines()[0] if found else refused.problem}",
            hint="Expected nftables 1.0.6 or newer, root, and a kernel with "
            "CONFIG_NF_CONNTRACK_TIMEOUT. `unshare --net nft -f agent-config/airlock.nft` shows "
            "all that is wrong.",
        ) from refused


def _elements(runtime: Path) -> str:
    """The map elements of all containers that live, as nft commands."""
    lines = [
        _command("add", claim.address, claim.port)
        for claim in claims.living(runtime / "jobs")
        if claim.port is not None
    ]
    return "\n" + "".join(lines)


def _command(verb: str, address: str, port: int) -> str:
    element = f"{{ {address} : {ENDPOINT_ADDRESS} . {port} }}"
    return f"{verb} element inet airlock credentials {element}\n"


def _policy_routing() -> None:
    """The second layer: the routing policy refuses, whatever becomes of nftables."""
    wanted = {"-4": ["to", "169.254.0.0/16"], "-6": []}
    for family, target in wanted.items():
        rule = ["iif", BRIDGE, *target, "prohibit"]
        if not _has_rule(family, rule):
            process.run(["ip", family, "rule", "add", "pref", PREFERENCE, *rule])


def _has_rule(family: str, rule: list[str]) -> bool:
    shown = process.run(["ip", family, "rule", "show", "pref", PREFERENCE])
    expected = sorted([f"{PREFERENCE}:", "from", "all", *rule])
    return any(sorted(line.split()) == expected for line in shown.splitlines())


def _endpoint_address() -> None:
    shown = process.run(["ip", "-j", "-4", "addr", "show", "dev", BRIDGE])
    addresses = {a["local"] for link in json.loads(shown) for a in link["addr_info"]}
    if ENDPOINT_ADDRESS not in addresses:
        process.run(["ip", "addr", "add", f"{ENDPOINT_ADDRESS}/32", "dev", BRIDGE])
