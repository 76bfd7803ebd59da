"""Hosts outside that a job could send to: they keep what arrives, and one answers names.

All of them are addresses in the lab's own world, to which this host has a route of its own.
"""

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from tests.fakes.zone import FakeDns, serving, sockets
from tests.lab import world
from tests.lab.lab import GATEWAY

# What a rule lists by name, and what it does not: the attacker's own host, its resolver, a database
# in the VPC, and a well-known public resolver.
ALLOWED, EVIL, EVIL_RESOLVER, DATABASE = "203.0.113.10", "203.0.113.66", "203.0.113.53", "10.99.0.5"
PUBLIC_RESOLVER = "9.9.9.9"
LISTED = "198.51.100.9"  # in a network that the rule lists
ADDRESSES = (ALLOWED, EVIL, EVIL_RESOLVER, DATABASE, PUBLIC_RESOLVER, LISTED)

PORTS = (53, 80, 443, 853)
HTML = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
REDIRECT = (
    b"HTTP/1.1 302 Found\r\nLocation: http://%s/stolen?secret\r\nContent-Length: 0\r\n"
    b"Connection: close\r\n\r\n"
)
ZONE = {
    "git.allowed.example.": [f"60 A {ALLOWED}"],
    "evil.example.": [f"60 A {EVIL}"],
    "rebound.allowed.example.": [f"60 A {DATABASE}"],
    "metadata.allowed.example.": ["60 A 169.254.169.254"],
    "resolver.allowed.example.": [f"60 A {PUBLIC_RESOLVER}"],
    "both.allowed.example.": [f"60 A {ALLOWED}", f"60 A {DATABASE}"],
    # Another one's record beside the answer is left out of it by the resolver itself.
    "*": [f"60 A {EVIL}", '60 TXT "command"', "60 AAAA fd77::2"],
}


@dataclass(kw_only=True)
class Outside:
    """What arrived: where, and its bytes. `names` is the resolver that this host asks."""

    names: FakeDns
    received: list[tuple[str, int, bytes]] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def has(self, content: str, address: str | None = None) -> bool:
        """Say whether these bytes have arrived anywhere, or at this address."""
        return any(
            content.encode() in found and address in (None, where)
            for where, _, found in list(self.received)
        )

    def was_asked(self, part: str) -> bool:
        """Say whether a name with this in it has reached a resolver of anyone."""
        return any(part.encode() in wire.lower() for wire in list(self.names.wires))

    def keep(self, ours: socket.socket) -> None:
        address, port = ours.getsockname()
        ours.settimeout(0.1)
        while not self.closing.is_set():
            with suppress(OSError):
                self.received.append((address, port, ours.recvfrom(4096)[0]))

    def serve(self, ours: socket.socket) -> None:
        address, port = ours.getsockname()
        ours.settimeout(0.1)
        while not self.closing.is_set():
            with suppress(OSError), ours.accept()[0] as client:
                client.settimeout(1)
                self.received.append((address, port, b"connected"))
                while found := client.recv(4096):
                    self.received.append((address, port, found))
                    if found.startswith(b"GET /redirect"):
                        client.sendall(REDIRECT % EVIL.encode())
                    elif found.startswith(b"GET"):
                        client.sendall(HTML)


def _opened() -> tuple[list[socket.socket], list[socket.socket]]:
    datagrams, listeners = [], []
    for address in ADDRESSES:
        for port in PORTS:
            ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            ours.bind((address, port))
            datagrams.append(ours)
            listeners.append(socket.create_server((address, port)))
    return datagrams, listeners


@contextmanager
def outside() -> Iterator[Outside]:
    """Build these hosts inside the world until this closes."""
    for address in ADDRESSES:
        world.ip("-n", world.NAMESPACE, "addr", "add", f"{address}/32", "dev", "world0")
        world.ip("route", "add", f"{address}/32", "via", world.WORLD, "dev", world.LINK)
    try:
        with ExitStack() as held:
            resolver = world.inside_world(lambda: sockets(world.WORLD))
            made = Outside(names=held.enter_context(serving(ZONE, *resolver)))
            datagrams, listeners = world.inside_world(_opened)
            threads = [threading.Thread(target=made.keep, args=(one,)) for one in datagrams]
            threads += [threading.Thread(target=made.serve, args=(one,)) for one in listeners]
            for thread in threads:
                thread.start()
            yield made
            made.closing.set()
            for thread in threads:
                thread.join()
            for ours in (*datagrams, *listeners):
                ours.close()
    finally:
        for address in ADDRESSES:
            world.ip("route", "del", f"{address}/32", check=False)
            device = ("dev", "world0")
            world.ip("-n", world.NAMESPACE, "addr", "del", f"{address}/32", *device, check=False)


DNAT = f"""
table ip elsewhere {{
  chain led {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname "airlock0" ip daddr {GATEWAY} tcp dport 30080 dnat to {EVIL}:80
  }}
}}
"""


@contextmanager
def led_elsewhere() -> Iterator[None]:
    """Lead a port of this host to another one, as a load balancer's node port is."""
    subprocess.run(["nft", "-f", "-"], input=DNAT, text=True, check=True)
    try:
        yield
    finally:
        subprocess.run(["nft", "delete", "table", "ip", "elsewhere"], check=True)
