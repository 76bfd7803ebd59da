"""Versions of components, and which of the CVEs that matter to Airlock they have."""

import re
import tomllib
from collections.abc import Collection, Iterator
from dataclasses import dataclass

Version = tuple[int, ...]

# "1.1.5+ds1", "20.10.24+dfsg1", "25.0.8-1.amzn2023": built, and patched, by a distribution.
# "5.15.0-119-generic" and "6.8.0-1030-aws" are Ubuntu's.
_OF_DISTRIBUTION = re.compile(r"[+~](ds|dfsg)|-\d*ubuntu|-generic|-aws|amzn|\.el\d|\.fc\d")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cve:
    """One entry of the table.

    `since` is the first version that has it. `fixed` are the first versions without, one for each
    series that got a fix; a later series has it too.
    """

    id: str
    component: str
    severity: str
    since: Version
    fixed: tuple[Version, ...]
    what: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """The table, when it was last compared with its sources, and which these are."""

    checked: str
    sources: tuple[str, ...]
    cves: tuple[Cve, ...]


def table(text: str) -> Table:
    """Return the table of a document (cves.toml). Raises KeyError and ValueError."""
    document = tomllib.loads(text)
    return Table(
        checked=str(document["checked"]),
        sources=tuple(document["sources"]),
        cves=tuple(_cve(entry) for entry in document["cve"]),
    )


def _cve(entry: dict[str, object]) -> Cve:
    fixed = entry["fixed"]
    if not isinstance(fixed, list):
        raise ValueError(f"{entry['id']}: fixed is not a list")  # noqa: TRY004 - of a document
    return Cve(
        id=str(entry["id"]),
        component=str(entry["component"]),
        severity=str(entry["severity"]),
        since=version(str(entry.get("since", "0"))),
        fixed=tuple(version(str(one)) for one in fixed),
        what=str(entry["what"]),
    )


def version(text: str) -> Version:
    """Return the numbers at the start of a version, "v1.2.3-rc.1+ds" as (1, 2, 3).

    () if it does not begin with one. Pre-releases count as their release.
    """
    found = re.match(r"v?(\d{1,9}(?:\.\d{1,9})*)", text.strip())
    return tuple(map(int, found[1].split("."))) if found else ()


def is_of_distribution(text: str) -> bool:
    """Return whether a version is a distribution's, which fixes more than its number says."""
    return bool(_OF_DISTRIBUTION.search(text))


def affected(
    table: Table, component: str, text: str, *, fixed: Collection[str] = ()
) -> Iterator[Cve]:
    """Yield the CVEs that this version of a component has, but for those in `fixed`.

    Nothing for a version that has no number.
    """
    found = version(text)
    for cve in table.cves:
        if cve.component == component and cve.id not in fixed and found and _has(cve, found):
            yield cve


def _has(cve: Cve, found: Version) -> bool:
    """Return whether a version has a CVE: by the fix of its own series, else by the newest one."""
    if found < cve.since:
        return False
    own = [fix for fix in cve.fixed if fix[:2] == found[:2]]
    if own:
        return found < own[0]
    return found < max(cve.fixed, default=(10**9,))
