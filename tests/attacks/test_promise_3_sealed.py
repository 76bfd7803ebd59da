"""Promise 3: from inside, nothing leads to the metadata endpoint, the host or another job.

Every attack also runs in a container on an ordinary bridge, where it has to succeed.
"""

import socket
import subprocess
from pathlib import Path

import pytest

from bootstrap.host.config import Sandbox
from bootstrap.sandbox.network.firewall import refusals
from tests.attacks.attacker import Attacker, Unprotected, attacker, run
from tests.fakes.metadata import ACCESS_KEY_ID
from tests.lab import world
from tests.lab.engine import eventually
from tests.lab.lab import DELETE_ROUTING, DELETE_RULESET, Fleet, Lab

pytestmark = pytest.mark.lab

STEAL = """
token=$(curl -sf -m 3 -X PUT {base}/latest/api/token) &&
curl -sf -m 3 -H "X-aws-ec2-metadata-token: $token" \
  {base}/latest/meta-data/iam/security-credentials/fleet-instance-role
"""

SPELLINGS = {
    "dotted": "http://169.254.169.254",
    "decimal": "http://2852039166",
    "hexadecimal": "http://0xa9fea9fe",
    "octal": "http://0251.0376.0251.0376",
    "short": "http://169.254.43518",
    "v4-mapped-v6": "http://[::ffff:169.254.169.254]",
    "with-port": "http://169.254.169.254:80",
    "name": "--resolve instance-data:80:169.254.169.254 http://instance-data",
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_metadata_service_in_any_spelling_is_unreachable(
    sandbox: Attacker, unprotected: Unprotected, spelling: str
) -> None:
    script = STEAL.format(base=spelling)
    assert ACCESS_KEY_ID in unprotected.tries(script).stdout
    before = len(sandbox.fleet.lab.metadata.calls)
    stolen = sandbox.tries(script)
    assert stolen.returncode != 0
    assert ACCESS_KEY_ID not in stolen.stdout
    assert len(sandbox.fleet.lab.metadata.calls) == before


def test_metadata_service_by_proxy_variables_is_unreachable(
    sandbox: Attacker, unprotected: Unprotected
) -> None:
    """A proxy of the job's own would be in the sandbox too, behind the same ruleset."""
    script = "http_proxy=http://169.254.169.254:80 curl -s -m 3 -o /dev/null -w '%{http_code}' http://any/"
    assert unprotected.tries(script).stdout in {"401", "404"}
    assert sandbox.tries(script).stdout == "000"


def test_metadata_service_by_redirect_is_unreachable(
    sandbox: Attacker, unprotected: Unprotected
) -> None:
    """A server redirects the client to the metadata address."""
    redirector = """
    import http.server, threading
    class R(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(302); self.send_header("Location", "http://169.254.169.254/")
            self.end_headers()
        def log_message(self, *a): pass
    s = http.server.HTTPServer(("127.0.0.1", 8099), R)
    threading.Thread(target=s.serve_forever, daemon=True).start()
    import subprocess
    print(subprocess.run(["curl", "-sL", "-m", "3", "-o", "/dev/null", "-w", "%{http_code}",
                          "http://127.0.0.1:8099/"], capture_output=True, text=True).stdout)
    """
    lines = "\n".join(line[4:] for line in redirector.splitlines())
    script = f"python3 - <<'PY'\n{lines}\nPY\n"
    assert unprotected.tries(script).stdout.strip() == "401"
    assert sandbox.tries(script).stdout.strip() in {"000", "302"}


@pytest.mark.parametrize("port", [22, 53, 80, 443, 8080, 65535])
def test_metadata_packets_on_any_port_are_refused_and_counted(sandbox: Attacker, port: int) -> None:
    before = _counted(sandbox)
    sandbox.tries(f"exec 3<>/dev/tcp/169.254.169.254/{port}")
    sandbox.tries(f"echo x > /dev/udp/169.254.169.254/{port}")
    assert _counted(sandbox) >= before + 2


def test_metadata_service_by_ipv6_is_unreachable(sandbox: Attacker) -> None:
    script = "curl -s -m 3 -o /dev/null -w '%{http_code}' 'http://[fd00:ec2::254]/'"
    assert sandbox.tries(script).stdout == "000"
    before = len(sandbox.fleet.lab.metadata_v6.calls)
    world.assert_contained()
    from_host = ("curl", "-s", "-m", "3", "-o", "/dev/null", "-w", "%{http_code}")
    assert run(*from_host, "http://[fd00:ec2::254]/") == "401"
    assert len(sandbox.fleet.lab.metadata_v6.calls) == before + 1


def test_host_services_are_unreachable(sandbox: Attacker, unprotected: Unprotected) -> None:
    """A service on every address of the host, as a node exporter or a debug port would be."""
    server = subprocess.Popen(
        ["python3", "-m", "http.server", "18099", "--bind", "0.0.0.0", "--directory", "/var/empty"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: _open_port(18099), "the host's service listens")
        gateways = {"airlock0": "198.18.240.1", "world": world.HOST, "docker0": "172.17.0.1"}
        for address in gateways.values():
            script = f"curl -s -m 3 -o /dev/null -w '%{{http_code}}' http://{address}:18099/"
            assert sandbox.tries(script).stdout == "000", address
        world_side = f"curl -s -m 3 -o /dev/null -w '%{{http_code}}' http://{world.HOST}:18099/"
        assert unprotected.tries(world_side).stdout in {"200", "404"}
    finally:
        server.terminate()
        server.wait(10)


def test_container_has_no_docker_socket_device_or_capability(sandbox: Attacker) -> None:
    found = sandbox.tries("find / -xdev -name '*.sock' 2>/dev/null; ls /dev; mount")
    assert "urandom" in found.stdout
    assert " on / type " in found.stdout
    assert "docker.sock" not in found.stdout
    assert "kmsg" not in found.stdout
    status = Path(f"/proc/{sandbox.pid}/status").read_text()
    for kind in ("CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert f"{kind}:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert int(sandbox.uid) in Sandbox(image="any").uids
    assert "Uid:" + f"\t{sandbox.uid}" * 4 in status


def test_sandbox_of_another_job_is_unreachable(shared: Fleet, sandbox: Attacker) -> None:
    """At every layer: IP through the bridge, ARP beside it, IP through the host."""
    with attacker(shared) as neighbour:
        listening = subprocess.Popen(
            ["nsenter", "--target", str(neighbour.pid), "--net",
             "python3", "-m", "http.server", "8088", "--directory", "/var/empty"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            reach = (
                f"curl -s -m 2 -o /dev/null -w '%{{http_code}}' http://{neighbour.address}:8088/"
            )
            own = "curl -s -m 2 -o /dev/null -w '%{http_code}' http://127.0.0.1:8088/"
            eventually(
                lambda: neighbour.tries(own).stdout in {"200", "404"}, "the neighbour listens"
            )
            assert sandbox.tries(reach).stdout == "000"
            assert f"{neighbour.address} dev eth0 lladdr" not in sandbox.tries("ip neigh").stdout
        finally:
            listening.terminate()
            listening.wait(10)


def test_metadata_service_is_unreachable_with_either_layer_removed(lab: Lab, shared: Fleet) -> None:
    """Without nftables the routing policy still refuses; without both, the credentials are stolen.

    The container is started by hand here: Airlock would stop a job of its own at once.
    """
    steal = STEAL.format(base="http://169.254.169.254")
    docker = ["docker", "-H", lab.docker]
    with attacker(shared):
        bare = run(
            *docker, "run", "-d", "--rm", "--network", "airlock", "--cap-drop", "ALL",
            lab.image, "sleep", "60",
        ).strip()  # fmt: skip
    victim = Unprotected(docker=docker, container=bare)
    try:
        assert ACCESS_KEY_ID not in victim.tries(steal).stdout
        run(*DELETE_RULESET)
        assert ACCESS_KEY_ID not in victim.tries(steal).stdout
        for rule in DELETE_ROUTING:
            run(*rule)
        assert ACCESS_KEY_ID in victim.tries(steal).stdout
    finally:
        run(*docker, "rm", "-f", bare)


@pytest.mark.parametrize(
    "sabotage",
    [
        DELETE_RULESET,
        ("nft", "flush", "ruleset"),
        ("nft", "flush", "chain", "inet", "airlock", "from_container"),
    ],
    ids=["delete-table", "flush-ruleset", "flush-chain"],
)
def test_running_job_is_stopped_when_ruleset_changes(
    fleet: Fleet, sabotage: tuple[str, ...]
) -> None:
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env("echo running; sleep 60"))
        fleet.control.wait(job, lambda j: b"\nrunning" in j.log)
        saved = run("nft", "list", "ruleset")
        try:
            run(*sabotage)
            result = fleet.control.finished(job, 20)
            assert result == ("-1", "", "process_run_error"), job.log.decode()
        finally:
            _restore(saved, sabotage)
    assert b"was changed or removed while the job ran" in job.log


def test_job_behind_bypassed_ruleset_does_not_start(fleet: Fleet) -> None:
    """A foreign rule that applies before ours: the proof fails and nothing runs."""
    with fleet.agent():
        first = fleet.control.enqueue(fleet.env("true"))
        assert fleet.control.finished(first) == ("0", "", "")
        run(
            "nft",
            "add table ip intruder; "
            "add chain ip intruder c1 { type filter hook prerouting priority -400; }; "
            "add rule ip intruder c1 ip daddr 169.254.169.254 ip daddr set 10.77.0.2",
        )
        try:
            job = fleet.control.enqueue(fleet.env("echo I ran"))
            assert fleet.control.finished(job) == ("-1", "", "process_run_error"), job.log.decode()
        finally:
            run("nft", "delete", "table", "ip", "intruder")
    assert b"the container is not isolated" in job.log
    assert b"\nI ran" not in job.log


def _restore(saved: str, sabotage: tuple[str, ...]) -> None:
    """Restore Docker's own rules after a flush of the whole ruleset."""
    if "ruleset" in sabotage:
        subprocess.run(["nft", "-f", "-"], input="flush ruleset\n" + saved, text=True, check=True)


def _counted(sandbox: Attacker) -> int:
    return refusals(sandbox.address)


def _open_port(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
