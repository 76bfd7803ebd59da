"""Promise 3, below IP and beside it: addresses, frames, groups and abstract sockets of others.

Every attack also runs in a container that has what is missing here: a capability, the neighbour's
network namespace, or a bridge that does not keep its ports apart.
"""

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.attacks.attacker import UNPROTECTED, Attacker, Unprotected, attacker, run
from tests.lab.lab import FIRST_USER, GATEWAY, SUBNET, Fleet

pytestmark = pytest.mark.lab

Tries = Callable[[str], "subprocess.CompletedProcess[str]"]

PYTHON = """python3 - <<'PY'
import errno, fcntl, socket, struct, sys
try:
{lines}
except OSError as refused: print(errno.errorcode.get(refused.errno, "?"))
else: print("done")
PY
"""
# SIOCSIFADDR, SIOCSIFHWADDR, SIOCSARP, SIOCADDRT and a netlink message change what `ip` changes.
LINES = {
    "AF_PACKET": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))",
    "AF_PACKET datagram": "socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))",
    "raw IP": "socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)",
    "raw ICMP": "socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)",
    "own address": "fcntl.ioctl(s, 0x8916, interface + inet)",
    "own hardware address": "fcntl.ioctl(s, 0x8924, interface + ether)",
    "ARP entry": "fcntl.ioctl(s, 0x8955, inet + ether + struct.pack('=i16x', 6) + interface)",
    "promiscuous mode": "fcntl.ioctl(s, 0x8914, interface + struct.pack('=H22x', 0x143))",
    "transparent": "s.setsockopt(socket.SOL_IP, 19, 1)",  # IP_TRANSPARENT: any source address
    "mark": "s.setsockopt(socket.SOL_SOCKET, 36, 1)",  # SO_MARK: other routing rules
    "spoofed source": "s.setsockopt(socket.SOL_IP, 19 if capable else 15, 1)\n"  # IP_FREEBIND
    "s.bind(('192.0.2.77', 0)); s.sendto(b'x', (gateway, 9))",
}
PREPARE = """
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
gateway, capable = "{gateway}", {capable}
interface = b"eth0".ljust(16, b"\\0")
inet = struct.pack("=HH4s8x", 2, 0, socket.inet_aton("{address}"))
ether = struct.pack("=H6s8x", 1, b"\\2\\0\\0\\0\\0\\7")
"""


def script(name: str, *, gateway: str, address: str, capable: bool) -> str:
    prepare = PREPARE.format(gateway=gateway, address=address, capable=capable)
    lines = [*prepare.splitlines(), *LINES[name].splitlines()]
    return PYTHON.format(lines="\n".join(f"    {line}" for line in lines if line))


@contextmanager
def container(made: Fleet, *options: str) -> Iterator[Unprotected]:
    docker = ["docker", "-H", made.lab.docker]
    started = run(*docker, "run", "-d", "--rm", *options, made.lab.image, "sleep", "120").strip()
    try:
        yield Unprotected(docker=docker, container=started)
    finally:
        run(*docker, "rm", "-f", started)


@pytest.fixture(scope="module")
def capable(unprotected: Unprotected, shared: Fleet) -> Iterator[Unprotected]:
    """A container with what Docker gives by default, and NET_ADMIN."""
    with container(shared, "--network", UNPROTECTED, "--cap-add", "NET_ADMIN") as made:
        yield made


@pytest.fixture(scope="module")
def neighbour(shared: Fleet, sandbox: Attacker) -> Iterator[Attacker]:
    with attacker(shared) as made:
        yield made


def gateway_of(unprotected: Unprotected) -> str:
    what = f"{{{{.NetworkSettings.Networks.{UNPROTECTED}.Gateway}}}}"
    return run(*unprotected.docker, "inspect", "-f", what, unprotected.container).strip()


@pytest.mark.parametrize("name", LINES)
def test_frames_and_addresses_cannot_be_forged(
    sandbox: Attacker, neighbour: Attacker, capable: Unprotected, name: str
) -> None:
    theirs = gateway_of(capable)
    attack = script(name, gateway=theirs, address=f"{theirs[:-1]}77", capable=True)
    assert capable.tries(attack).stdout == "done\n"
    attack = script(name, gateway=GATEWAY, address=neighbour.address, capable=False)
    assert sandbox.tries(attack).stdout in {"EPERM\n", "EINVAL\n", "ENETUNREACH\n"}


