"""From a replayed job nothing leads to a metadata service, or to the developer's machine.

Each attack also runs where the protection was removed, and has to succeed there.
"""

import socket
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.fakes.metadata import ACCESS_KEY_ID
from tests.lab import world
from tests.lab.lab import Lab
from tests.replay.conftest import Replays
from tests.replay.unprotected import without

pytestmark = pytest.mark.lab

STEAL = (
    "token=$(curl -sf -m 3 -X PUT {base}/latest/api/token) && "
    'curl -sf -m 3 -H "X-aws-ec2-metadata-token: $token" '
    "{base}/latest/meta-data/iam/security-credentials/fleet-instance-role"
)
SPELLINGS = (
    "http://169.254.169.254",
    "http://2852039166",
    "http://0xa9fea9fe",
    "http://[::ffff:169.254.169.254]",
    "--resolve instance-data:80:169.254.169.254 http://instance-data",
)
# Past the routes, as a neighbour of the bridge.
NEIGHBOUR = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
s.sendto(b"x", socket.MSG_DONTROUTE, ("169.254.169.254", 80))
print("sent")
"""
# Without the ruleset, and without the proof that would show it.
NO_RULESET = """
from bootstrap.replay import rules
batch = rules.batch
rules.batch = lambda **of: batch(**{**of, "refused": ()})
"""
NO_PROOF = "from bootstrap.replay import proof; proof.prove = lambda *_, **__: ()\n"
# A container without the seccomp profile, and without the check that the kernel is asked for.
NO_SECCOMP = """
from bootstrap.sandbox import confinement
confinement.profile = lambda: "unconfined"
"""
NO_CHECK = "from bootstrap.replay import sandbox; sandbox.confinement.check = lambda *_: ()\n"
# A container that is in another network than the one that was proven.
OTHER_NETWORK = """
from bootstrap.sandbox import engine
joined_body = engine.joined_body
def elsewhere(*of):
    body = joined_body(*of)
    return {**body, "HostConfig": {**body["HostConfig"], "NetworkMode": "bridge"}}
engine.joined_body = elsewhere
"""
NOT_LOOKED_AT = "from bootstrap.replay import sandbox; sandbox._require_joined = lambda *_: None\n"


def attack(*scripts: str) -> str:
    """Return a command that tries them all, and prints what is stolen."""
    return "; ".join(f"({script}) || echo refused" for script in scripts)


def test_metadata_service_is_unreachable_in_any_spelling(replays: Replays) -> None:
    world.assert_contained()
    before = len(replays.fleet.lab.metadata.calls)
    done = replays.run(attack(*(STEAL.format(base=base) for base in SPELLINGS)))
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.count(b"\nrefused") == len(SPELLINGS), done.stdout.decode()
    assert ACCESS_KEY_ID.encode() not in done.stdout
    assert len(replays.fleet.lab.metadata.calls) == before


def broken(replays: Replays, *removals: str) -> subprocess.CompletedProcess[bytes]:
    job = replays.record(attack(STEAL.format(base=SPELLINGS[0])))
    return without(replays, "".join(removals), replays.arguments(job))


def test_metadata_service_is_reached_where_ruleset_and_proof_are_removed(
    replays: Replays,
) -> None:
    world.assert_contained()
    done = broken(replays, NO_RULESET, NO_PROOF)
    assert ACCESS_KEY_ID.encode() in done.stdout, done.stderr.decode()


def test_job_does_not_start_where_the_ruleset_does_not_refuse(replays: Replays) -> None:
    world.assert_contained()
    done = broken(replays, NO_RULESET)
    assert done.returncode == 125
    assert b"the job's network is not isolated: " in done.stderr
    assert b"tcp://169.254.169.254:80: reached" in done.stderr
    assert done.stdout == b""
    assert replays.remains() == []


def test_job_does_not_start_in_a_network_that_was_not_proven(replays: Replays) -> None:
    """In a checkout of the developer's: what it does first needs no network."""
    job, mine = replays.record("echo ran"), replays.working_copy("mine")
    arguments = replays.arguments(job, "--checkout", str(mine))
    done = without(replays, OTHER_NETWORK, arguments)
    assert done.returncode == 125
    assert b"is not in the network that was made for it" in done.stderr
    assert done.stdout == b""
    assert replays.remains() == []
    assert b"\nran" in without(replays, OTHER_NETWORK + NOT_LOOKED_AT, arguments).stdout


