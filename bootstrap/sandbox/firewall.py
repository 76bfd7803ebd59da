"""The kernel's side of the walls: the only caller of nft and ip.

`stand` makes sure that exactly `agent-config/airlock.nft` is in force, plus a second layer that
does not depend on netfilter; `standing` says whether it still is. What is expected is not
remembered but asked of the kernel itself, in an empty network namespace.
"""

import hashlib
import json
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from bootstrap import process
from bootstrap.errors import CannotStart
from bootstrap.host.lock import locked

BRIDGE = "airlock0"
ENDPOINT_ADDRESS = "169.254.170.2"  # the only http host that every AWS SDK ever shipped accepts
TABLE = ("inet", "airlock")
# After `local` (0), so our own listener stays reachable; before every table with a default route.
PREFERENCE = "1690"


@dataclass(frozen=True, kw_only=True, slots=True)
class Walls:
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


def stand(runtime: Path) -> Walls:
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
    return Walls(expected=expected, reloaded=reloaded)


def standing(walls: Walls) -> bool:
    """Say whether the ruleset still is what `stand` left. Unreadable counts as gone."""
    try:
        return _listing() == walls.expected
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


def admit_to_listener(job_directory: Path, container_ip: str, listener_port: int) -> None:
    """Let one container reach one listener, until `forget`.

    The element is written down first, so that it can be found again if we are killed.
    """
    element = (container_ip, listener_port)
    nascent = job_directory / ".element"
    nascent.write_text(json.dumps(element))
    nascent.rename(job_directory / "element")  # readers see all of it or nothing
    process.run(["nft", "add", "element", *TABLE, "credentials", _element(*element)])


def forget(job_directory: Path) -> None:
    """Remove the element that `job_directory` names. Nothing to remove is fine."""
    path = job_directory / "element"
    with suppress(FileNotFoundError):
        ip, port = json.loads(path.read_text())
        if f"{ip} : " in _map_listing():
            process.run(["nft", "delete", "element", *TABLE, "credentials", _element(ip, port)])
        path.unlink()


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


def _map_listing() -> str:
    return process.run(["nft", "list", "map", *TABLE, "credentials"]) if _listing() else ""


def _expected(runtime: Path) -> str:
    """What the kernel prints for our ruleset, learned once per ruleset and nft version."""
    nft = shutil.which("nft", path=process.ENVIRONMENT["PATH"])
    version = Path(nft).stat().st_mtime_ns if nft else 0
    digest = hashlib.sha256(f"{version}\n{ruleset()}".encode()).hexdigest()[:16]
    cache = runtime / f"ruleset-{digest}"
    if not cache.exists():
        listing = process.run(
            ["unshare", "--net", "sh", "-c", "nft -f - && nft -s -t list table inet airlock"],
            stdin=ruleset(),
        )
        fresh = cache.with_suffix(f".{os.getpid()}")
        fresh.write_text(listing)
        fresh.replace(cache)
    return cache.read_text()


def _elements(runtime: Path) -> str:
    """The map elements of all jobs that are running, as an nft command."""
    lines = []
    for path in sorted(runtime.glob("jobs/*/element")):
        with suppress(FileNotFoundError):
            ip, port = json.loads(path.read_text())
            lines.append(f"add element inet airlock credentials {_element(ip, port)}\n")
    return "\n" + "".join(lines)


def _element(ip: str, port: int) -> str:
    return f"{{ {ip} : {ENDPOINT_ADDRESS} . {port} }}"


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