CHANGES = {
    "a second address": f"ip addr add {SUBNET[99]}/20 dev eth0",
    "a second interface": "ip link add x type veth peer name y",
    "another default route": f"ip route replace default via {SUBNET[99]} dev eth0 onlink",
    "a neighbour's hardware address": f"ip neigh replace {GATEWAY} dev eth0 lladdr 2:0:0:0:0:7",
    "a routing rule": "ip rule add from all lookup local pref 1",
    "IPv6": "echo 0 >/proc/sys/net/ipv6/conf/all/disable_ipv6",
    "forwarding": "echo 1 >/proc/sys/net/ipv4/ip_forward",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_network_of_sandbox_cannot_be_changed(
    sandbox: Attacker, shared: Fleet, change: str
) -> None:
    with container(shared, "--network", "airlock") as theirs:
        pid = run(*theirs.docker, "inspect", "-f", "{{.State.Pid}}", theirs.container).strip()
        run("nsenter", "--target", pid, "--net", "bash", "-c", change)  # as root of the host
    show = "ip addr; ip route; ip rule; cat /proc/sys/net/ipv6/conf/all/disable_ipv6"
    before = sandbox.tries(show).stdout
    assert sandbox.tries(change).returncode != 0
    assert sandbox.tries(show).stdout == before


# Prints what arrives within four seconds, from whatever sends it.
LISTEN = """python3 - <<'PY'
import select, socket, struct, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", 5353))
group = struct.pack("4sI", socket.inet_aton("224.0.0.251"), 0)
s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
end, found = time.monotonic() + 4, b"nothing"
while time.monotonic() < end and found == b"nothing":
    if select.select([s], [], [], 0.1)[0]: found = s.recv(100)
print(found.decode())
PY
"""
SEND = """python3 - <<'PY'
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
end = time.monotonic() + 5
while time.monotonic() < end:
    try: s.sendto(b"from a neighbour", ("{target}", 5353))
    except OSError: pass
    time.sleep(0.1)
PY
"""


def received(listener: Tries, sender: Tries, target: str) -> str:
    with ThreadPoolExecutor() as pool:
        listening = pool.submit(listener, LISTEN)
        sending = pool.submit(sender, SEND.format(target=target))
        sending.result()
        return listening.result().stdout.strip()


@pytest.mark.parametrize("target", ["224.0.0.251", "255.255.255.255", "subnet"])
def test_multicast_and_broadcast_reach_no_neighbour(
    shared: Fleet, sandbox: Attacker, neighbour: Attacker, unprotected: Unprotected, target: str
) -> None:
    theirs = gateway_of(unprotected).rpartition(".")[0].rpartition(".")[0] + ".255.255"
    broadcast = str(SUBNET.broadcast_address)
    theirs, ours = (theirs, broadcast) if target == "subnet" else (target, target)
    with container(shared, "--network", UNPROTECTED) as listening:
        assert received(listening.tries, unprotected.tries, theirs) == "from a neighbour"
    assert received(neighbour.tries, sandbox.tries, ours) == "nothing"


OPEN = """python3 - <<'PY'
import socket, time
s = socket.socket(socket.AF_UNIX); s.bind("\\0airlock-attack"); s.listen()
s.settimeout(8)
try: s.accept()[0].send(b"hello")
except TimeoutError: pass
PY
"""
CONNECT = """python3 - <<'PY'
import socket, time
for _ in range(30):
    s = socket.socket(socket.AF_UNIX)
    try: s.connect("\\0airlock-attack")
    except OSError as refused: answer = refused.strerror; time.sleep(0.1)
    else: answer = s.recv(9).decode(); break
print(answer)
PY
"""


def on_host(script: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)


def answered(server: Tries, client: Tries) -> str:
    with ThreadPoolExecutor() as pool:
        serving = pool.submit(server, OPEN)
        answer = client(CONNECT).stdout.strip()
        serving.result()
    return answer


def test_abstract_socket_of_neighbour_is_unreachable(
    shared: Fleet, sandbox: Attacker, neighbour: Attacker
) -> None:
    assert answered(neighbour.tries, neighbour.tries) == "hello", "its owner reaches it"
    assert answered(neighbour.tries, sandbox.tries) == "Connection refused"
    theirs = f"container:{neighbour.container}"
    with container(shared, "--network", theirs, "--user", FIRST_USER) as inside:
        assert answered(neighbour.tries, inside.tries) == "hello"


def test_abstract_socket_of_host_is_unreachable(shared: Fleet, sandbox: Attacker) -> None:
    assert answered(on_host, sandbox.tries) == "Connection refused"
    with container(shared, "--network", "host", "--user", FIRST_USER) as inside:
        assert answered(on_host, inside.tries) == "hello"


SHARED_MEMORY = {
    "System V": (
        "ipcmk --shmem 4096 >&2; ipcs --shmems | grep -c 0x",
        "ipcs --shmems | grep -c 0x; true",
    ),
    "/dev/shm": (
        "touch /dev/shm/theirs; ls /dev/shm | grep -c theirs",
        "ls /dev/shm | grep -c theirs; true",
    ),
}


@pytest.mark.parametrize("kind", SHARED_MEMORY)
def test_shared_memory_of_neighbour_is_not_seen(
    shared: Fleet, sandbox: Attacker, neighbour: Attacker, kind: str
) -> None:
    leave, look = SHARED_MEMORY[kind]
    assert neighbour.tries(leave).stdout == "1\n"
    assert neighbour.tries(look).stdout == "1\n", "its owner sees it"
    assert sandbox.tries(look).stdout == "0\n"
    with (
        container(shared, "--ipc", "shareable") as theirs,
        container(shared, "--ipc", f"container:{theirs.container}") as inside,
    ):
        theirs.tries(leave)
        assert inside.tries(look).stdout == "1\n"
