"""Whole jobs whose rule lists what they reach: alone and with the service."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.attacks.outside import ALLOWED, EVIL, Outside, outside
from tests.fakes.control_plane import Job, JobResult
from tests.faults.direct import direct
from tests.faults.jobs import run_to_end
from tests.lab.lab import Fleet, Lab
from tests.lab.ways import ALONE, SERVICE, Host, Way, host

pytestmark = pytest.mark.lab

LISTED = "hosts: '*.allowed.example'"
GET = """
get() { python3 - "$1" <<'PY'
import sys, urllib.request
try: print(sys.argv[1], urllib.request.urlopen(f"http://{sys.argv[1]}/", timeout=5).status)
except OSError as refused: print(sys.argv[1], refused)
PY
}
"""
WORK = f"""{GET}
get git.allowed.example
get evil.example
get {EVIL}
buildkite-agent meta-data set colour blue
exit 3
"""


@pytest.fixture(scope="module", params=[ALONE, SERVICE], ids=["alone", "service"])
def here(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Host]:
    way: Way = request.param
    with host(lab, way, tmp_path_factory.mktemp("egress")) as made, made.working():
        yield made


@pytest.fixture(scope="module")
def hosts(here: Host) -> Iterator[Outside]:
    with outside() as made:
        yield made


def done(here: Host, command: str, egress: str) -> tuple[Job, JobResult]:
    here.fleet.policy(f"  - name: tests\n    allow:\n      egress: {egress}\n")
    return here.done(command)


def test_a_job_reaches_what_is_listed_and_its_log_ends_with_the_rest(
    here: Host, hosts: Outside
) -> None:
    job, result = done(here, WORK, f"{{{LISTED}}}")
    log = job.log.decode()
    assert result.ending == ("3", "", ""), log
    assert "git.allowed.example 200" in log
    assert "evil.example <urlopen error [Errno -2] Name or service not known>" in log
    assert f"{EVIL} <urlopen error [Errno 111] Connection refused>" in log
    assert job.meta_data["colour"] == "blue"
    assert "the job reaches what egress of its rule allows, and no other host: *.allowed" in log
    (line,) = [line for line in log.splitlines() if "egress of rule 'tests'" in line]
    assert f"add hosts: [evil.example], cidrs: [{EVIL}/32]" in line
    assert log.index(line) > log.index("Connection refused"), "after all that the job printed"
    used = here.fleet.event(job.id, "egress")
    assert used["asked"] == {"git.allowed.example": 1}
    assert used["refused_names"] == {"evil.example": 2}  # of A and of AAAA
    assert used["refused_targets"] == {f"tcp {EVIL}:80": 1}
    proof = here.fleet.event(job.id, "sandbox")["proof"]
    assert proof["the job's resolver: airlock.invalid"] == "NXDOMAIN"
    assert proof["refusals counted by table inet airlock_egress"] == "4 of 4"


def test_a_job_without_egress_still_checks_out_from_the_agent_apis_host(
    here: Host, hosts: Outside
) -> None:
    """The lab's control plane and its git server have one address, which every job needs."""
    job, result = done(here, f"{GET} get git.allowed.example; ls README.md", "none")
    log = job.log.decode()
    assert result.ending == ("0", "", ""), log
    assert "git.allowed.example <urlopen error [Errno -2]" in log


def test_an_observed_job_drafts_the_list_that_lets_it_pass(here: Host, hosts: Outside) -> None:
    command = f"{GET} get git.allowed.example; get {EVIL}"
    job, result = done(here, command, "{mode: observe}")
    log = job.log.decode()
    assert result.ending == ("0", "", ""), log
    assert f"{EVIL} 200" in log
    assert here.fleet.event(job.id, "egress")["mode"] == "observe"
    assert here.fleet.event(job.id, "egress")["proposed"]["hosts"] == ["git.allowed.example"]
    drafted = {
        key: listed
        for line in log.splitlines()
        if (match := re.search(r"# +(hosts|cidrs|private): (\[.*\])", line))
        for key, listed in [match.groups()]
    }
    assert drafted["hosts"] == "[git.allowed.example]"
    assert drafted["cidrs"] == f"[{EVIL}/32]"
    lists = ", ".join(f"{key}: {listed}" for key, listed in drafted.items())
    again, result = done(here, command, f"{{{lists}}}")
    log = again.log.decode()
    assert result.ending == ("0", "", ""), log
    assert "git.allowed.example 200" in log
    assert f"{EVIL} 200" in log
    assert "egress of rule" not in log
    assert here.fleet.event(again.id, "egress")["refusals"] == 0
    assert hosts.has("GET /", ALLOWED)


@pytest.mark.parametrize(
    ("allow", "expected"),
    [("egress: none, ", "reached"), ("agent-api: {}, egress: none, ", "refused")],
    ids=["own-token", "gateway"],
)
def test_with_a_gateway_not_even_the_agent_api_is_reached(
    fleet: Fleet, allow: str, expected: str
) -> None:
    """Without one, an agent inside the job calls it."""
    url = urlsplit(fleet.control.url)
    attempt = f"(exec 3<>/dev/tcp/{url.hostname}/{url.port}) && echo reached || echo refused"
    with direct(fleet, allow) as jobs:
        program = ("env", f"BUILDKITE_AGENT_ENDPOINT={fleet.control.url}/v3",
                   *jobs.airlock("bootstrap"))  # fmt: skip
        log = run_to_end(jobs.start(f"bash -c '{attempt}'", program=program))
    assert expected in log.splitlines()
