"""The ruleset in the network namespace of a replayed job, as messages for the kernel (nf_tables).

A developer's machine need not have nft, and the holder's container has nothing but the holder. As
nft lists it:

    table inet airlock {
        chain refuse {
            counter
            meta l4proto tcp reject with tcp reset
            reject with icmpx admin-prohibited
        }
        chain leaving {
            type filter hook output priority -310; policy accept;
            ip daddr 127.0.0.11 jump refuse                   # each of `always`
            oifname "lo" accept
            ip daddr 169.254.0.0/16 jump refuse               # each of `refused`
            rt ip nexthop GATEWAY accept
            jump refuse
        }
    }

What the order is for: sandbox/network/inside.nft. There the host refuses the rest of what is
refused here.
"""

import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

from bootstrap.sandbox.network import netlink
from bootstrap.sandbox.network.netlink import attribute, attributes, nested

TABLE, REFUSE, LEAVING = "airlock", "refuse", "leaving"
PRIORITY = -310

# <linux/netfilter/nfnetlink.h>, nf_tables.h
_NFTABLES = 10
_BEGIN, _END = 16, 17  # NFNL_MSG_BATCH_*
_NEW_TABLE, _NEW_CHAIN, _NEW_RULE, _GET_RULE = (_NFTABLES << 8 | kind for kind in (0, 3, 6, 7))
_INET, _IPV4 = 1, 2  # NFPROTO_*
_APPEND = 0x800  # NLM_F_APPEND
_OUTPUT = 3  # NF_INET_LOCAL_OUT
_ACCEPT, _JUMP = 1, -3  # NF_ACCEPT, NFT_JUMP
_VERDICT, _REGISTER = 0, 1  # NFT_REG_*
_OIFNAME, _NFPROTO, _L4PROTO = 7, 15, 16  # NFT_META_*
_NEXTHOP4 = 1  # NFT_RT_NEXTHOP4
_NETWORK_HEADER, _DESTINATION = 1, 16  # NFT_PAYLOAD_*, offset of an IPv4 packet's destination
_ICMPX, _RESET, _ADMIN_PROHIBITED = 2, 1, 3  # NFT_REJECT_*
_EXPRESSIONS, _ELEMENT, _NAME, _DATA = 4, 1, 1, 2  # NFTA_RULE_EXPRESSIONS, NFTA_LIST_ELEM, …
_PACKETS = 2  # NFTA_COUNTER_PACKETS


def batch(
    *, always: Iterable[IPv4Address], refused: Iterable[IPv4Network], gateway: IPv4Address
) -> tuple[bytes, int]:
    """Return the messages that create the ruleset as one transaction, and how many acknowledge."""
    messages = [
        _message(_NEW_TABLE, attribute(1, _text(TABLE))),
        _message(_NEW_CHAIN, attribute(1, _text(TABLE)) + attribute(3, _text(REFUSE))),
        _message(_NEW_CHAIN, _base_chain()),
        _rule(REFUSE, _expression("counter")),
        _rule(REFUSE, _meta(_L4PROTO), _equals(bytes([socket.IPPROTO_TCP])), _reject(_RESET, 0)),
        _rule(REFUSE, _reject(_ICMPX, _ADMIN_PROHIBITED)),
        *(_rule(LEAVING, *_to(IPv4Network(one)), _jump(REFUSE)) for one in always),
        _rule(LEAVING, _meta(_OIFNAME), _equals(b"lo\0".ljust(16, b"\0")), _verdict(_ACCEPT)),
        *(_rule(LEAVING, *_to(network), _jump(REFUSE)) for network in refused),
        _rule(LEAVING, *_ipv4(), _next_hop(), _equals(gateway.packed), _verdict(_ACCEPT)),
        _rule(LEAVING, _jump(REFUSE)),
    ]
    begin = netlink.message(_BEGIN, netlink.REQUEST, _family(socket.AF_UNSPEC, _NFTABLES))
    end = netlink.message(_END, netlink.REQUEST, _family(socket.AF_UNSPEC, _NFTABLES))
    return b"".join((begin, *messages, end)), len(messages)


