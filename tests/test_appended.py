"""Lines that several processes append to one file, while its disk has space and while it has not.

The kernel refuses to let a file grow beyond RLIMIT_FSIZE as it does on a full disk: it writes what
fits, and fails at the next byte. Python ignores the signal that goes with it.
"""

import fcntl
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap import appended
from bootstrap.appended import AppendedFile


@contextmanager
def space(path: Path, size: int | None) -> Iterator[None]:
    """Let the file grow by `size` bytes; None is without a limit."""
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))


def line(writer: int, number: int, size: int) -> bytes:
    return json.dumps({"writer": writer, "number": number, "text": "x" * size}).encode() + b"\n"


WRITES = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 200), st.none() | st.integers(0, 120)), max_size=25
)


@given(WRITES)
def test_every_event_is_whole_and_in_order_however_lines_were_torn(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[int, int, int | None]]
) -> None:
    path = tmp_path_factory.mktemp("records") / "records.jsonl"
    writers = [AppendedFile(path) for _ in range(3)]
    written: list[bytes] = []
    for number, (writer, size, left) in enumerate(writes):
        written.append(line(writer, number, size))
        with space(path, left), suppress(OSError):
            writers[writer].write(written[-1])
    for one in writers:
        one.catch_up()
    events, torn = readable(path)
    for writer in range(3):
        assert [event for event in events if event["writer"] == writer] == [
            json.loads(each) for each in written if json.loads(each)["writer"] == writer
        ]
    assert all(any(each.startswith(part) for each in written) for part in torn)
    assert [one.waiting + one.lost for one in writers] == [0, 0, 0]


def test_a_line_that_lacks_only_its_newline_is_there_once(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    appended_file, whole = AppendedFile(path), line(0, 0, 0)
    with space(path, len(whole) - 1):
        appended_file.write(whole)
    appended_file.write(line(0, 1, 0))
    assert path.read_bytes() == whole + line(0, 1, 0)


def readable(path: Path) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Return the events, and the lines that are none."""
    events, torn = [], []
    for each in path.read_bytes().splitlines():
        try:
            events.append(json.loads(each))
        except ValueError:
            torn.append(each)
    return events, torn


def test_a_line_after_a_torn_one_of_an_earlier_version_is_readable(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(b'{"event": "adm')
    AppendedFile(path).write(b'{"event": "ended"}\n')
    assert readable(path) == ([{"event": "ended"}], [b'{"event": "adm'])


def test_a_line_that_waits_is_withdrawn_on_request(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    file = AppendedFile(path)
    with space(path, 0), pytest.raises(OSError, match="File too large"):
        file.write(b"{}\n")
    file.withdraw()
    file.write(b"[]\n")
    assert path.read_bytes() == b"[]\n"


def test_what_waits_is_bounded_and_what_is_lost_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appended, "MOST", 10)
    file = AppendedFile(tmp_path / "records.jsonl")
    with space(tmp_path / "records.jsonl", 0):
        for each in (b"12345\n", b"67890\n", b"123\n"):
            with pytest.raises(OSError, match="File too large"):
                file.write(each)
    assert (file.waiting, file.lost) == (2, 1)
    file.catch_up()
    assert (tmp_path / "records.jsonl").read_bytes() == b"12345\n123\n"


def test_a_stopped_writer_does_not_stop_the_others_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appended, "LOCKED", 0.1)
    path = tmp_path / "records.jsonl"
    file = AppendedFile(path)
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(TimeoutError, match="another process keeps it locked"):
            file.write(b"{}\n")
    file.catch_up()
    assert path.read_bytes() == b"{}\n"


def test_only_root_reads_the_file(tmp_path: Path) -> None:
    AppendedFile(tmp_path / "log" / "records.jsonl")
    assert (tmp_path / "log" / "records.jsonl").stat().st_mode & 0o777 == 0o600
