"""How long the policy commands take for a large organisation, against only reading its YAML."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench import plot
from tests.bench.bench import Bench
from tests.bench.results import Findings, Table, milliseconds, spread
from tests.lab.lab import AIRLOCK
from tests.policy import corpus

ROUNDS = 5
_READ = (
    "import pathlib, sys, yaml\n"
    "for path in pathlib.Path(sys.argv[1]).iterdir():\n"
    "    yaml.load(path.read_text(), yaml.CSafeLoader)\n"
)
READING = "reading the YAML"


def policies(bench: Bench) -> Findings:
    """Run each command in turn."""
    with tempfile.TemporaryDirectory(prefix="airlock-bench-policies-") as base:
        commands = _commands(corpus.write(Path(base) / "policies"))
        took: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                took[name].append(_seconds(command))
    found = {name: spread(seconds) for name, seconds in took.items()}
    base_line = found[READING].median
    table = Table(
        title=f"Policy commands, {corpus.PIPELINES} pipelines in {corpus.ACCOUNTS} accounts",
        header=("", "ratio", "ms (half of all)"),
        rows=[[name, one.median / base_line, milliseconds(one)] for name, one in found.items()],
    )
    lines = [
        plot.Bar(name=name, parts=[("", one.median * 1000)], label=f"{one.median * 1000:.0f} ms")
        for name, one in found.items()
    ]
    return Findings(
        tables=[table],
        data={name: one.json() for name, one in found.items()},
        plots={"policies": plot.bars(f"Milliseconds for {corpus.PIPELINES} pipelines", lines)},
    )


def _commands(folder: Path) -> dict[str, Sequence[str]]:
    page = str(folder.with_name("map.html"))
    arguments = {
        "lint": ["lint", str(folder)],
        "test": ["test", str(folder)],
        "diff": ["diff", str(folder), str(folder)],
        "diff of a change in each": ["diff", str(folder), str(_changed(folder))],
        "report": ["report", str(folder), "--output", page],
    }
    airlock = {f"policy {verb}": [*AIRLOCK, "policy", *rest] for verb, rest in arguments.items()}
    return {READING: [sys.executable, "-c", _READ, str(folder)], **airlock}


def _changed(folder: Path) -> Path:
    """The same policies, each of which admits jobs of other branches."""
    changed = folder.with_name("changed")
    changed.mkdir()
    for path in folder.iterdir():
        text = path.read_text().replace('branch: [main, "release/*"]', "branch: [main, hotfix]")
        (changed / path.name).write_text(text)
    return changed


def _seconds(command: Sequence[str]) -> float:
    """`diff` ends with 1 where there are changes, and Python with 1 after a traceback."""
    began = time.monotonic()
    done = subprocess.run(command, check=False, capture_output=True)
    if done.returncode > ("diff" in command) or done.stderr:
        raise RuntimeError(f"{command} ended with {done.returncode}: {done.stderr!r}")
    return time.monotonic() - began
