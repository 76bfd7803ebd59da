"""The credential endpoint under load: one client alone, and the same beside three hostile ones."""

import json
import os
import re
from pathlib import Path
from typing import Any

from tests.lab.lab import ROLE, Fleet

SECONDS = float(os.environ.get("LOAD_SECONDS", "60"))
RATE = 200.0  # requests a second
GOAL = 50.0  # milliseconds, of the 99th percentile


def endpoint(made: Fleet) -> None:
    """Run one job of each kind and print both, with Airlock's memory at start and end."""
    made.policy(f"  - name: all\n    allow: {{role: '{ROLE}'}}\n")
    print(f"\nThe credential endpoint, {RATE:.0f} requests a second for {SECONDS:.0f} s\n")
    alone, _ = _job(made, "alone")
    beside, memory = _job(made, "hostile")
    for name, took in (("alone", alone), ("beside three hostile clients", beside)):
        times = ", ".join(f"{key} {took[key]:6.1f} ms" for key in ("p50", "p99", "max"))
        print(f"  {name:30s} {took['requests']:6.0f} answered: {times}")
    print(f"  p99, beside them / alone       {beside['p99'] / alone['p99']:.2f}")
    print(f"  memory at the end / at the start of the load  {memory:.2f}")
    print(f"  the goal, p99 below {GOAL:.0f} ms: {'met' if beside['p99'] < GOAL else 'missed'}")


def _job(made: Fleet, how: str) -> tuple[dict[str, Any], float]:
    program = Path(__file__).with_name("load.py").read_text()
    with made.agent(name=how) as agent:
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
