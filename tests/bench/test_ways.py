"""The comparison is fair: `docker run` and Airlock ask the engine for the same container."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.bench.jobs import started, wait_for_first_byte
from tests.bench.ways import Start, ways
from tests.lab.lab import Fleet

# What has to differ: names, directories, and that Airlock removes the container itself.
OWN = {"Binds", "Mounts", "AutoRemove", "ContainerIDFile", "Isolation"}
NOTHING: tuple[Any, ...] = (None, [], {}, "", 0, False)


def _host_config(made: Fleet, start: Start, label: str) -> dict[str, Any]:
    """Return what the engine was asked for, while the job runs."""
    docker = ["docker", "-H", made.lab.docker]
    with started(start) as process:
        log = wait_for_first_byte(process)
        listed = [*docker, "ps", "--quiet", "--filter", f"label={label}"]
        container = subprocess.run(listed, capture_output=True, text=True, check=True).stdout
        described = subprocess.run(
            [*docker, "inspect", container.strip()], capture_output=True, text=True, check=True
        ).stdout
        for builds in made.base.glob("**/builds"):
            (builds / "go").touch()
        log.read()
    for go in made.base.glob("**/builds/go"):
        Path(go).unlink()
    # Each slot of Airlock has its own uid.
    shown = re.sub(r"\b([ug]id)=\d+", r"\1=ID", described)
    found: dict[str, Any] = json.loads(shown)[0]["HostConfig"]
    found["Ulimits"].sort(key=lambda limit: limit["Name"])
    return {key: value for key, value in found.items() if key not in OWN and value not in NOTHING}


@pytest.mark.lab
def test_docker_run_gets_the_flags_of_a_job(fleet: Fleet) -> None:
    prepared, command = ways(fleet), "until test -e go; do sleep 0.1; done"
    ours = _host_config(fleet, prepared.alone(command, 1), "airlock.job")
    bare = _host_config(fleet, prepared.bare(command, 1), "airlock.bench")
    assert ours == bare
