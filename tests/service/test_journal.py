"""The service's own log: one line each, without secrets, and bounded for what clients cause."""

import os

from bootstrap.errors import CannotStart
from bootstrap.secret import Secret
from bootstrap.service.journal import BURST, PERIOD, Journal, Limited, without_waiting


def test_lines_are_plain_and_masked() -> None:
    lines: list[bytes] = []
    journal = Journal(lines.append)
    journal.mask(Secret("hunter22"))
    journal.note("started\nwith hunter22")
    journal.alert("the client \x1b[31m sent hunter22")
    journal.failure(CannotStart("no hunter22", hint="look at hunter22", details=("a hunter22",)))
    text = b"".join(lines).decode()
    assert "hunter22" not in text
    assert "\x1b" not in text
    assert [line.split(":")[0] for line in text.splitlines()] == ["airlock"] * 5


def test_repeated_lines_of_a_kind_are_left_out_and_counted() -> None:
    lines: list[str] = []
    limited = Limited(lines.append)
    for second in range(50):
        limited("uid", f"refused uid {second}", second / 2)
    limited("malformed", "a request without a header", 25.0)
    assert lines[BURST:] == ["a request without a header"]
    limited("uid", "refused uid 50", PERIOD + 1)
    assert lines[BURST + 1 :] == [
        f"uid: 40 more lines in {PERIOD:.0f} s left out",
        "refused uid 50",
    ]


def test_lines_left_out_are_counted_also_if_no_more_come() -> None:
    lines: list[str] = []
    limited = Limited(lines.append)
    for _ in range(BURST + 1):
        limited("uid", "refused", 0.0)
    limited.flush(PERIOD - 1)
    assert len(lines) == BURST
    limited.flush(PERIOD)
    limited.flush(PERIOD * 3)
    assert lines[BURST:] == [f"uid: 1 more line in {PERIOD:.0f} s left out"]


def test_journal_that_is_not_read_does_not_stop_the_service() -> None:
    reader, writer = os.pipe()
    journal = Journal(without_waiting(writer))
    for number in range(5000):
        journal.note(f"{number} " + "x" * 100)
    received = os.read(reader, 1 << 20)
    assert received.endswith(b"x\n")  # whole lines, and not all of them
    assert received.count(b"\n") < 5000
    journal.note("after the reader reads again")
    assert os.read(reader, 1 << 20) == b"airlock: after the reader reads again\n"
    os.close(reader)
    journal.note("nobody reads at all")
    os.close(writer)
