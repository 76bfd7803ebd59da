"""The log: every byte, in order, whatever the frames are cut into."""

import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootstrap.sandbox.supervision.pump import Pump


def frame(payload: bytes, stream: int = 1) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload


def never() -> socket.socket:
    raise AssertionError("the container has ended: attaching again must not be tried")


def copied(pieces: list[bytes], again: Callable[[], socket.socket] = never) -> bytes:
    """Return what a pump makes of these pieces of an engine's stream."""
    engine, stream = socket.socketpair()
    reader, writer = os.pipe()
    pump = Pump(stream, writer, again)
    received = bytearray()
    collecting = threading.Thread(target=_collect, args=(reader, received))
    collecting.start()
    pump.start()
    with engine:
        for piece in pieces:
            engine.sendall(piece)
        pump._stopping.set()  # noqa: SLF001 - as `finish` does, before the stream's end
    assert pump.finish(10)
    os.close(writer)
    collecting.join()
    os.close(reader)
    pump.close()
    return bytes(received)


def _collect(reader: int, into: bytearray) -> None:
    while chunk := os.read(reader, 1 << 16):
        into += chunk


@settings(max_examples=60, deadline=None)
@given(
    payloads=st.lists(st.binary(max_size=300), max_size=10),
    cuts=st.lists(st.integers(0, 3000), max_size=6),
)
def test_stream_cut_anywhere_is_copied_unchanged(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(frame(payload) for payload in payloads)
    places = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(places)]
    assert copied(pieces) == b"".join(payloads)


def test_large_frame_with_every_byte_value_is_copied_unchanged() -> None:
    payload = bytes(range(256)) * 20_000
    assert copied([frame(payload)]) == payload


def test_more_small_frames_than_one_write_takes_are_copied_unchanged() -> None:
    lines = [f"{number}\n".encode() for number in range(5000)]
    assert copied([b"".join(map(frame, lines))]) == b"".join(lines)


def test_an_empty_frame_is_no_end() -> None:
    assert copied([frame(b"a") + frame(b"") + frame(b"b")]) == b"ab"


def test_stdout_and_stderr_are_copied_in_order() -> None:
    assert copied([frame(b"a", 1), frame(b"b", 2), frame(b"c", 1)]) == b"abc"


@pytest.fixture
def unread() -> Iterator[tuple[socket.socket, Pump]]:
    """A pump whose output is no longer read."""
    engine, stream = socket.socketpair()
    reader, writer = os.pipe()
    pump = Pump(stream, writer, never)
    os.close(reader)
    pump.start()
    yield engine, pump
    engine.close()
    pump.close()
    os.close(writer)


def test_reader_that_is_gone_makes_broken_readable(unread: tuple[socket.socket, Pump]) -> None:
    engine, pump = unread
    engine.sendall(frame(b"hello"))
    assert pump.finish(10)
    assert os.read(pump.broken, 1) == b"!"


@pytest.fixture
def silent() -> Iterator[Callable[[int], Pump]]:
    """Pumps that have nothing to copy."""
    with ExitStack() as held:

        def made(out: int) -> Pump:
            engine, stream = (held.enter_context(one) for one in socket.socketpair())
            pump = Pump(stream, out, never)
            held.callback(pump.close)
            held.callback(pump.finish, 10)
            held.callback(pump.start)  # whose thread ends, because its stream has
            held.callback(engine.close)
            return pump

        yield made


def readable(watch: select.epoll) -> bool:
    return bool(select.select([watch], [], [], 0)[0])


@pytest.mark.parametrize("pair", [os.pipe, os.openpty])
def test_reader_that_is_gone_is_a_hangup_although_nothing_is_written(
    silent: Callable[[int], Pump], pair: Callable[[], tuple[int, int]]
) -> None:
    reader, writer = pair()
    with silent(writer).hangup() as hangup:
        assert not readable(hangup)
        if pair is os.openpty:
            os.write(reader, b"typed\n")  # that is input
            assert not readable(hangup)
        os.close(reader)
        assert readable(hangup)
    os.close(writer)


def test_file_is_never_hung_up(silent: Callable[[int], Pump], tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log, silent(log.fileno()).hangup() as hangup:
        assert not readable(hangup)


def test_broken_connection_is_attached_again_and_reported() -> None:
    """The first connection breaks in the middle of the job; the second goes on."""
    first, stream = socket.socketpair()
    second, attached_again = socket.socketpair()
    reader, writer = os.pipe()
    pump = Pump(stream, writer, lambda: attached_again)
    pump.start()
    first.sendall(frame(b"before "))
    first.close()
    second.sendall(frame(b"after"))
    assert os.read(reader, 7) == b"before "
    assert os.read(reader, 5) == b"after"
    assert pump.problems == ["the connection to Docker broke: a part of the log may be missing"]
    pump._stopping.set()  # noqa: SLF001
    second.close()
    assert pump.finish(10)
    pump.close()
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize(("pieces", "times"), [([], 0), ([frame(b"")], 0), ([frame(b"a")] * 3, 1)])
def test_first_output_is_noticed_once(pieces: list[bytes], times: int) -> None:
    noticed: list[None] = []
    engine, stream = socket.socketpair()
    reader, writer = os.pipe()
    pump = Pump(stream, writer, never, lambda: noticed.append(None))
    pump.start()
    with engine:
        for piece in pieces:
            engine.sendall(piece)
        pump._stopping.set()  # noqa: SLF001 - as in `copied`
    assert pump.finish(10)
    pump.close()
    os.close(reader)
    os.close(writer)
    assert len(noticed) == times
