"""Promise 5: a job's credentials cannot be fetched by another, and end with the job."""

import subprocess

import pytest

from bootstrap.credentials.endpoint import serving
from bootstrap.credentials.renewal import Sessions
from bootstrap.sandbox.firewall import listeners
from tests.attacks.attacker import Attacker, attacker, run
from tests.credentials.given import session
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
