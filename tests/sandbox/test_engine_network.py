"""Which routes of a host claim addresses of the containers' subnet."""

from ipaddress import IPv4Network
from typing import Any

import pytest

from bootstrap.errors import WrongConfiguration
from bootstrap.host.config import Sandbox
from bootstrap.sandbox.engine_network import require_free

SUBNET = IPv4Network("198.18.240.0/20")


@pytest.mark.parametrize(
    ("route", "named"),
    [
        ({"dst": "198.18.0.0/15", "dev": "eth1"}, "198.18.0.0/15"),
        ({"dst": "198.18.255.0/24", "dev": "br-1", "flags": ["linkdown"]}, "198.18.255.0/24"),
        ({"type": "local", "dst": "198.18.241.7", "dev": "eth1", "table": "local"}, "that address"),
        ({"dst": "198.18.240.0/20", "dev": "eth1", "table": 1001}, "that route"),
        ({"dst": "198.0.0.0/8", "nexthops": [{"gateway": "10.0.0.1", "dev": "eth1"}]}, "eth1"),
    ],
)
def test_a_route_into_the_subnet_is_refused_by_name(route: dict[str, Any], named: str) -> None:
    with pytest.raises(WrongConfiguration, match=r"sandbox\.subnet 198\.18\.240\.0/20") as refused:
        require_free(SUBNET, [{"dst": "10.0.0.0/8", "dev": "eth0"}, route])
    assert named in refused.value.problem
    assert "sandbox.subnet in airlock.toml" in refused.value.hint


@pytest.mark.parametrize(
    "route",
    [
        {"dst": "default", "gateway": "10.0.0.1", "dev": "eth0"},
        {"dst": "128.0.0.0/1", "dev": "tun0"},  # the default route in halves, as VPNs have it
        {"type": "unreachable", "dst": "198.18.0.0/15"},  # as for other networks of no use
        {"dst": "198.18.240.0/20", "dev": "airlock0"},
        {"type": "local", "dst": "198.18.240.1", "dev": "airlock0"},
        {"dst": "198.18.224.0/20", "dev": "eth1"},
    ],
)
def test_another_route_is_accepted(route: dict[str, Any]) -> None:
    require_free(SUBNET, [route])
    with pytest.raises(WrongConfiguration, match="on the device eth1"):
        require_free(SUBNET, [route, {"dst": str(SUBNET), "dev": "eth1"}])


# In AWS's and Docker's documentation.
@pytest.mark.parametrize(
    "used",
    [
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",  # VPCs, the default one; Docker's pools
        "100.64.0.0/10",  # carriers, EKS; Alibaba's metadata service
        "198.19.0.0/16",  # management interfaces of AWS services, closed to VPCs
        "169.254.0.0/16", "192.0.0.0/24", "168.63.129.16/32",  # metadata services
    ],
)  # fmt: skip
def test_the_default_subnet_is_used_by_nobody_else(used: str) -> None:
    assert not Sandbox(image="any").subnet.overlaps(IPv4Network(used))
