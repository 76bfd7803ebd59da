"""Any bytes as an answer: the launcher ends as the protocol says, and never as they please."""

import random
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.launcher.peer import Peer, ended_with, listening
from tests.launcher.test_ends import IGNORED, STOPPING

CASES = 2000
MEANINGFUL = b"BESR\x00\x01\x0f\x40\x41\x4d\xff"


def expected(answer: bytes) -> int:
    """The status by docs/launcher.md#every-end, written a second time."""
    begun = answer[:1] == b"B"
    rest = answer[1:] if begun else answer
    match rest[:1], rest[1:2]:
        case b"E", status if status:
            return status[0]
        case b"S", number if number and 1 <= number[0] <= 64:
            ends_nothing = number[0] in IGNORED | STOPPING
            return 128 + number[0] if ends_nothing else -number[0]
        case b"R", status if len(rest) >= 4 and status != b"\0" and not begun:
            return status[0]
        case _:
            return 79 if begun else 125


def random_answer(source: random.Random) -> bytes:
    """A valid answer as often as one with a few bytes changed, cut off or added."""
    head = source.choice([b"", b"B", b"B", b"BB"])
    kind = source.choice([b"E", b"S", b"R", bytes([source.randrange(256)])])
    text = bytes(source.choices(MEANINGFUL, k=source.randrange(6)))
    size = source.choice([len(text), source.randrange(65536)])
    body = bytes([source.choice([*MEANINGFUL, source.randrange(256)])])
    body += struct.pack("=H", size) + text if kind == b"R" else b""
    whole = bytearray(head + kind + body)
    match source.randrange(4):
        case 0:
            del whole[source.randrange(len(whole) + 1) :]
        case 1:
            whole[source.randrange(len(whole))] = source.randrange(256)
        case 2:
            whole += source.randbytes(source.randrange(5000))
    return bytes(whole)


@pytest.mark.parametrize("seed", range(4))
def test_thousands_of_damaged_answers_end_as_the_protocol_says(peer: Peer, seed: int) -> None:
    source = random.Random(seed)  # noqa: S311 - the same cases in every run
    wrong = [
        (answer[:40], ended, expected(answer))
        for answer in (random_answer(source) for _ in range(CASES // 4))
        if (ended := ended_with(peer, answer)[0]) != expected(answer)
    ]
    assert wrong == []


@given(
    answer=st.one_of(st.binary(max_size=12), st.text("BESR\x00\x01", max_size=6).map(str.encode))
)
@example(answer=b"")
@example(answer=b"R\x01\xff\xff" + b"x" * 70000)
def test_any_answer_ends_as_the_protocol_says(answer: bytes) -> None:
    with tempfile.TemporaryDirectory() as base, listening(Path(base) / "s") as peer:
        assert ended_with(peer, answer)[0] == expected(answer)
