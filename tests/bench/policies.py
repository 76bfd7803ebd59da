"""How long the policy commands take for a large organisation, against only reading its YAML."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench import plot
from tests.bench.bench import Bench
from tests.bench.results import Findings, Goal, Spread, Table, milliseconds, spread
from tests.lab.lab import AIRLOCK
from tests.policy import corpus, large

ROUNDS = 5
# Seconds and MiB for a whole company.
GOALS = {"lint": 1.5, "who-can": 1.5, "explain": 1.5, "diff": 3.0, "diff of a change in each": 3.0,
         "report": 3.0}  # fmt: skip
MOST_MEMORY = 150.0
_READ = (
    "import pathlib, sys, yaml\n"
    "for path in pathlib.Path(sys.argv[1]).iterdir():\n"
    "    yaml.load(path.read_text(), yaml.CSafeLoader)\n"
)
READING = "reading the YAML"


def policies(bench: Bench) -> Findings:
    """Run each command in turn, and the access map of a whole company."""
    with tempfile.TemporaryDirectory(prefix="airlock-bench-policies-") as base:
        found, _ = _measured(_commands(corpus.write(Path(base) / "policies")))
        company = large.write(Path(base) / "company")
        mapped, most = _measured(_of_company(company))
        size = company.with_name("map.html").stat().st_size
    lines = [
        plot.Bar(name=name, parts=[("", one.median * 1000)], label=f"{one.median * 1000:.0f} ms")
        for name, one in found.items()
    ]
    title = f"Policy commands, {corpus.PIPELINES} pipelines in {corpus.ACCOUNTS} accounts"
    whole = f"{large.PIPELINES} pipelines with roles of their own in {large.ACCOUNTS} accounts"
    peaks = {name: peak / 1024 for name, peak in most.items()}
    return Findings(
        tables=[
            Table(title=title, header=("", "ratio", "ms (half of all)"), rows=_rows(found)),
            Table(
                title=f"{whole}; the access map has {size / 1000:.0f} kB",
                header=("", "ratio", "ms (half of all)", "most memory, MiB"),
                rows=[[*row, f"{peaks[str(row[0])]:.0f}"] for row in _rows(mapped)],
            ),
        ],
        goals=[
            *(
                Goal(
                    what=f"policy {verb}",
                    measured=mapped[f"policy {verb}"].median,
                    most=most,
                    unit=" s",
                )
                for verb, most in GOALS.items()
            ),
            Goal(
                what="memory of policy report",
                measured=peaks["policy report"],
                most=MOST_MEMORY,
                unit=" MiB",
            ),
        ],
        data={
            **{name: one.json() for name, one in found.items()},
            "company": {name: one.json() for name, one in mapped.items()},
            "company_peak_mib": peaks,
            "company_map_bytes": size,
        },
        plots={"policies": plot.bars(f"Milliseconds for {corpus.PIPELINES} pipelines", lines)},
    )


def _rows(found: Mapping[str, Spread]) -> list[list[str | float]]:
    base_line = found[READING].median
    return [[name, one.median / base_line, milliseconds(one)] for name, one in found.items()]


def _measured(commands: Mapping[str, Sequence[str]]) -> tuple[dict[str, Spread], dict[str, int]]:
    """Return seconds and the most resident KiB of each command."""
    took: dict[str, list[float]] = {name: [] for name in commands}
    most = dict.fromkeys(commands, 0)
    for _ in range(ROUNDS):
        for name, command in commands.items():
            seconds, peak = _run(command)
            took[name].append(seconds)
            most[name] = max(most[name], peak)
    return {name: spread(seconds) for name, seconds in took.items()}, most


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


def _of_company(folder: Path) -> dict[str, Sequence[str]]:
    page, policies = str(folder.with_name("map.html")), ["--policies", str(folder)]
    one = large.PIPELINES // 2
    job = ["--pipeline", large.name(one), "--branch", "feature"]
    arguments = {
        "lint": ["lint", str(folder)],
        "who-can": ["who-can", large.role(one, f"{large.name(one)}-deploy"), *policies],
        "explain": ["explain", *policies, *job],
        "diff": ["diff", str(folder), str(folder)],
        "diff of a change in each": ["diff", str(folder), str(_changed(folder))],
        "report": ["report", str(folder), "--output", page],
    }
    airlock = {f"policy {verb}": [*AIRLOCK, "policy", *rest] for verb, rest in arguments.items()}
    return {READING: [sys.executable, "-c", _READ, str(folder)], **airlock}


def _changed(folder: Path) -> Path:
    """The same policies, each of which admits jobs of other branches."""
    changed = folder.with_name(f"{folder.name}-changed")
    changed.mkdir()
    for path in folder.iterdir():
        text = path.read_text().replace('branch: [main, "release/*"]', "branch: [main, hotfix]")
        (changed / path.name).write_text(text)
    return changed


def _run(command: Sequence[str]) -> tuple[float, int]:
    """Return how many seconds a command takes, and its most resident KiB.

    `diff` and `lint` end with 1 where they find something, and Python with 1 after a traceback.
    """
    with tempfile.TemporaryFile() as errors:
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        written = errors.read()
    findings = not {"diff", "lint"}.isdisjoint(command)
    if process.returncode not in {0, int(findings)} or written:
        raise RuntimeError(f"{command} ended with {process.returncode}: {written!r}")
    return seconds, usage.ru_maxrss
