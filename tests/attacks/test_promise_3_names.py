"""Promise 3: no name service tells a job the names or addresses of its neighbours.

Docker's own resolver, at 127.0.0.11 in every container, knows all containers of the network by
name and by address, and a container's name has the id of its job.
"""

import socket
from collections.abc import Iterator

import pytest

from bootstrap.errors import CannotStart
from bootstrap.sandbox.model import Running
from bootstrap.sandbox.proof import prove
from tests.attacks.attacker import UNPROTECTED, Attacker, Unprotected, attacker, run
from tests.fakes.dns import Resolver
from tests.lab import world
from tests.lab.lab import GATEWAY, Fleet

pytestmark = pytest.mark.lab

NAME = "airlock-of-another-job"
WAYS = {
    "address-udp": "dig +short +tries=1 +timeout=2 @127.0.0.11 -x {address}",
    "address-tcp": "dig +short +tries=1 +timeout=2 +tcp @127.0.0.11 -x {address}",
    "address-libc": "getent hosts {address}",
    "name-udp": "dig +short +tries=1 +timeout=2 @127.0.0.11 {name}",
    "name-libc": "getent hosts {name}",
    "name-of-network": "dig +short +tries=1 +timeout=2 @127.0.0.11 {name}.{network}",
}


@pytest.fixture(scope="module")
def neighbour(shared: Fleet, sandbox: Attacker) -> Iterator[Attacker]:
    with attacker(shared) as made:
        yield made


def inspected(docker: list[str], container: str, what: str) -> str:
    return run(*docker, "inspect", "-f", f"{{{{{what}}}}}", container).strip("/\n")


def asking(way: str, docker: list[str], container: str, network: str) -> tuple[str, str, str]:
    """Return the script that asks for a container, and the container's name and address."""
    address = inspected(docker, container, f".NetworkSettings.Networks.{network}.IPAddress")
    name = inspected(docker, container, ".Name")
    return way.format(name=name, address=address, network=network), name, address


@pytest.fixture(scope="module")
def named(unprotected: Unprotected) -> Iterator[str]:
    """A neighbour of the unprotected container."""
    yield run(
        *unprotected.docker, "run", "-d", "--rm", "--name", NAME, "--network", UNPROTECTED,
        inspected(unprotected.docker, unprotected.container, ".Image"), "sleep", "120",
    ).strip()  # fmt: skip
    run(*unprotected.docker, "rm", "-f", NAME)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_resolver_of_engine_names_no_neighbour(
    sandbox: Attacker, neighbour: Attacker, unprotected: Unprotected, named: str, way: str
) -> None:
    docker = unprotected.docker
    script, name, address = asking(way, docker, named, UNPROTECTED)
    answer = unprotected.tries(script).stdout
    assert name in answer or answer.startswith(address), "Docker's resolver answers everybody"
    script, name, address = asking(way, docker, neighbour.container, "airlock")
    assert neighbour.job.id in name
    answer = sandbox.tries(script).stdout
    assert neighbour.job.id not in answer
    assert address not in answer


def test_resolver_of_engine_without_inner_ruleset_fails_proof(
    shared: Fleet, neighbour: Attacker
) -> None:
    """The same container again, with the protection removed: it learns its neighbour's job."""
    with attacker(shared) as sandbox:
        running = Running(
            id=sandbox.container, name="", pid=sandbox.pid, address=sandbox.address,
            gateway=GATEWAY,
        )  # fmt: skip
        asked = [probe for probe in prove(running, None) if "127.0.0.11" in probe.target]
        assert [probe.outcome for probe in asked] == ["ECONNREFUSED", "EPERM"]
        script = WAYS["address-udp"].format(address=neighbour.address)
        assert neighbour.job.id not in sandbox.tries(script).stdout
        run("nsenter", "--target", str(sandbox.pid), "--net", "nft", "delete table inet airlock")
        assert neighbour.job.id in sandbox.tries(script).stdout
        with pytest.raises(CannotStart, match=r"not isolated: .*tcp://127\.0\.0\.11:53: reached"):
            prove(running, None)


def test_files_and_names_in_container_show_its_own_job_only(
    sandbox: Attacker, neighbour: Attacker
) -> None:
    found = sandbox.tries(
        "cat /etc/hosts /etc/resolv.conf /etc/hostname /proc/self/mountinfo /proc/self/cgroup"
        " /proc/net/arp; hostname --all-fqdns; hostname -f; domainname; env"
    ).stdout
    assert f"{sandbox.address}\tairlock\n" in found
    assert sandbox.job.id in found, "its own id is no secret"
    assert neighbour.job.id not in found
    assert neighbour.container not in found
    assert neighbour.address not in found


def test_honest_job_resolves_names_by_the_hosts_resolver(sandbox: Attacker) -> None:
    def bound() -> socket.socket:
        ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        ours.bind((world.WORLD, 53))
        return ours

    with Resolver(world.inside_world(bound), {"registry.example.com": "10.77.0.2"}) as resolver:
        found = sandbox.tries("getent ahostsv4 registry.example.com; getent hosts absent.example")
        assert found.stdout.splitlines()[0].split() == [
            "10.77.0.2",
            "STREAM",
            "registry.example.com",
        ]
        assert "absent" not in found.stdout
    assert "registry.example.com" in resolver.asked
