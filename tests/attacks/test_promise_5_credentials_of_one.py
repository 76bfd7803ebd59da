"""Promise 5: a job's credentials cannot be fetched by another, and end with the job."""

import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from bootstrap.credentials.endpoint import serving
from bootstrap.credentials.renewal import Sessions
from bootstrap.sandbox.network.firewall import listeners
from tests.attacks.attacker import Attacker, attacker, run
from tests.credentials.given import session
from tests.lab import world
from tests.lab.engine import eventually
from tests.lab.lab import ROLE, Fleet
from tests.lab.leftovers import leftovers

pytestmark = pytest.mark.lab

POLICY = (
    f"  - name: deploy\n    when: {{branch: main}}\n    allow: {{role: '{ROLE}'}}\n"
    "  - name: others\n    when: {branch: '*'}\n    allow: {}\n"
)
FETCH = "curl -s -m 3 -o /dev/null -w '%{{http_code}}' http://169.254.170.2{path}"


def path_of(sandbox: Attacker) -> str:
    found = sandbox.tries(
        "tr '\\0' '\\n' < /proc/$(pgrep -f 'sleep 300' | head -1)/environ"
        " | sed -n 's/^AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=//p'"
    )
    return found.stdout.strip()


def test_credentials_of_other_job_with_known_path_are_unreachable(fleet: Fleet) -> None:
    """The attacker knows everything: address, port and path."""
    fleet.policy(POLICY)
    with attacker(fleet) as victim, attacker(fleet, BUILDKITE_BRANCH="feature") as thief:
        path = path_of(victim)
        assert victim.tries(FETCH.format(path=path)).stdout == "200"
        assert thief.tries(FETCH.format(path=path)).stdout == "000"
        port = listener_port(victim)
        direct = f"curl -s -m 3 -o /dev/null -w '%{{http_code}}' http://169.254.170.2:{port}{path}"
        assert thief.tries(direct).stdout == "000"
        assert victim.tries(direct).stdout == "000"
        # With the firewall's part of the protection removed: it leads the thief to the victim's
        # listener, which still rejects every peer but its own.
        element = f"{{ {thief.address} : 169.254.170.2 . {port} }}"
        run("nft", "add", "element", "inet", "airlock", "credentials", element)
        assert thief.tries(FETCH.format(path=path)).stdout == "000"
        run("nft", "delete", "element", "inet", "airlock", "credentials", element)


def test_credentials_without_peer_check_and_firewall_are_served(fleet: Fleet) -> None:
    """A listener whose peer is the thief, and a firewall that leads there."""
    fleet.policy(POLICY)
    served = Sessions(session())
    with (
        attacker(fleet, BUILDKITE_BRANCH="feature") as thief,
        serving("169.254.170.2", served, peer=thief.address) as endpoint,
    ):
        fetch = FETCH.format(path=endpoint.path)
        assert thief.tries(fetch).stdout == "000", "the firewall alone suffices"
        element = f"{{ {thief.address} : 169.254.170.2 . {endpoint.port} }}"
        run("nft", "add", "element", "inet", "airlock", "credentials", element)
        try:
            assert thief.tries(fetch).stdout == "200"
        finally:
            run("nft", "delete", "element", "inet", "airlock", "credentials", element)


def test_two_jobs_of_one_role_have_separate_paths_and_sessions(fleet: Fleet) -> None:
    fleet.policy(POLICY)
    with attacker(fleet) as one, attacker(fleet) as other:
        mine, theirs = path_of(one), path_of(other)
        assert mine != theirs
        assert one.tries(FETCH.format(path=mine)).stdout == "200"
        assert other.tries(FETCH.format(path=theirs)).stdout == "200"
        assert other.tries(FETCH.format(path=mine)).stdout == "404"
        assert one.tries(FETCH.format(path="/v1/../" + mine)).stdout == "404"
    assert len({asked.session_name for asked in fleet.sts.asked}) == 2


def test_credentials_after_job_end_are_not_served(fleet: Fleet) -> None:
    fleet.policy(POLICY)
    with attacker(fleet) as sandbox:
        path, port = path_of(sandbox), listener_port(sandbox)
        assert sandbox.tries(FETCH.format(path=path)).stdout == "200"
    assert leftovers(fleet) == []
    after = subprocess.run(
        ["curl", "-s", "-m", "3", f"http://169.254.170.2:{port}{path}"],
        capture_output=True,
        check=False,
    )
    assert after.returncode == 7, "a listener is left"


