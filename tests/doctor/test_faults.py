"""Faults are planted one at a time: each is found, named, and given the right fix."""

from collections.abc import Iterator

import pytest

from bootstrap.doctor.checks import NAMES
from bootstrap.doctor.model import Status
from tests.doctor import faults_agent, faults_host, faults_network, test_checks, test_units
from tests.doctor.faults import Fault
from tests.doctor.hosts import Host, good_host
from tests.lab.engine import eventually
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab
FAULTS = (
    *faults_network.NETWORK,
    *faults_network.AWS,
    *faults_host.CONFIGURATION,
    *faults_host.ENGINE,
    *faults_host.STORAGE,
    *faults_host.IMAGE,
    *faults_agent.AGENT,
)


@pytest.fixture(scope="module")
def host(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with good_host(lab, tmp_path_factory.mktemp("doctor") / "host") as made:
        yield made


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_fault_is_found_named_and_given_its_fix(host: Host, fault: Fault) -> None:
    with fault.plant(host):
        found = host.findings()
    host.repaired()  # what a fault of the ruleset leaves
    finding = found[fault.check]
    assert finding.status is fault.status, finding
    assert fault.seen in finding.seen
    assert fault.fix in finding.fix
    assert len(finding.why) > 20
    wrong = {name for name, one in found.items() if one.status in {Status.WARN, Status.FAIL}}
    before = {"settings", "runc-cves"}
    assert wrong - before <= {fault.check, *fault.also}


def test_after_all_faults_the_host_is_good_again(host: Host) -> None:
    """Else a fault that is left would be found for the next one."""
    eventually(lambda: not host.wrong(), "the host is as it was", 60)
    assert host.wrong() == {}


def test_every_check_has_a_fault() -> None:
    """Here, among the values of test_checks.py, or under systemd; one check is never wrong."""
    planted = [fault.check for fault in (*FAULTS, *test_units.FAULTS)]
    values = [check for _, _, check, *_ in test_checks.FAULTS]
    assert set(planted) | set(values) == set(NAMES) - {"userns-remap"}
    assert len(FAULTS) >= 60
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