def refusals(kernel: socket.socket) -> int:
    """Return how many packets the ruleset has refused. Raises OSError."""
    wanted = attribute(1, _text(TABLE)) + attribute(2, _text(REFUSE))
    found = netlink.listed(kernel, _GET_RULE, _family(_INET, 0) + wanted)
    return sum(packets(payload) for _, payload in found)


def packets(payload: bytes) -> int:
    """Return the packets that a rule's counter has counted. Raises OSError if malformed."""
    rule = dict(attributes(payload[4:]))
    total = 0
    for _, expression in attributes(rule.get(_EXPRESSIONS, b"")):
        found = dict(attributes(expression))
        if found.get(_NAME) == _text("counter"):
            counter = dict(attributes(found.get(_DATA, b"")))
            total += int.from_bytes(counter.get(_PACKETS, b""), "big")
    return total


def _message(kind: int, body: bytes, more: int = 0) -> bytes:
    flags = netlink.REQUEST | netlink.ACKNOWLEDGE | netlink.CREATE | more
    return netlink.message(kind, flags, _family(_INET, 0) + body)


def _family(family: int, resource: int) -> bytes:
    """Return struct nfgenmsg."""
    return struct.pack("=BB", family, 0) + struct.pack("!H", resource)


def _base_chain() -> bytes:
    hook = nested(4, attribute(1, _number(_OUTPUT)), attribute(2, _number(PRIORITY)))
    names = attribute(1, _text(TABLE)) + attribute(3, _text(LEAVING))
    return names + hook + attribute(5, _number(_ACCEPT)) + attribute(7, _text("filter"))


def _rule(chain: str, *expressions: bytes) -> bytes:
    names = attribute(1, _text(TABLE)) + attribute(2, _text(chain))
    return _message(_NEW_RULE, names + nested(_EXPRESSIONS, *expressions), _APPEND)


def _expression(name: str, *data: bytes) -> bytes:
    return nested(_ELEMENT, attribute(_NAME, _text(name)), nested(_DATA, *data))


def _to(network: IPv4Network) -> tuple[bytes, ...]:
    """Return what holds for an IPv4 packet to one of these addresses."""
    load = _expression(
        "payload", attribute(1, _number(_REGISTER)), attribute(2, _number(_NETWORK_HEADER)),
        attribute(3, _number(_DESTINATION)), attribute(4, _number(4)),
    )  # fmt: skip
    whole = network.prefixlen == 32
    masked = () if whole else (_masked(network.netmask),)
    return (*_ipv4(), load, *masked, _equals(network.network_address.packed))


def _masked(mask: IPv4Address) -> bytes:
    return _expression(
        "bitwise", attribute(1, _number(_REGISTER)), attribute(2, _number(_REGISTER)),
        attribute(3, _number(4)), nested(4, attribute(1, mask.packed)),
        nested(5, attribute(1, bytes(4))),
    )  # fmt: skip


def _ipv4() -> tuple[bytes, bytes]:
    return _meta(_NFPROTO), _equals(bytes([_IPV4]))


def _meta(key: int) -> bytes:
    return _expression("meta", attribute(1, _number(_REGISTER)), attribute(2, _number(key)))


def _next_hop() -> bytes:
    return _expression("rt", attribute(1, _number(_REGISTER)), attribute(2, _number(_NEXTHOP4)))


def _equals(value: bytes) -> bytes:
    return _expression(
        "cmp", attribute(1, _number(_REGISTER)), attribute(2, _number(0)),
        nested(3, attribute(1, value)),
    )  # fmt: skip


def _reject(kind: int, code: int) -> bytes:
    return _expression("reject", attribute(1, _number(kind)), attribute(2, bytes([code])))


def _jump(chain: str) -> bytes:
    return _verdict(_JUMP, attribute(2, _text(chain)))


def _verdict(code: int, chain: bytes = b"") -> bytes:
    verdict = nested(2, attribute(1, _number(code)), chain)
    return _expression("immediate", attribute(1, _number(_VERDICT)), nested(2, verdict))


def _number(value: int) -> bytes:
    return struct.pack("!i", value)


def _text(value: str) -> bytes:
    return value.encode() + b"\0"
