"""images/ami/host.nft: who reaches the metadata service of an instance, in network namespaces."""

import os
import subprocess

import pytest

from tests.test_docs import ROOT

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and nft need root")
# All processes end with the first one.
ALONE = ("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
RULESET = ROOT / "images/ami/host.nft"
# The namespace has no way out: the addresses are on links that end in namespaces below it.
WORLD = """
ip link set lo up
unshare --net sleep 60 & imds=$!
unshare --net sleep 60 & container=$!
own=$(readlink /proc/self/ns/net)
for other in $imds $container; do until [ "$(readlink /proc/$other/ns/net)" != "$own" ]; do :; done
done
ip link add imds0 type veth peer name eth0 netns $imds
ip link add docker0 type veth peer name eth0 netns $container
ip addr add 10.9.0.1/24 dev imds0; ip -6 addr add fd09::1/64 dev imds0 nodad
ip addr add 172.17.0.1/16 dev docker0
ip link set imds0 up; ip link set docker0 up
ip route add 169.254.0.0/16 dev imds0; ip -6 route add fd00:ec2::/32 dev imds0
echo 1 >/proc/sys/net/ipv4/ip_forward
in_imds() { nsenter --target $imds --net "$@"; }
in_container() { nsenter --target $container --net "$@"; }
in_imds ip link set eth0 up; in_imds ip link set lo up
in_imds ip addr add 10.9.0.2/24 dev eth0
for address in 169.254.169.254/32 169.254.169.253/32 10.9.0.3/32; do
  in_imds ip addr add $address dev eth0; done
in_imds ip -6 addr add fd00:ec2::254/128 dev eth0 nodad; in_imds ip -6 route add fd09::/64 dev eth0
in_imds ip route add default via 10.9.0.1
in_container ip addr add 172.17.0.2/16 dev eth0; in_container ip link set eth0 up
in_container ip route add default via 172.17.0.1
server='
import socket
listening = socket.create_server(("::", 80), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
while True:
    listening.accept()[0].close()
'
coproc SERVER { in_imds python3 -c "$server"; }
read -r _ <&${SERVER[0]}
asked() { python3 -c '
import socket, sys
try:
    socket.create_connection((sys.argv[1], 80), timeout=2).close()
    print("answered", end=" ")
except OSError as failed:
    print(type(failed).__name__, end=" ")
' "$1"; }
export -f asked
"""


def outcomes(script: str, *, loaded: bool = True) -> list[str]:
    load = f"nft -f {RULESET}\n" if loaded else ""
    done = subprocess.run(
        [*ALONE, "bash", "-ec", WORLD + load + script],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


USER = 'setpriv --reuid 2000 --clear-groups bash -c "asked {0}"\n'
CONTAINER = 'in_container bash -c "asked {0}"\n'


@pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254"])
def test_root_reaches_the_metadata_service_and_no_other_user_does(address: str) -> None:
    script = f"asked {address}\n{USER.format(address)}"
    assert outcomes(script) == ["answered", "ConnectionRefusedError"]
    assert outcomes(script, loaded=False) == ["answered", "answered"]


def test_containers_of_every_bridge_are_refused() -> None:
    script = CONTAINER.format("169.254.169.254") + CONTAINER.format("10.9.0.3")
    assert outcomes(script) == ["ConnectionRefusedError", "answered"]
    assert outcomes(script, loaded=False) == ["answered", "answered"]


def test_resolver_of_the_vpc_stays_open_to_users() -> None:
    assert outcomes(USER.format("169.254.169.253")) == ["answered"]