def test_job_does_not_start_where_the_kernel_does_not_confine_it(replays: Replays) -> None:
    job = replays.record("unshare --user --net true && echo escaped")
    done = without(replays, NO_SECCOMP, replays.arguments(job))
    assert done.returncode == 125
    assert b"seccomp" in done.stderr
    assert done.stdout == b""
    assert replays.remains() == []
    unconfined = without(replays, NO_SECCOMP + NO_CHECK, replays.arguments(job))
    assert b"\nescaped" in unconfined.stdout, unconfined.stdout.decode()
    assert b"\nescaped" not in replays.again(job).stdout


def test_nothing_is_sent_past_the_routes(replays: Replays) -> None:
    world.assert_contained()
    done = replays.run(f"python3 -c '{NEIGHBOUR}'")
    assert b"Operation not permitted" in done.stdout, done.stdout.decode()
    assert b"\nsent" not in done.stdout


def test_machine_of_the_developer_is_unreachable(replays: Replays) -> None:
    """By each of its addresses; a container without the ruleset reaches it."""
    with closing(socket.create_server(("0.0.0.0", 0))) as listener:
        port = listener.getsockname()[1]
        probes = [f"nc -z -w 2 {address} {port} && echo reached" for address in _own()]
        assert len(probes) >= 2
        done = replays.run(
            attack(*probes, f"nc -z -w 2 $(ip route | head -1 | cut -d' ' -f3) {port}")
        )
        unprotected = _unprotected(replays.fleet.lab, attack(*probes))
    assert b"\nreached" not in done.stdout, done.stdout.decode()
    assert done.stdout.count(b"\nrefused") == len(probes) + 1
    assert unprotected.count("reached") == len(probes)


def test_job_cannot_change_its_network(replays: Replays) -> None:
    scripts = (
        "ip link set lo down", "ip route add 169.254.0.0/16 dev eth0", "ip addr flush dev lo",
        "unshare --net true", "unshare --user --net true", "ping -c 1 -W 1 169.254.169.254",
    )  # fmt: skip
    done = replays.run(attack(*scripts))
    assert done.stdout.count(b"\nrefused") == len(scripts), done.stdout.decode()


def test_no_capability_is_left_in_the_network(replays: Replays) -> None:
    """The holder is still there while the job runs, and cannot change anything any more."""
    with replays.running("sleep 60") as running:
        holder = replays.inspected("{{.State.Pid}}", "-network")
        status = Path(f"/proc/{holder}/status").read_text().splitlines()
        found = dict(line.split(":\t") for line in status if ":\t" in line)
        # Without new privileges, what is left in CapBnd can never be had.
        assert [found[name] for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")] == ["0" * 16] * 4
        assert found["NoNewPrivs"] == "1"
        running.terminate()


def _own() -> list[str]:
    listed = subprocess.run(["ip", "-4", "-o", "addr"], capture_output=True, text=True, check=True)
    found = [line.split()[3].partition("/")[0] for line in listed.stdout.splitlines()]
    # The ruleset of a host refuses the address of its credential endpoint to every container.
    return [address for address in found if not address.startswith(("127.", "169.254."))]


def _unprotected(lab: Lab, script: str) -> str:
    command = ["docker", "-H", lab.docker, "run", "--rm", "--entrypoint", "/bin/sh", lab.image]
    done = subprocess.run([*command, "-c", script], capture_output=True, text=True, check=False)
    return done.stdout
