"""`make bench`: what Airlock costs, as ratios of two things measured in turn in one run.

How much later a job's first byte comes than with a bare `docker run` of the same image with the
same flags, entry script and environment; the parts are what Airlock itself recorded. And how long
the policy commands take for 300 pipelines, against only reading their YAML. And how the credential
endpoint answers one client beside three hostile ones, against the same client alone.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench.endpoint import endpoint
from tests.lab.lab import AIRLOCK, FIRST_USER, ROLE, Fleet, fleet, lab
from tests.policy import corpus

ROUNDS = int(os.environ.get("ROUNDS", "10"))
FIRST = b"first byte of the job"


def main() -> int:
    """Print the table."""
    with (
        tempfile.TemporaryDirectory(prefix="airlock-bench-") as base,
        lab() as machine,
        fleet(machine, Path(base) / "fleet") as made,
    ):
        endpoint(made)
        made.policy(f"  - name: all\n    allow: {{role: '{ROLE}'}}\n")
        stub = _stub(made)
        _once(_airlock(made, stub))  # builds the bridge, learns the ruleset, warms the caches
        plain: list[float] = []
        airlock: list[float] = []
        for _ in range(ROUNDS):
            plain.append(_once(_docker_run(made, stub)))
            airlock.append(_once(_airlock(made, stub)))
        _print(plain, airlock, _timings(made), _interpreter())
        _policies(corpus.write(Path(base) / "policies"))
    return 0


def _policies(folder: Path) -> None:
    """Print what each policy command takes for a large organisation."""
    read = (
        "import pathlib, sys, yaml\n"
        "for path in pathlib.Path(sys.argv[1]).iterdir():\n"
        "    yaml.load(path.read_text(), yaml.CSafeLoader)\n"
    )
    commands = {
        "reading the YAML": [sys.executable, "-c", read, str(folder)],
        **{
            verb: [*AIRLOCK, "policy", *verb.split(), str(folder), *more]
            for verb, more in {
                "lint": [],
                "test": [],
                f"diff {folder}": [],
                "report": ["--output", str(folder.with_name("map.html"))],
            }.items()
        },
    }
    took = {name.split(" /")[0]: _median(command) for name, command in commands.items()}
    base = took["reading the YAML"]
    print(f"\nPolicy commands, {corpus.PIPELINES} pipelines in {corpus.ACCOUNTS} accounts\n")
    for name, seconds in took.items():
        print(f"  {name:24s} {seconds * 1000:7.0f} ms   {seconds / base:.2f}")


def _median(command: Sequence[str]) -> float:
    runs = []
    for _ in range(5):
        began = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        runs.append(time.monotonic() - began)
    return statistics.median(runs)


def _stub(made: Fleet) -> Path:
    """An agent that prints its first byte at once: the agent's own start-up is not measured."""
    stub = made.base / "buildkite-agent"
    stub.write_text(f"#!/bin/sh\necho '{FIRST.decode()}'\n")
    stub.chmod(0o755)
    text = made.config.read_text()
    made.config.write_text(
        re.sub("^agent-binary = .*$", f'agent-binary = "{stub}"', text, flags=re.MULTILINE)
    )
    return stub


def _airlock(made: Fleet, _stub: Path) -> list[str]:
    env = made.env("true")
    file = made.base / f"job-env-json-{env['BUILDKITE_JOB_ID']}1"
    file.write_text(json.dumps(env))
    variables = {
        "PATH": "/usr/bin:/bin",
        "BUILDKITE_ENV_JSON_FILE": str(file),
        "BUILDKITE_AGENT_ACCESS_TOKEN": "bkaj_token",
        "BUILDKITE_BUILD_PATH": str(made.base / "builds"),
        "BUILDKITE_PLUGINS_PATH": str(made.base / "plugins"),
    }
    arguments = [f"{name}={value}" for name, value in variables.items()]
    return ["env", "-i", *arguments, *AIRLOCK, "bootstrap", "--config", str(made.config)]


def _docker_run(made: Fleet, stub: Path) -> list[str]:
    directory = made.base / "plain"
    (directory / "builds").mkdir(parents=True, exist_ok=True)
    (directory / "entry").write_text(
        "exec 2>&1\n. /airlock/env\nexec /opt/airlock/bin/buildkite-agent bootstrap\n"
    )
    (directory / "env").write_text("".join(f"export V{i}='value'\n" for i in range(60)))
    return [
        "docker", "-H", made.lab.docker, "run", "--rm", "--init", "--network", "airlock",
        "--user", FIRST_USER, "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true",
        "--read-only", "--tmpfs", "/tmp:rw,exec", "--tmpfs", "/home/airlock:rw,exec",
        "--tmpfs", "/run/buildkite:rw,exec", "--cgroupns", "private", "--ipc", "private",
        "--memory", "2g", "--pids-limit", "4096", "--log-driver", "none",
        "-v", f"{directory}:/airlock:ro", "-v", f"{directory}/builds:/builds",
        "-v", f"{stub}:/opt/airlock/bin/buildkite-agent:ro", "--workdir", "/builds",
        "--entrypoint", "/bin/sh", made.lab.image, "/airlock/entry",
    ]  # fmt: skip


def _once(command: Sequence[str]) -> float:
    """Return the seconds from exec to the line that the stub prints."""
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        printed = b""
        for line in process.stdout:
            printed += line
            if line.startswith(FIRST):
                took = time.monotonic() - began
                process.stdout.read()
                return took
    raise RuntimeError(printed.decode(errors="replace"))


def _interpreter() -> dict[str, float]:
    """Return what Python and the imports cost before our first line runs."""
    snippets = {
        "interpreter": "pass",
        "imports before policy": "import bootstrap.commands.bootstrap",
        "docker": "import docker",
        "boto3": "import boto3",
    }
    costs = {}
    for name, code in snippets.items():
        costs[name] = _median([sys.executable, "-c", code])
    bare = costs["interpreter"]
    return {k: v if k == "interpreter" else v - bare for k, v in costs.items()}


def _timings(made: Fleet) -> dict[str, float]:
    events = [json.loads(line) for line in made.records.read_text().splitlines()]
    jobs = [event["timings"] for event in events if event["event"] == "sandbox"][1:]
    return {step: statistics.median(job[step] for job in jobs) for step in jobs[0]}


def _print(
    plain: list[float], airlock: list[float], timings: dict[str, float], imports: dict[str, float]
) -> None:
    a, b = statistics.median(plain), statistics.median(airlock)
    print(f"\nTime to the job's first byte, median of {ROUNDS} rounds in turn\n")
    print(f"  docker run, same flags   {a * 1000:7.0f} ms   1.00")
    print(f"  airlock bootstrap        {b * 1000:7.0f} ms   {b / a:.2f}\n")
    print("  of which                                of `docker run`")
    for step, took in {**imports, **timings}.items():
        print(f"    {step:24s} {took * 1000:7.0f} ms   {took / a:.2f}")
    print("\n  Imports of docker and boto3 are part of the steps that need them first.")


if __name__ == "__main__":
    raise SystemExit(main())
