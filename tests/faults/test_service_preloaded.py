"""A worker imports nothing, and reads no file of Python or Airlock: an upgrade may replace them."""

import sys
from pathlib import Path

import pytest

from tests.faults.direct import direct
from tests.faults.jobs import run_to_end
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
    "  - {{name: all, allow: {{services: {{web: {{image: '{image}', ready: 'http:8000', "
    "command: [timeout, '2', python3, -m, http.server, '8000']}}}}}}}}\n"
)


@pytest.mark.parametrize("rules", ["", SERVICES], ids=["plain", "services"])
def test_worker_imports_and_reads_nothing_of_ours(fleet: Fleet, tmp_path: Path, rules: str) -> None:
    seen = tmp_path / "seen"
    with direct(fleet) as jobs:
        if rules:
            fleet.policy(rules.format(image=fleet.lab.image))
        program = (sys.executable, "-I", str(AUDITED), str(seen))
        with serving(fleet, program=program, config=jobs.config) as service:
            log = run_to_end(jobs.start("sleep 3", program=service.launcher))
    assert ("service web ended while the job ran" in log) == bool(rules), log
    lines = seen.read_text().splitlines()
    assert len(lines) > 50, "the list of a whole job is longer: is the hook at work?"
    imported = [line for line in lines if line.startswith("import ")]
    read = [line for line in lines if line.removeprefix("open ").startswith(FILES)]
    assert not imported
    assert not read
