"""The job's ssh agent: it lists and signs, for trusted hosts, and is no way out of the sandbox.

Its process: test_ssh_agent_confinement.py.
"""

import os
import re
import signal
from pathlib import Path

import pytest

from tests.attacks.ssh_agent import (
    FAILURE,
    SIGNED,
    SUCCESS,
    WAIT,
    Servers,
    answers,
    job,
    log_of,
    real_agent,
    waiting,
)
from tests.lab import world
from tests.lab.engine import eventually
from tests.lab.lab import Fleet
from tests.lab.leftovers import leftovers
from tests.lab.sshd import PORT

pytestmark = pytest.mark.lab

CHANGES = (
    "add-smartcard-key", "add-smartcard-key-constrained", "add-identity", "add-id-constrained",
    "lock", "unlock", "remove-all-identities",
)  # fmt: skip


def test_agent_filter_passes_lists_and_signatures_only(fleet: Fleet, servers: Servers) -> None:
    """A plain agent of the same job performs all of the refused requests."""
    log = log_of(
        fleet,
        servers,
        'attack change "$SSH_AUTH_SOCK"\nattack malformed "$SSH_AUTH_SOCK"\nhonest\n'
        "echo the key still works\n"
        "ssh-agent -D -a /tmp/plain >/dev/null &\nuntil test -S /tmp/plain; do :; done\n"
        "echo a plain agent:\nattack change /tmp/plain\nkill $!\n",
    )
    filtered, _, plain = log.partition("\na plain agent:")
    got = answers(filtered)
    assert {got[name] for name in (*CHANGES, "query", "unknown")} == {str(FAILURE)}
    assert {got[f"cut short {number}"] for number in range(4)} == {str(FAILURE)}
    assert {got[f"length {length}"] for length in (0, 262145, 4294967295)} == {str(FAILURE)}
    assert got["left halfway"] == "b''"
    assert got["helpers"] == "0"
    assert re.search(r"change done as [1-9]\d{3,}", filtered), "not as root"
    assert "the key still works" in filtered
    unprotected = answers(plain)
    for name in ("add-identity", "add-id-constrained", "lock", "unlock", "remove-all-identities"):
        assert unprotected[name] == str(SUCCESS), name
    assert int(unprotected["helpers"]) >= 1


def test_agent_filter_refusals_are_logged_once_and_recorded(fleet: Fleet, servers: Servers) -> None:
    command = 'for i in 1 2 3; do attack change "$SSH_AUTH_SOCK"; done\n'
    with job(fleet, servers, command) as (running, _):
        assert fleet.control.finished(running, 120)[0] == "0", running.log.decode()
    assert running.log.count(b"the ssh agent refused requests") == 1
    assert b"add-smartcard-key (3)" in running.log
    event = fleet.event(running.id, "ssh_agent")
    assert event["refused"]["add-smartcard-key"] == 3
    assert event["signed"] >= 2


def test_agent_filter_flood_leaves_honest_client_working(fleet: Fleet, servers: Servers) -> None:
    """Hundreds of silent connections, one that sends slowly and one that reads no answer."""
    log = log_of(
        fleet,
        servers,
        'attack flood "$SSH_AUTH_SOCK" >/tmp/flood &\n'
        "until grep -q flooded /tmp/flood; do kill -0 $!; done\n"
        "for i in 1 2 3 4 5; do honest && echo honest $i; done\n"
        "kill -0 $! && echo the flood goes on\nkill -9 $!\n",
    )
    assert "honest 5" in log
    assert "the flood goes on" in log


ELSEWHERE = f"""
ssh -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes \
  -p {PORT + 1} root@{world.WORLD} echo I am inside || echo not let in
ssh-add -L >/tmp/deploy.pub
echo text | ssh-keygen -q -Y sign -n file -f /tmp/deploy.pub >/tmp/signature || true
test -s /tmp/signature && echo text is signed || echo text is not signed
attack misuse "$SSH_AUTH_SOCK" "KNOWN"
honest
"""


def test_ssh_key_signs_for_trusted_hosts_alone(fleet: Fleet, servers: Servers) -> None:
    log = log_of(fleet, servers, ELSEWHERE.replace("KNOWN", servers.pinned.known_host))
    assert "\nnot let in" in log
    assert "\nI am inside" not in log
    assert "\ntext is not signed" in log
    got = answers(log)
    assert got["unbound"] == got["forged bind"] == got["after it"] == str(FAILURE)
    assert "signature(s): the rule's keys sign only for" in log


def test_ssh_key_without_destinations_signs_for_every_host(fleet: Fleet, servers: Servers) -> None:
    settings = fleet.config.read_text()
    fleet.config.write_text(settings.replace("[sandbox]", '[sandbox]\nssh-destinations = "any"'))
    log = log_of(fleet, servers, ELSEWHERE.replace("KNOWN", servers.pinned.known_host))
    assert "\nI am inside" in log
    assert "\ntext is signed" in log
    assert answers(log)["unbound"] == str(SIGNED)
    assert "ssh keys work towards every host" in log


def test_ssh_agent_ends_when_wrapper_is_killed(fleet: Fleet, servers: Servers) -> None:
    with job(fleet, servers, WAIT) as (running, agent):
        wrapper = waiting(fleet, running, agent)
        pid = real_agent(wrapper)
        os.kill(wrapper, signal.SIGKILL)
        eventually(lambda: not Path(f"/proc/{pid}").exists(), "the agent ends", 5)
        assert fleet.control.finished(running)[1] == "SIGKILL"
        eventually(lambda: leftovers(fleet) == [], "everything is removed", 6)


def test_ssh_key_is_available_to_hooks_of_cancelled_job(fleet: Fleet, servers: Servers) -> None:
    """The agent signals the wrapper's process group, of which the ssh agent is no member."""
    with job(fleet, servers, WAIT) as (running, agent):
        waiting(fleet, running, agent)
        fleet.control.cancel(running)
        fleet.control.finished(running)
    assert b"the hook sees a key" in running.log, running.log.decode()
