"""Which netlink messages may report a change of the ruleset."""

import os
import select
import socket
import struct
import subprocess
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.sandbox.network.watch import (
    changes,
    may_have_changed,
    may_lack_rule,
    wait_for_exit,
)
from tests.sandbox.network.namespace import in_a_new_namespace, run


def message(kind: int, subsystem: int = 10, payload: bytes = b"") -> bytes:
    body = payload + b"\0" * (-len(payload) % 4)
    return struct.pack("=IHHII", 16 + len(payload), subsystem << 8 | kind, 0, 0, 0) + body


@pytest.fixture
def netlink() -> Iterator[tuple[socket.socket, socket.socket]]:
    kernel, listener = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.setblocking(False)  # noqa: FBT003
    with kernel, listener:
        yield kernel, listener


@pytest.mark.parametrize(
    ("datagrams", "changed"),
    [
        ([], False),
        ([message(12), message(15)], False),
        ([message(14, payload=b"abc") + message(15)], False),
        ([message(0)], True),  # a new table
        ([message(2)], True),  # a deleted table
        ([message(12), message(8)], True),
        ([message(12, payload=b"x") + message(7)], True),
        ([message(2, subsystem=1)], False),  # conntrack's
        ([struct.pack("=IHHII", 3, 0, 0, 0, 0)], True),  # an invalid length
        ([b"short"], False),
    ],
)
def test_only_messages_about_map_elements_are_ignored(
    netlink: tuple[socket.socket, socket.socket],
    datagrams: list[bytes],
    changed: bool,  # noqa: FBT001
) -> None:
    kernel, listener = netlink
    for datagram in datagrams:
        kernel.send(datagram)
    assert may_have_changed(listener) is changed


@pytest.mark.parametrize(
    ("datagram", "removed"),
    [
        (struct.pack("=IHHII", 16, 33, 0, 0, 0), True),  # RTM_DELRULE
        (struct.pack("=IHHII", 16, 32, 0, 0, 0), False),  # RTM_NEWRULE
        (struct.pack("=IHHII", 3, 0, 0, 0, 0), True),  # an invalid length
    ],
)
def test_removed_routing_rule_is_noticed(
    netlink: tuple[socket.socket, socket.socket],
    datagram: bytes,
    removed: bool,  # noqa: FBT001
) -> None:
    kernel, listener = netlink
    kernel.send(datagram)
    assert may_lack_rule(listener) is removed


@given(st.binary(min_size=1, max_size=200))
def test_arbitrary_datagram_never_raises(datagram: bytes) -> None:
    kernel, listener = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.setblocking(False)  # noqa: FBT003
    with kernel, listener:
        kernel.send(datagram)
        assert may_have_changed(listener) in (True, False)


def test_descriptor_of_ended_process_is_readable() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        descriptor = wait_for_exit(child.pid)
        try:
            began = time.monotonic()
            assert child.stdin
            child.stdin.close()
            assert os.waitid(os.P_PIDFD, descriptor, os.WEXITED)
            assert time.monotonic() - began < 10
        finally:
            os.close(descriptor)
            child.returncode = 0


NFT = "nft -f -"
TABLE = "table inet airlock {\n\tset some {\n\t\ttype ipv4_addr\n\t}\n}\n"
ELEMENT = "element inet airlock some { 10.0.0.1 }\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")
@pytest.mark.parametrize(
    ("commands", "wakes", "changed"),
    [
        (f"add {ELEMENT}", False, False),
        (f"add {ELEMENT}" * 200, None, False),
        (f"add {ELEMENT}delete {ELEMENT}", None, False),
        ("add table ip other\n", True, True),
        ("delete table inet airlock\n", True, True),
        (f"add {ELEMENT}delete table inet airlock\n", True, True),
        (f"add {ELEMENT}add table ip other\n", True, True),
        (f"add table ip other\nadd {ELEMENT}", True, True),
        ("add set inet airlock more { type ipv4_addr; }\n", True, True),
        (f"add {ELEMENT}flush set inet airlock some\n", None, False),
        ("add chain inet airlock one\nadd rule inet airlock one drop\n", True, True),
    ],
)  # fmt: skip
def test_the_kernel_reports_what_may_be_a_change_and_leaves_out_elements(
    commands: str,
    wakes: bool | None,  # noqa: FBT001
    changed: bool,  # noqa: FBT001
) -> None:
    """`wakes` is None where the kernel may report several elements in one packet, or not."""

    def work() -> tuple[bool, bool]:
        run(NFT, TABLE)
        with changes() as listener:
            run(NFT, commands)
            poll = select.poll()
            poll.register(listener, select.POLLIN)
            return bool(poll.poll(100)), may_have_changed(listener)

    awake, found = in_a_new_namespace(work)
    assert found is changed
    assert wakes is None or awake is wakes


@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")
def test_every_change_of_any_length_of_packet_is_seen() -> None:
    """Comments make the messages of rules longer, up to what one packet holds and beyond."""

    def work() -> list[int]:
        run(NFT, "table inet airlock {\n\tchain one {\n\t}\n}\n")
        missed = []
        with changes() as listener:
            for length in range(1, 128):
                comment = "x" * length
                run(NFT, f'add rule inet airlock one drop comment "{comment}"\n' * 3)
                if not may_have_changed(listener):
                    missed.append(length)
        return missed

    assert in_a_new_namespace(work) == []
