"""Rules by which another program leads an address of metadata elsewhere, as an ECS agent does."""

import re
from collections.abc import Iterator
from pathlib import Path

from bootstrap import process
from bootstrap.doctor.read.reading import text
from bootstrap.errors import CannotStart
from bootstrap.sandbox.network import firewall, nftables

# Of the older iptables: its rules are in no listing of nft. Listing a table that is not there
# would create it.
_TABLES = Path("/proc/net/ip_tables_names")
_PROGRAMS = ("iptables-legacy-save", "iptables-save")
_ADDRESS = r"(?:169\.254\.169\.254|169\.254\.170\.2|fd00:ec2::254)"
_NFT = re.compile(
    rf"\bdaddr (?:{{[^}}]*)?\b{_ADDRESS}(?![\d.:/]).*\b(?:dnat|redirect)\b", re.IGNORECASE
)
_IPTABLES = re.compile(
    rf"-A (?P<chain>\S+) (?:.* )?(?<!! )-d {_ADDRESS}(?:/32)? .*-j (?:DNAT|REDIRECT)\b"
)


def led_elsewhere() -> tuple[str, ...]:
    """Return these rules, each with its table and chain. Raises OSError."""
    try:
        return (*in_nftables(nftables.every_table()), *in_iptables(_older()))
    except CannotStart as failed:  # no job needs these listings
        raise OSError(failed.problem) from failed


def in_nftables(listing: str) -> Iterator[str]:
    """Yield those in a listing of nft's."""
    table = chain = ""
    for line in map(str.strip, listing.splitlines()):
        kind, _, name = line.removesuffix(" {").partition(" ")
        if kind == "table":
            table = name
        elif kind == "chain":
            chain = name
        elif table != " ".join(firewall.TABLE) and _NFT.search(line):
            yield f"table {table}, chain {chain}: {line}"


def in_iptables(listing: str) -> Iterator[str]:
    """Yield those in what iptables-save prints of its table nat."""
    for line in listing.splitlines():
        if found := _IPTABLES.match(line):
            yield f"iptables, table nat, chain {found['chain']}: {line}"


def _older() -> str:
    try:
        if "nat" not in text(_TABLES).split():
            return ""
    except FileNotFoundError:
        return ""
    first, second = _PROGRAMS
    try:
        return process.run([first, "-t", "nat"])
    except CannotStart:  # where there is only one iptables, it has no name of its own
        return process.run([second, "-t", "nat"])
