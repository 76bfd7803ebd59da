"""Faults of the network, of AWS and of the metadata service."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.doctor.faults import FAIL, TRIAL, WARN, Fault, attribute, command, file, toml
from tests.doctor.hosts import API, Host
from tests.fakes.sts import error_reply
from tests.lab.world import HOST, LINK

_SUBNET = "198.18.240.128/25"
_OF_ECS = "-p tcp -d 169.254.170.2 --dport 80 -j DNAT --to-destination 127.0.0.1:51679"


@contextmanager
def _no_names(host: Host) -> Iterator[None]:
    del host.names[API]
    try:
        yield
    finally:
        host.names[API] = "192.0.2.1"


@contextmanager
def _ecs_port(_: Host) -> Iterator[None]:
    with socket.create_server(("127.0.0.1", 51679)):
        yield


@contextmanager
def _unknown_key(host: Host) -> Iterator[None]:
    host.fleet.sts.fail("POST *", error_reply("InvalidClientTokenId", status=403), 1 << 20)
    try:
        yield
    finally:
        host.fleet.sts.recover()


@contextmanager
def _wide_role(host: Host) -> Iterator[None]:
    with attribute(host.ssm, "_faults", []):
        yield


NETWORK = (
    Fault(
        name="a rule is added to the ruleset",
        plant=command(
            "nft insert rule inet airlock through_host accept",
            "nft delete table inet airlock",
        ),
        check="ruleset", seen="differs from airlock.nft: got accept",
        fix="airlock doctor --fix",
    ),
    Fault(
        name="the ruleset is gone",
        plant=command("nft delete table inet airlock", "true"),
        check="ruleset", seen="is not loaded", fix="airlock doctor --fix",
    ),
    Fault(
        name="a routing rule is gone",
        plant=command("ip -4 rule del pref 1690", "true"),
        check="routing-rules", seen="no routing rule refuses what comes from airlock0: IPv4",
        fix="airlock doctor --fix",
    ),
    Fault(
        name="a route leads into the subnet",
        plant=command(
            f"ip route add {_SUBNET} dev {LINK}", f"ip route del {_SUBNET} dev {LINK}"
        ),
        check="subnet", seen=f"overlaps with {_SUBNET}", fix="another sandbox.subnet",
        also=TRIAL,
    ),
    Fault(
        name="the bridge has IPv6",
        plant=command(
            "ip -6 addr add fd00:12::1/64 dev airlock0 nodad",
            "ip -6 addr del fd00:12::1/64 dev airlock0",
        ),
        check="ipv6", seen="airlock0 has the address fd00:12::1",
        fix="ip -6 addr del fd00:12::1 dev airlock0",
    ),
    Fault(
        name="packets are not forwarded",
        plant=command("echo 0 >/proc/sys/net/ipv4/ip_forward",
                      "echo 1 >/proc/sys/net/ipv4/ip_forward"),
        check="forwarding", seen="net.ipv4.ip_forward is 0",
        fix="sysctl -w net.ipv4.ip_forward=1", also=frozenset({"dns", "isolation"}),
    ),
    Fault(
        name="another device has the endpoint's address",
        plant=command("ip addr add 169.254.170.2/32 dev lo", "ip addr del 169.254.170.2/32 dev lo"),
        check="ecs-agent", seen="the device lo has the address 169.254.170.2",
        fix="systemctl disable --now ecs",
    ),
    Fault(
        name="an ECS agent listens", plant=_ecs_port,
        check="ecs-agent", seen="listens on port 51679", fix="systemctl disable --now ecs",
    ),
    Fault(
        name="an ECS agent has left its rules",
        plant=command(f"iptables -t nat -I PREROUTING {_OF_ECS}",
                      f"iptables -t nat -D PREROUTING {_OF_ECS}"),
        check="nat-rules", status=WARN,
        seen="table ip nat, chain PREROUTING: ip daddr 169.254.170.2 tcp dport 80",
        fix="iptables -t nat -D", also=frozenset({"isolation"}),
    ),
    Fault(
        name="an ECS agent has left rules of the older iptables",
        plant=command(f"iptables-legacy -t nat -I PREROUTING {_OF_ECS}",
                      f"iptables-legacy -t nat -D PREROUTING {_OF_ECS}"),
        check="nat-rules", status=WARN,
        seen="iptables, table nat, chain PREROUTING: -A PREROUTING -d 169.254.170.2/32",
        fix="iptables -t nat -D", also=frozenset({"isolation"}),
    ),
    Fault(
        name="the resolver does not know Buildkite", plant=_no_names,
        check="dns", seen="10.77.0.2: NXDOMAIN", fix="set sandbox.dns",
    ),
    Fault(
        name="the resolver is this host itself",
        plant=toml(r'dns = \["[\d.]+"\]', f'dns = ["{HOST}"]'),
        check="resolvers", seen=f"{HOST} is an address of this host",
        fix="Set sandbox.dns in airlock.toml to other resolvers", also=TRIAL,
    ),
    Fault(
        name="systemd-networkd removes rules",
        plant=file(lambda _: Path("/run/systemd/netif/state"), "OPER_STATE=routable\n"),
        check="networkd", status=WARN, seen="removes routing rules that it has not made",
        fix="ManageForeignRoutingPolicyRules=no",
    ),
    Fault(
        name="the Docker network is another one",
        plant=command(
            "docker -H unix:///run/airlock-lab/docker.sock network rm airlock && "
            "docker -H unix:///run/airlock-lab/docker.sock network create airlock",
            "docker -H unix:///run/airlock-lab/docker.sock network rm airlock",
        ),
        check="docker-network", seen="is not the one that Airlock creates",
        fix="docker network rm airlock", also=TRIAL | {"routing-rules"},
    ),
)  # fmt: skip
AWS = (
    Fault(
        name="IMDSv1 is on",
        plant=lambda host: attribute(host.fleet.lab.metadata, "open", value=True),
        check="imds-tokens", seen="without a token (IMDSv1)", fix="--http-tokens required",
    ),
    Fault(
        name="the hop limit is 2",
        plant=lambda host: attribute(host.fleet.lab.metadata, "hops", value=2),
        check="imds-hop-limit", status=WARN, seen="the hop limit is above 1",
        fix="--http-put-response-hop-limit 1",
    ),
    Fault(
        name="the clock is a minute behind",
        plant=lambda host: attribute(host.fleet.sts, "ahead", value=61.0),
        check="clock", status=WARN, seen="s behind AWS's", fix="chronyc makestep",
    ),
    Fault(
        name="the clock is ten minutes ahead",
        plant=lambda host: attribute(host.fleet.sts, "ahead", value=-600.0),
        check="clock", status=FAIL, seen="s ahead of AWS's", fix="chronyc makestep",
    ),
    Fault(
        name="STS does not know the key", plant=_unknown_key,
        check="aws-identity", seen="InvalidClientTokenId", fix="Check that it still exists",
    ),
    Fault(
        name="the credentials file does not exist",
        plant=toml('credentials = "instance-role"', 'credentials = "file:/nowhere"'),
        check="aws-identity", seen="got none from file:/nowhere", fix="the file must exist",
    ),
    Fault(
        name="the role may read every parameter", plant=_wide_role,
        check="host-role", status=WARN, seen="ssm:GetParameters on every parameter",
        fix="airlock policy iam",
    ),
)  # fmt: skip
