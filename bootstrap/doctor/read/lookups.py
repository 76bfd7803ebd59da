"""Names as a container looks them up: in its network namespace, without a program of its image."""

import secrets
import socket
import time
from collections.abc import Sequence
from ipaddress import IPv4Address

from bootstrap.doctor.snapshot import Lookup
from bootstrap.policy.egress import EgressGrant
from bootstrap.sandbox.egress import messages
from bootstrap.sandbox.egress.messages import UselessError
from bootstrap.sandbox.network.namespaces import in_network_of

TIMEOUT, TRIES = 2.0, 2  # seconds for one answer, and how often to ask
MOST = 3  # resolvers, as resolv.conf(5) has it
_ANY_ADDRESS = EgressGrant(observe=True)
_MEANING = {
    "FORMERR": "it does not understand the question",
    "SERVFAIL": "it could not find out",
    "REFUSED": "it does not answer this host",
}


def lookups(pid: int, resolv_conf: str, name: str) -> tuple[Lookup, ...]:
    """Return what each resolver of a container answers; `pid` is its first process."""
    servers = list(nameservers(resolv_conf))[:MOST]
    return in_network_of(
        pid,
        lambda: tuple(
            Lookup(server=server, name=name, answer=asked(str(server), name)) for server in servers
        ),
    )


def nameservers(resolv_conf: str) -> Sequence[IPv4Address]:
    """Return the resolvers of a resolv.conf that `resolvers.resolv_conf` has made."""
    lines = (line.split() for line in resolv_conf.splitlines())
    return [IPv4Address(words[1]) for words in lines if words[:1] == ["nameserver"]]


def asked(server: str, name: str, port: int = 53) -> str:
    """Ask one resolver; return "" if it knows addresses of the name, else why not."""
    for _ in range(TRIES):
        number = secrets.randbelow(1 << 16)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
            try:
                ours.connect((server, port))
                ours.send(messages.question_for(name, number))
                if wire := _answer(ours, number):
                    return problem(wire, name, number)
            except OSError as refused:
                return refused.strerror or str(refused)
    return f"no answer within {TIMEOUT:.0f} s, {TRIES} times"


def _answer(ours: socket.socket, number: int) -> bytes:
    """Return the first message with this number, b"" if there is none in time."""
    deadline = time.monotonic() + TIMEOUT
    while (left := deadline - time.monotonic()) > 0:
        ours.settimeout(left)
        try:
            wire = ours.recv(1 << 12)
        except TimeoutError:
            break
        if wire[:2] == number.to_bytes(2):
            return wire
    return b""


def problem(wire: bytes, name: str, number: int) -> str:
    """Return why an answer to this question has no address, "" if it has one."""
    try:
        found = messages.found_in(wire, name, number, _ANY_ADDRESS)
    except UselessError as useless:
        code = str(useless)
        return f"{code}: {_MEANING[code]}" if code in _MEANING else code
    if not found.exists:
        return "NXDOMAIN: there is no such name"
    return "" if found.addresses else "it knows no address of the name"
