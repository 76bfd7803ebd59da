"""What a list of what jobs reach costs: a job that looks up a name and fetches from it, often.

The job is `docker run`, or the same through Airlock under a rule without a list and under one with.
"""

from collections.abc import Mapping

from tests.attacks.outside import outside
from tests.bench.bench import ROUNDS, Bench
from tests.bench.jobs import Ran, run_well
from tests.bench.results import Findings, Goal, Table, median
from tests.bench.ways import Start, Way
from tests.lab import world
from tests.lab.lab import ROLE

FETCHES = 100
BARE, OPEN, LISTED = "docker run", "service, no list", "service, a list"
RULES = f"""  - name: listed
    when: {{command: "*listed"}}
    allow: {{role: '{ROLE}', egress: {{hosts: "*.allowed.example"}}}}
  - name: open
    allow: {{role: '{ROLE}'}}
"""
_AGENT = 71  # of no other subject: its directories have a resolv.conf of their own
_COMMAND = f"""python3 -c '
import urllib.request
for _ in range({FETCHES}): urllib.request.urlopen("http://git.allowed.example/").read()
' # """


def egress(bench: Bench) -> Findings:
    """Run the same job each way, in turn."""
    ways: Mapping[str, tuple[Way, str]] = {
        BARE: (bench.ways.bare, "open"),
        OPEN: (bench.ways.service, "open"),
        LISTED: (bench.ways.service, "listed"),
    }
    before = (bench.made.base / "policies" / "storefront.yaml").read_text()
    bench.made.policy(RULES)
    taken: dict[str, list[Ran]] = {name: [] for name in ways}
    try:
        with outside():
            bench.ways.bare("true", _AGENT)
            plain = bench.made.base / f"plain-{_AGENT}" / "resolv.conf"
            plain.write_text(f"nameserver {world.WORLD}\n")
            for number in range(ROUNDS + 1):
                for name, (way, word) in ways.items():
                    ran = _one(bench, way(_COMMAND + word, _AGENT))
                    if number:  # the first round warms all of them
                        taken[name].append(ran)
    finally:
        (bench.made.base / "policies" / "storefront.yaml").write_text(before)
    return _findings(taken)


def _one(bench: Bench, start: Start) -> Ran:
    bench.settle()
    return run_well(start)


def _findings(taken: Mapping[str, list[Ran]]) -> Findings:
    whole = {name: _ratio(of, taken[BARE], "ended") for name, of in taken.items()}
    first = {name: _ratio(of, taken[BARE], "first") for name, of in taken.items()}
    rows: list[list[str | float]] = [
        [name, whole[name], f"{median(one.ended for one in of):.2f}", first[name],
         f"{1000 * median((one.ended - one.first) / FETCHES for one in of):.1f}"]
        for name, of in taken.items()
    ]  # fmt: skip
    return Findings(
        tables=[Table(
            title=f"{FETCHES} lookups and fetches, median of {len(taken[BARE])} in turn",
            header=("", "ratio", "s to the end", "ratio of the first byte", "ms a fetch"),
            rows=rows,
        )],
        goals=[Goal(what="a job with a list, to its end", measured=whole[LISTED], most=1.25)],
        data={name: {"ratio": whole[name], "first_byte_ratio": first[name]} for name in taken},
    )  # fmt: skip


def _ratio(of: list[Ran], bare: list[Ran], what: str) -> float:
    return median(
        getattr(one, what) / getattr(other, what) for one, other in zip(of, bare, strict=True)
    )