def test_credentials_requested_from_host_are_not_served(fleet: Fleet) -> None:
    fleet.policy(POLICY)
    with attacker(fleet) as sandbox:
        url = f"http://169.254.170.2:{listener_port(sandbox)}{path_of(sandbox)}"
        tried = subprocess.run(["curl", "-s", "-m", "3", url], capture_output=True, check=False)
        assert tried.stdout == b""


def listener_port(sandbox: Attacker) -> int:
    return listeners()[sandbox.address]


# Opens as many connections as it gets, sends half a request on each, and holds them.
EXHAUST = """python3 - <<'PY'
import resource, socket, time
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
held, end = [], time.monotonic() + {seconds}
while time.monotonic() < end and len(held) < 1500:
    try:
        s = socket.socket(); s.settimeout(0.5); s.connect(("169.254.170.2", {port}))
        s.send(b"GET /v1/"); held.append(s)
    except OSError: time.sleep(0.05)
time.sleep(max(0, end - time.monotonic()))
print(len(held))
PY
"""
TIMED = "curl -s -m 8 -o /dev/null -w '%{{http_code}} %{{time_total}}' http://169.254.170.2{path}"


def timed(sandbox: Attacker, path: str) -> float:
    """Return the seconds that the credentials took to arrive."""
    status, seconds = sandbox.tries(TIMED.format(path=path)).stdout.split()
    assert status == "200"
    return float(seconds)


def test_connection_exhaustion_of_listener_delays_no_other_job(fleet: Fleet) -> None:
    """Each job has a listener of its own; the attacker's own answers again when it stops."""
    fleet.policy(POLICY)
    with attacker(fleet) as flooding, attacker(fleet) as victim, ThreadPoolExecutor() as pool:
        theirs, mine = path_of(victim), path_of(flooding)
        attack = pool.submit(flooding.tries, EXHAUST.format(seconds=8, port=80), 30)
        eventually(lambda: connections(flooding) > 100, "the listener has its most connections")
        took = [timed(victim, theirs) for _ in range(5)]
        assert max(took) < 3.0
        assert listener_port(victim) != listener_port(flooding)
        assert int(attack.result().stdout) > 128, "more than the listener serves at once"
        assert timed(flooding, mine) < 6.0


def connections(sandbox: Attacker) -> int:
    """Return how many connections the job's listener has at this moment."""
    port = f"169.254.170.2:{listener_port(sandbox)}"
    return len(run("ss", "-Htn", "state", "established", "src", port).splitlines())


def test_connection_exhaustion_of_plain_server_starves_other_clients(fleet: Fleet) -> None:
    """A server that all jobs would share, and that waits for whoever came first."""
    with attacker(fleet) as flooding, plain_server() as port, ThreadPoolExecutor() as pool:
        script = EXHAUST.replace("169.254.170.2", world.WORLD).format(seconds=6, port=port)
        attack = pool.submit(flooding.tries, script, 30)
        ask = f"curl -s -m 1 -o /dev/null -w '%{{http_code}}' http://{world.WORLD}:{port}/"
        eventually(lambda: flooding.tries(ask).stdout == "000", "no worker is left")
        attack.result()


@contextmanager
def plain_server() -> Iterator[int]:
    """An HTTP server in the world with four workers, each busy for as long as a client likes."""
    listener = world.listen(world.WORLD, 0)
    closing = threading.Event()

    def serve() -> None:
        while not closing.is_set():
            try:
                client, _ = listener.accept()
                with client:
                    client.settimeout(10)
                    while (head := client.recv(4096)) and b"\r\n\r\n" not in head:
                        pass
                    client.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
            except OSError:  # the client is gone, or the listener is closed
                continue

    workers = [threading.Thread(target=serve) for _ in range(4)]
    for worker in workers:
        worker.start()
    yield int(listener.getsockname()[1])
    closing.set()
    listener.shutdown(socket.SHUT_RDWR)
    for worker in workers:
        worker.join(15)
    listener.close()
