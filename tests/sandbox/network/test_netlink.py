"""Messages and attributes of netlink: what is written is read again, and nothing else is."""

import errno
import os
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.errors import CannotStart
from bootstrap.sandbox.network import netlink
from tests.sandbox.network.namespace import in_a_new_namespace, run

NAMES = st.integers(0, 0x3FFF)
VALUES = st.binary(max_size=300)


@given(st.lists(st.tuples(NAMES, VALUES)))
def test_attributes_are_read_as_they_were_written(pairs: list[tuple[int, bytes]]) -> None:
    payload = b"".join(netlink.attribute(name, value) for name, value in pairs)
    assert list(netlink.attributes(payload)) == pairs
    assert list(netlink.attributes(netlink.nested(7, payload))) == [(7, payload)]


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), VALUES)))
def test_kinds_are_read_as_they_were_written(pairs: list[tuple[int, bytes]]) -> None:
    messages = (netlink.message(kind, 0, netlink.attribute(1, body)) for kind, body in pairs)
    assert list(netlink.kinds(b"".join(messages))) == [kind for kind, _ in pairs]


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (netlink.attributes, netlink.kinds):
        try:
            found = list(read(data))
        except OSError as refused:
            assert refused.errno == errno.EBADMSG
        else:
            assert len(found) <= len(data) // 4


@given(st.lists(st.tuples(NAMES, VALUES), min_size=1), st.integers(1, 1000))
def test_truncated_attribute_is_no_attribute(pairs: list[tuple[int, bytes]], cut: int) -> None:
    payload = b"".join(netlink.attribute(name, value) for name, value in pairs)[:-cut]
    try:
        found = list(netlink.attributes(payload))
    except OSError:
        return
    assert found == pairs[: len(found)]


@pytest.fixture
def answering() -> tuple[socket.socket, socket.socket]:
    kernel, client = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    client.settimeout(0.5)
    return kernel, client


def reply(kind: int, number: int, flags: int = 0) -> bytes:
    return netlink.message(kind, flags, struct.pack("=i", number) + bytes(16))


DONE, ERROR, INTERRUPTED = 3, 2, 0x10


def test_listing_during_which_something_changed_is_repeated(
    answering: tuple[socket.socket, socket.socket],
) -> None:
    kernel, client = answering
    with kernel, client:
        kernel.send(reply(20, 1, INTERRUPTED) + reply(DONE, 0))
        kernel.send(reply(20, 1) + reply(20, 2))
        kernel.send(reply(DONE, 0))
        found = netlink.listed(client, 22, b"")
    assert [struct.unpack_from("=i", payload)[0] for _, payload in found] == [1, 2]


def test_listing_that_always_changes_is_refused(
    answering: tuple[socket.socket, socket.socket],
) -> None:
    kernel, client = answering
    with kernel, client:
        for _ in range(netlink.ROUNDS):
            kernel.send(reply(20, 1, INTERRUPTED) + reply(DONE, 0))
        with pytest.raises(InterruptedError):
            netlink.listed(client, 22, b"")


@pytest.mark.parametrize("kind", [DONE, ERROR])
def test_error_of_the_kernel_is_raised(
    answering: tuple[socket.socket, socket.socket], kind: int
) -> None:
    kernel, client = answering
    with kernel, client:
        kernel.send(reply(20, 1) + reply(kind, -errno.EPERM))
        with pytest.raises(PermissionError):
            netlink.listed(client, 22, b"")


def test_kernel_that_does_not_answer_is_not_waited_for(
    answering: tuple[socket.socket, socket.socket],
) -> None:
    kernel, client = answering
    with (
        kernel,
        client,
        pytest.raises(CannotStart, match="the kernel did not list its routes: timed out"),
        netlink.explained("list its routes"),
    ):
        netlink.listed(client, 22, b"")


@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")
def test_listing_of_many_packets_is_complete() -> None:
    def work() -> int:
        run("ip -batch -", "".join(f"route add 10.0.{n}.0/24 dev lo\n" for n in range(250)))
        with netlink.connected(netlink.ROUTE) as kernel:
            return len(netlink.listed(kernel, 26, struct.pack("=B11x", socket.AF_INET)))

    assert in_a_new_namespace(work) >= 250
