"""`make bench`: what Airlock costs, as ratios of things measured in turn in one run.

`make bench ONLY=first-byte` measures one subject, `ONLY=first-byte,memory` two. The results are in
bench/: the numbers as JSON, the charts as SVG. How to read them: docs/speed.md
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.bench import machine
from tests.bench.at_once import at_once
from tests.bench.bench import AHEAD, Bench
from tests.bench.decisions import decisions
from tests.bench.egress import egress
from tests.bench.endpoint import endpoint
from tests.bench.first_byte import first_byte
from tests.bench.images import images
from tests.bench.jobs import run_well
from tests.bench.memory import memory
from tests.bench.policies import policies
from tests.bench.results import Findings
from tests.bench.services import services
from tests.bench.throughput import throughput
from tests.bench.ways import ways
from tests.lab.lab import fleet, lab
from tests.lab.launcher import binary
from tests.lab.service import serving

OUT = Path(__file__).parents[2] / "bench"
SUBJECTS: Mapping[str, Callable[[Bench], Findings]] = {
    "first-byte": first_byte,
    "at-once": at_once,
    "throughput": throughput,
    "memory": memory,
    "decisions": decisions,
    "policies": policies,
    "endpoint": endpoint,
    "services": services,
    "images": images,
    "egress": egress,
}


def main() -> int:
    """Measure the subjects that ONLY names, or all, and print what was found."""
    chosen = [name for name in os.environ.get("ONLY", "").split(",") if name] or list(SUBJECTS)
    if unknown := [name for name in chosen if name not in SUBJECTS]:
        print(f"bench: no subject {unknown[0]!r}; there are {', '.join(SUBJECTS)}", file=sys.stderr)
        return 2
    with ExitStack() as held:
        base = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="airlock-bench-")))
        in_lab = held.enter_context(lab())
        made = held.enter_context(fleet(in_lab, base / "fleet"))
        used = machine.wait_until_idle()
        cpu = held.enter_context(machine.cpu(in_lab))
        prepared = ways(made)
        service = held.enter_context(serving(made, f"networks-ahead = {AHEAD}"))
        launcher = [str(binary()), "--socket", str(service.socket)]
        bench = Bench(
            made=made, ways=replace(prepared, launcher=launcher), cpu=cpu, service=service
        )
        run_well(bench.ways.alone("true", 0))  # creates the network that all ways use
        facts = {**machine.facts(in_lab), "busy_before": round(used, 2)}
        for name in chosen:
            began, before = time.monotonic(), cpu.read()
            findings = SUBJECTS[name](bench)
            others = machine.others(cpu.since(before), time.monotonic() - began)
            _show(findings, others, time.monotonic() - began)
            _keep(name, findings, {**facts, "busy_others": round(others, 2)})
    return 0


def _show(findings: Findings, others: float, seconds: float) -> None:
    for table in findings.tables:
        print(f"\n{table}", end="")
    for goal in findings.goals:
        print(f"  {goal}")
    print(
        f"  Measured in {seconds:.0f} s; other programs used {others:.0%} of the processors.",
        flush=True,
    )


def _keep(name: str, findings: Findings, facts: Mapping[str, Any]) -> None:
    """Write the numbers and charts of one subject; those of other subjects stay."""
    OUT.mkdir(exist_ok=True)
    path = OUT / "results.json"
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    results[name] = {"machine": facts, **findings.json()}
    path.write_text(json.dumps(results, indent=1, default=str) + "\n")
    for title, document in findings.plots.items():
        (OUT / f"{title}.svg").write_text(document)


if __name__ == "__main__":
    raise SystemExit(main())
