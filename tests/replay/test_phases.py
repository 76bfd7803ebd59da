"""Headings and the digest of a job's output, however it is cut into pieces."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bootstrap.replay.phases import MOST, Phase, Phases, digest_of, shown

OUTPUT = (
    b"\x1b_bk;t=1700000000000\x07~~~ Preparing plugins\r\nnothing\n"
    b"\x1b[90m--- :git: Cloning\x1b[0m\nCloning\n+++ :rocket: Running commands\n+++\n"
)


@given(st.lists(st.integers(0, len(OUTPUT)), max_size=12))
def test_pieces_have_the_phases_and_the_digest_of_the_whole(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(OUTPUT)]
    phases = Phases(0.0)
    for start, end in pairwise(places):
        phases.received(OUTPUT[start:end], 1.0)
    assert [phase.title for phase in phases.until(3.0)] == [
        "start", "Preparing plugins", ":git: Cloning", ":rocket: Running commands",
    ]  # fmt: skip
    assert phases.digest() == digest_of(OUTPUT.split(b"\n"))


def test_phase_lasts_until_the_next_heading() -> None:
    phases = Phases(10.0)
    phases.received(b"--- one\n", 11.0)
    phases.received(b"line\n--- two\n", 14.0)
    assert phases.until(20.0) == (
        Phase(title="start", seconds=1.0),
        Phase(title="one", seconds=3.0),
        Phase(title="two", seconds=6.0),
    )
    assert shown(phases.until(20.0)).splitlines()[2] == "two        6.00 s"


def test_job_that_prints_headings_without_end_has_few_phases() -> None:
    phases = Phases(0.0)
    for _ in range(10):
        phases.received(b"--- x\n" * 1000, 1.0)
    assert len(phases.until(2.0)) == MOST
    assert phases.digest() == digest_of([b"--- x"] * 10_000 + [b""])


def test_digest_leaves_out_timestamps_and_colours_and_nothing_else() -> None:
    plain = digest_of([b"one", b"two", b""])
    assert digest_of([b"\x1b_bk;t=1700000000000\x07one\r", b"\x1b[31mtwo\x1b[0m", b""]) == plain
    assert digest_of([b"one", b"two ", b""]) != plain


def test_digest_does_not_depend_on_how_long_git_fetched() -> None:
    fast = b"remote: Total 6 (delta 0)\x1b[K\r\nReceiving objects: 100% (6/6), done.\r"
    slow = (
        b"Receiving objects:  16% (1/6)\rremote: Total 6 (delta 0)\x1b[K\r\n"
        b"Receiving objects: 100% (6/6), done.\r\nResolving deltas: 100% (1/1), done.\r"
    )
    assert digest_of([*fast.split(b"\n"), b"one"]) == digest_of([*slow.split(b"\n"), b"one"])
    assert digest_of([b"receiving objects: one"]) != digest_of([])
    assert digest_of([b"Receiving objects: one"]) == digest_of([])


@given(st.binary(max_size=20_000))
def test_any_output_has_phases(output: bytes) -> None:
    phases = Phases(0.0)
    phases.received(output, 1.0)
    assert phases.until(2.0)[0].title == "start"
