"""The credential endpoint under load: one client alone, and the same beside three hostile ones."""

import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

from tests.bench.bench import Bench
from tests.bench.results import Findings, Goal, Table
from tests.lab.agent import binary
from tests.lab.lab import AIRLOCK, Fleet

SECONDS = float(os.environ.get("LOAD_SECONDS", "20"))
RATE = 200.0  # requests a second
GOAL = 50.0  # milliseconds, of the 99th percentile


def endpoint(bench: Bench) -> Findings:
    """Run one job of each kind, with Airlock's memory at start and end."""
    made = bench.made
    config = made.config.with_name("endpoint.toml")  # the real agent, unlike other subjects
    config.write_text(
        re.sub(
            "^agent-binary = .*$", f'agent-binary = "{binary()}"', made.config.read_text(),
            flags=re.MULTILINE,
        )
    )  # fmt: skip
    alone, _ = _job(made, config, "alone")
    beside, memory = _job(made, config, "hostile")
    shown = {"alone": alone, "beside three hostile clients": beside}
    table = Table(
        title=f"The credential endpoint, {RATE:.0f} requests a second for {SECONDS:.0f} s, ms",
        header=("", "answered", "p50", "p99", "max"),
        rows=[
            [name, f"{one['requests']:.0f}", one["p50"], one["p99"], one["max"]]
            for name, one in shown.items()
        ],
        notes=[
            f"p99, beside them / alone: {beside['p99'] / alone['p99']:.2f}",
            f"memory, at the end / at the start of the load: {memory:.2f}",
        ],
    )
    goal = Goal(what="endpoint, p99 under attack", measured=beside["p99"], most=GOAL, unit=" ms")
    return Findings(tables=[table], goals=[goal], data={**shown, "memory": memory})


def _job(made: Fleet, config: Path, how: str) -> tuple[dict[str, Any], float]:
    program = Path(__file__).with_name("load.py").read_text()
    script = shlex.join([*AIRLOCK, "bootstrap", "--config", str(config)])
    with made.agent(name=how, bootstrap_script=script) as agent:
        env = made.env(
            f"cat >/tmp/load.py <<'END'\n{program}\nEND\n"
            f"echo the load begins; python3 /tmp/load.py {SECONDS} {RATE} {how}",
            BUILDKITE_AGENT_NAME=how,
        )
        job = made.control.enqueue(env)
        made.control.wait(job, lambda j: b"\nthe load begins" in j.log or j.finish)
        status = Path(f"/proc/{agent.bootstrap_pid()}/status")
        first = last = _resident(status)
        while not job.finish:
            last = _resident(status) or last
            made.control.wait(job, lambda j: b"measured" in j.log or j.finish, SECONDS * 3)
            last = _resident(status) or last
            made.control.finished(job)
    found = re.search(rb"measured (\{.*\})", job.log)
    if not found:
        raise RuntimeError(job.log.decode(errors="replace"))
    return json.loads(found[1]), last / first


def _resident(status: Path) -> int:
    """Return the kilobytes of a process that are in memory; 0 once it has ended."""
    try:
        found = re.search(r"VmRSS:\s+(\d+)", status.read_text())
    except OSError:
        return 0
    return int(found[1]) if found else 0
