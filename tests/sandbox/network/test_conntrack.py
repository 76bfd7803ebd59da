"""Deleting tracked connections, in the kernel's own table.

Each test has a network namespace of its own, which needs root.
"""

import ctypes
import errno
import os
import platform
import socket
from collections.abc import Callable
from contextlib import ExitStack
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from bootstrap.errors import CannotStart
from bootstrap.sandbox.network import conntrack, netlink
from tests.sandbox.network.namespace import T, in_a_new_namespace, run

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")

TRACK = """
table inet track { chain output { type filter hook output priority 0; ct state new accept; }
}
"""


def tracking(work: Callable[[], T]) -> T:
    """Run `work` in a network namespace that tracks connections."""

    def prepared() -> T:
        run("nft -f -", TRACK)
        return work()

    return in_a_new_namespace(prepared)


def flows(source: str, destination: str, number: int) -> None:
    """Make the kernel track `number` flows: 64 sockets at most, to different ports."""
    with ExitStack() as held:
        senders = [held.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(64)]
        for sender in senders:
            sender.bind((source, 0))
        for one in range(number):
            senders[one % 64].sendto(b"x", (destination, 1024 + one // 64))


def tracked() -> int:
    return int(Path("/proc/thread-self/net/stat/nf_conntrack").read_text().splitlines()[1][:8], 16)


Deletion = Callable[[socket.socket, bytes], None]
BOTH = pytest.mark.parametrize("delete", [conntrack.delete_at_once, conntrack.delete_listed])


def forget(address: str, delete: Deletion) -> None:
    """Delete as `conntrack.forget` does, which takes the first if the kernel has it."""
    with netlink.connected(netlink.NETFILTER) as kernel:
        try:
            delete(kernel, IPv4Address(address).packed)
        except OSError as refused:
            if delete is conntrack.delete_at_once and refused.errno == errno.EINVAL:
                pytest.skip("this kernel does not delete by a filter")
            raise


@BOTH
@pytest.mark.parametrize("number", [0, 1, 63, 65, 5000])
def test_forget_deletes_all_flows_from_the_address_and_no_other(
    number: int, delete: Deletion
) -> None:
    def work() -> tuple[int, int]:
        flows("127.0.0.2", "127.0.0.1", number)
        flows("127.0.0.3", "127.0.0.2", 7)  # to it, not from it
        flows("127.0.0.20", "127.0.0.1", 5)
        before = tracked()
        forget("127.0.0.2", delete)
        return before, tracked()

    assert tracking(work) == (number + 12, 12)


@BOTH
def test_forget_deletes_open_tcp_connections(delete: Deletion) -> None:
    def work() -> tuple[int, int]:
        with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as held:
            for _ in range(3):
                client = socket.create_connection(
                    server.getsockname(), source_address=("127.0.0.2", 0)
                )
                held.callback(client.close)
            before = tracked()
            forget("127.0.0.2", delete)
            return before, tracked()

    assert tracking(work) == (3, 0)


@BOTH
def test_forget_with_large_table_receives_only_matching_entries(delete: Deletion) -> None:
    """Compares the bytes that the kernel sends, since it filters the table."""

    def work() -> tuple[int, int]:
        flows("127.0.0.3", "127.0.0.1", 20_000)
        flows("127.0.0.2", "127.0.0.1", 10)
        received = []

        class Counting(socket.socket):
            def recv(self, *arguments: int) -> bytes:
                received.append(super().recv(*arguments))
                return received[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(socket, "socket", Counting)
            forget("127.0.0.2", delete)
        return tracked(), sum(map(len, received))

    left, size = tracking(work)
    assert left == 20_000
    assert 0 < size < 10_000


def test_forget_takes_what_this_kernel_has() -> None:
    def work() -> int:
        flows("127.0.0.2", "127.0.0.1", 10)
        conntrack.forget("127.0.0.2")
        return tracked()

    assert tracking(work) == 0


def test_forget_without_capability_cannot_start() -> None:
    """Without CAP_NET_ADMIN, as Airlock would be if it were not root on the host."""

    def work() -> str:
        libc = ctypes.CDLL(None, use_errno=True)
        flows("127.0.0.2", "127.0.0.1", 1)
        setresuid = {"x86_64": 117, "aarch64": 147}[platform.machine()]
        if libc.syscall(setresuid, -1, 65534, -1) != 0:  # libc's function would change all threads
            raise OSError(ctypes.get_errno(), "setresuid")
        with pytest.raises(CannotStart, match="Operation not permitted") as refused:
            conntrack.forget("127.0.0.2")
        return refused.value.problem

    assert "earlier holders of 127.0.0.2 could not be deleted" in tracking(work)
