"""Promise 3 for a job that has adopted a prepared network: the same attacks, and its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks import test_promise_3_names as names
from tests.attacks import test_promise_3_neighbours as neighbours
from tests.attacks import test_promise_3_sealed as sealed
from tests.attacks.attacker import Attacker, attacker
from tests.attacks.in_prepared_networks import Served, holder_of, served
from tests.lab import prepared
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab

capable = neighbours.capable
test_metadata_in_any_spelling = sealed.test_metadata_service_in_any_spelling_is_unreachable
test_metadata_packets = sealed.test_metadata_packets_on_any_port_are_refused_and_counted
test_metadata_by_ipv6 = sealed.test_metadata_service_by_ipv6_is_unreachable
test_host_services = sealed.test_host_services_are_unreachable
test_no_device_or_capability = sealed.test_container_has_no_docker_socket_device_or_capability
test_sandbox_of_another_job = sealed.test_sandbox_of_another_job_is_unreachable
test_forged_frames = neighbours.test_frames_and_addresses_cannot_be_forged
test_network_cannot_be_changed = neighbours.test_network_of_sandbox_cannot_be_changed
test_multicast = neighbours.test_multicast_and_broadcast_reach_no_neighbour
test_abstract_sockets = neighbours.test_abstract_socket_of_neighbour_is_unreachable
test_files_and_names = names.test_files_and_names_in_container_show_its_own_job_only


@pytest.fixture(scope="module")
def shared(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(lab, tmp_path_factory.mktemp("prepared") / "fleet") as made:
        yield made


@pytest.fixture(scope="module")
def sandbox(shared: Served) -> Iterator[Attacker]:
    with attacker(shared) as made:
        assert prepared.network_mode(shared, made.job).startswith("container:")
        yield made


@pytest.fixture(scope="module")
def neighbour(shared: Served, sandbox: Attacker) -> Iterator[Attacker]:
    with attacker(shared) as made:
        assert prepared.network_mode(shared, made.job).startswith("container:")
        yield made


def test_job_sees_no_process_socket_or_file_of_its_holder(sandbox: Attacker) -> None:
    pid = prepared.fact(holder_of(sandbox))["pid"]
    assert Path(f"/proc/{pid}/ns/net").stat() == Path(f"/proc/{sandbox.pid}/ns/net").stat()
    for kind in ("pid", "mnt", "ipc", "uts", "cgroup"):
        ours, theirs = (Path(f"/proc/{one}/ns/{kind}") for one in (pid, sandbox.pid))
        assert ours.readlink() != theirs.readlink(), kind
    assert "never" not in sandbox.tries("cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout
    assert "@" not in sandbox.tries("cat /proc/net/unix").stdout


def test_holder_is_confined_and_has_nothing_of_a_job(sandbox: Attacker) -> None:
    pid = prepared.fact(holder_of(sandbox))["pid"]
    status = Path(f"/proc/{pid}/status").read_text()
    for line in ("CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1",
                 "Seccomp:\t2"):  # fmt: skip
        assert line in status
    assert f"Uid:\t{sandbox.uid}" not in status
    environment = Path(f"/proc/{pid}/environ").read_text()
    assert "BUILDKITE" not in environment
    mounts = Path(f"/proc/{pid}/mountinfo").read_text()
    assert not any(word in mounts for word in ("/airlock ", "jobs/", "/builds"))


def test_resolver_of_engine_does_not_answer(sandbox: Attacker, neighbour: Attacker) -> None:
    """It would name every holder of the bridge, with the neighbour's address."""
    name = f"airlock-network-{holder_of(neighbour).name.removeprefix('network-')}"
    asked = sandbox.tries(f"getent -s dns hosts {name}; dig +short +time=1 @127.0.0.11 {name}")
    assert neighbour.address not in asked.stdout
