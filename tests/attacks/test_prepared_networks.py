"""Promises 3 and 5 for jobs that have adopted prepared networks, over time and one at a time."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.sandbox.leases import first_process
from bootstrap.sandbox.network import addresses, firewall
from tests.attacks import test_promise_3_sealed as sealed
from tests.attacks import test_promise_5_credentials_of_one as credentials
from tests.attacks.attacker import attacker
from tests.attacks.in_prepared_networks import Served, holder_of, served
from tests.attacks.test_address_reuse import POLICY, UDP, outside
from tests.lab import prepared
from tests.lab.engine import eventually
from tests.lab.lab import Lab
from tests.lab.leftovers import leftovers

pytestmark = pytest.mark.lab

test_either_layer_removed = sealed.test_metadata_service_is_unreachable_with_either_layer_removed
test_ruleset_changes = sealed.test_running_job_is_stopped_when_ruleset_changes
test_bypassed_ruleset = sealed.test_job_behind_bypassed_ruleset_does_not_start
test_credentials_of_other_job = (
    credentials.test_credentials_of_other_job_with_known_path_are_unreachable
)
test_separate_sessions = credentials.test_two_jobs_of_one_role_have_separate_paths_and_sessions
test_credentials_after_end = credentials.test_credentials_after_job_end_are_not_served


@pytest.fixture
def fleet(lab: Lab, tmp_path: Path) -> Iterator[Served]:
    with served(lab, tmp_path / "fleet") as made:
        yield made


@pytest.fixture
def shared(fleet: Served) -> Served:
    return fleet


def test_address_is_in_use_until_the_holder_has_ended(fleet: Served) -> None:
    """The job's processes are dead and its worker is stopped: the address has no other job."""
    fleet.policy(POLICY)
    with attacker(fleet) as victim:
        address, job = victim.address, holder_of(victim).parent
        (worker,) = [pid for pid in fleet.service.workers() if adopts(pid, job)]
        os.kill(worker, signal.SIGSTOP)
        try:
            first_process.kill(job, 10)
            record = addresses.read(job)
            assert record is not None
            assert addresses.is_running(record)
            assert address in firewall.listeners()
            with attacker(fleet, BUILDKITE_BRANCH="feature") as next_job:
                assert next_job.address != address
        finally:
            os.kill(worker, signal.SIGCONT)
        fleet.control.wait(victim.job, lambda j: j.finish)
    eventually(lambda: address not in firewall.listeners(), "the address is released")
    assert not job.exists()


def adopts(pid: int, job: Path) -> bool:
    """Say whether this worker has the lease."""
    links = (path.readlink() for path in Path(f"/proc/{pid}/fd").glob("*") if path.is_symlink())
    return job in links


def test_datagrams_for_a_job_do_not_reach_the_next_at_its_address(fleet: Served) -> None:
    """Connections are forgotten after the holder's end, and again before the next start gate."""
    seen: list[str] = []
    with outside() as peer:
        send = UDP.format(source=5555, send=True, port=peer.port)
        listen = UDP.format(source=5555, send=False, port=0)
        with attacker(fleet) as first:
            seen.append(first.address)
            assert first.tries(send).stdout == "for the first job\n"
        for _ in range(5):
            with attacker(fleet) as successor:
                assert prepared.network_mode(fleet, successor.job).startswith("container:")
                assert successor.tries(listen).stdout == "nothing\n"
                seen.append(successor.address)
    assert len(set(seen)) < len(seen), "an address was used again"
    assert leftovers(fleet) == []


def test_namespace_of_a_job_has_no_process_after_it(fleet: Served) -> None:
    with attacker(fleet) as first:
        namespace = prepared.fact(holder_of(first))["namespace"]
        assert namespace in namespaces()
    eventually(lambda: namespace not in namespaces(), "its holder has ended too", 10)
    assert leftovers(fleet) == []


def namespaces() -> set[int]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/ns/net"):
        try:
            found.add(path.stat().st_ino)
        except OSError:  # it has ended
            continue
    return found
