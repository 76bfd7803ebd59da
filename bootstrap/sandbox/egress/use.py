"""What a job reached and was refused, for the audit trail and for the end of its log."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import NamedTuple

from bootstrap.policy.egress import MOST, NEVER, PRIVATE
from bootstrap.text import counted

NAMES_AT_MOST = 256  # that are kept of one job, of each kind
RECORDED = 100  # of those in the audit trail
_SHOWN = 8  # entries in one line of the log
_OF_RESOLVERS = (53, 853)


class Target(NamedTuple):
    """Where packets went. `port` is None for protocols without ports."""

    address: IPv4Address
    protocol: str
    port: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Names:
    """How often which names were looked up: `asked` were answered, `refused` are not on the list.

    `leads_astray` has names whose addresses are not allowed, each with why. `others` counts the
    lookups of names that are not kept here, `over_limit` those beyond what a job may make, and
    `unanswered` those that failed, the last one because of `why`.
    """

    asked: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, int] = field(default_factory=dict)
    leads_astray: Mapping[str, str] = field(default_factory=dict)
    addresses: Mapping[str, frozenset[IPv4Address]] = field(default_factory=dict)
    others: int = 0
    over_limit: int = 0
    unanswered: int = 0
    why: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """All of a job's use. With `observe`, nothing of `targets` and of its names was refused."""

    observe: bool
    names: Names
    targets: Mapping[Target, int]
    reached: frozenset[IPv4Address] = frozenset()

    @property
    def refusals(self) -> int:
        """The number of refused packets and lookups."""
        if self.observe:
            return 0
        return sum(self.targets.values()) + sum(self.names.refused.values()) + self.names.others

    def recorded(self, masked: Callable[[str], str] = str) -> dict[str, object]:
        """Return it for the audit trail, RECORDED of each kind, the most frequent first.

        `masked` is applied to each name, which the job chose.
        """
        names = self.names
        targets = Counter({shown(one): packets for one, packets in self.targets.items()})
        return {
            "mode": "observe" if self.observe else "enforce",
            "asked": _masked(names.asked, masked),
            "refused_names": _masked(names.refused, masked),
            "not_allowed_answers": {
                masked(name): why for name, why in list(names.leads_astray.items())[:RECORDED]
            },
            "refused_targets": dict(targets.most_common(RECORDED)),
            "refused_packets": 0 if self.observe else sum(self.targets.values()),
            "refusals": self.refusals,
            "over_limit": names.over_limit,
            "unanswered": names.unanswered,
            "proposed": self._proposed(masked),
        }

    def _proposed(self, masked: Callable[[str], str]) -> dict[str, list[str]] | None:
        """Return the list for a rule, None if it is not whole, too long, or has a secret in it."""
        lists = proposed(self)
        if any(masked(name) != name for name in lists["hosts"]):
            return None
        short = all(len(found) <= MOST for found in lists.values())
        return lists if self.observe and short and not self.names.others else None


def _masked(times: Mapping[str, int], masked: Callable[[str], str]) -> dict[str, int]:
    return {masked(name): number for name, number in Counter(times).most_common(RECORDED)}


def shown(target: Target) -> str:
    """Return a target as in `tcp 203.0.113.7:443`."""
    port = "" if target.port is None else f":{target.port}"
    return f"{target.protocol} {target.address}{port}"


def job_targets(counted_by_table: Mapping[Target, int]) -> dict[Target, int]:
    """Return the targets without those of the proof, which no list can allow."""
    return {
        one: packets
        for one, packets in counted_by_table.items()
        if not any(one.address in network for network in NEVER)
    }


def advice(use: Use, rule: str) -> Iterator[str]:
    """Yield what to tell the job's authors about what was refused, one line each."""
    names, others = use.names, [one for one in use.targets if one.port not in _OF_RESOLVERS]
    entries = [
        ("hosts", _most(names.refused)),
        ("cidrs", _networks(one.address for one in others if not _is_private(one.address))),
        ("private", _networks(one.address for one in others if _is_private(one.address))),
    ]
    add = ", ".join(f"{key}: {_listed(found)}" for key, found in entries if found)
    if add:
        lookups = sum(names.refused.values()) + names.others
        packets = sum(use.targets[one] for one in others)
        yield (
            f"egress of rule {rule!r} does not allow {counted(lookups, 'lookup')} and "
            f"{counted(packets, 'packet')}. If the job needs them, add {add}"
        )
    if asked := [one for one in use.targets if one.port in _OF_RESOLVERS]:
        yield (
            "packets to other resolvers were refused: jobs ask the one in /etc/resolv.conf. Got: "
            f"{', '.join(map(shown, asked[:_SHOWN]))}"
        )
    for name, why in list(names.leads_astray.items())[:_SHOWN]:
        yield (
            f"{name} leads to {why}, which egress of rule {rule!r} does not allow. If it should, "
            "add its network to egress.private or egress.cidrs"
        )
    yield from _limits(names)


def _limits(names: Names) -> Iterator[str]:
    if names.over_limit:
        yield (
            f"{counted(names.over_limit, 'lookup')} got no answer: a job's resolver answers 200 in "
            "a second, and has 64 under way"
        )
    if names.unanswered:
        yield f"{counted(names.unanswered, 'lookup')} failed, at last because {names.why}"


def proposed(use: Use) -> dict[str, list[str]]:
    """Return a list, by key, under which the observed job would have reached the same."""
    used = {name for name, found in use.names.addresses.items() if found & use.reached}
    named = frozenset[IPv4Address]().union(*use.names.addresses.values())
    alone = [one.address for one in use.targets if one.address not in named]
    return {
        "hosts": sorted(used),
        "cidrs": _networks(one for one in alone if not _is_private(one)),
        "private": _networks(one for one in (*alone, *(use.reached & named)) if _is_private(one)),
    }


def draft(use: Use) -> list[str]:
    """Return the lines of this list."""
    lines = [f"  {key}: [{', '.join(found)}]" for key, found in proposed(use).items() if found]
    return ["egress:", *lines] if lines else ["egress: none"]


def _most(names: Mapping[str, int]) -> list[str]:
    return [name for name, _ in Counter(names).most_common()]


def _networks(addresses: Iterable[IPv4Address]) -> list[str]:
    return [f"{one}/32" for one in sorted(dict.fromkeys(addresses))]


def _listed(found: list[str]) -> str:
    more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"[{', '.join(found[:_SHOWN])}{more}]"


def _is_private(address: IPv4Address) -> bool:
    return any(address in network for network in PRIVATE)
