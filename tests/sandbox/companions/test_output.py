"""The bounded files of what a service prints."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.sandbox.companions.output import Output


def test_the_job_reads_what_was_printed_as_it_is_printed(tmp_path: Path) -> None:
    output = Output(tmp_path, "db", limit=100)
    output.write(b"one\ntw")
    assert (tmp_path / "db.log").read_bytes() == b"one\ntw"
    output.write(memoryview(b"o\n"))
    assert output.last(1) == ["two"]
    assert output.last(9) == ["one", "two"]
    assert stat.S_IMODE((tmp_path / "db.log").stat().st_mode) == 0o444
    output.close()


def test_the_end_is_of_both_files_and_any_bytes_are_text(tmp_path: Path) -> None:
    output = Output(tmp_path, "db", limit=10)
    for piece in (b"first\n", b"second\n", b"\xff\n"):
        output.write(piece)
    output.close()
    assert output.previous.read_bytes() == b"first\n"
    assert output.last(9) == ["first", "second", "\N{REPLACEMENT CHARACTER}"]


def test_a_full_disk_takes_nothing_and_fails_nobody(tmp_path: Path) -> None:
    output = Output(tmp_path, "db", limit=100, awaited="ready")
    with Path("/dev/full").open("wb", buffering=0) as full:
        os.dup2(full.fileno(), output._descriptor)  # noqa: SLF001 - what it writes to
    output.write(b"ready\n")
    output.close()
    assert output.found
    assert output.last(9) == []


@given(st.lists(st.binary(max_size=300), max_size=30), st.integers(1, 100))
def test_the_files_are_bounded_and_hold_the_end(pieces: list[bytes], limit: int) -> None:
    import tempfile  # noqa: PLC0415 - hypothesis runs many examples in one tmp_path

    with tempfile.TemporaryDirectory() as name:
        output = Output(Path(name), "db", limit=limit)
        for piece in pieces:
            output.write(piece)
        now, before = output.path.read_bytes(), b""
        if output.previous.exists():
            before = output.previous.read_bytes()
        output.close()
    printed = b"".join(pieces)
    assert printed.endswith(before + now)
    assert max(len(now), len(before)) <= limit
    assert len(now) + len(before) >= min(len(printed), limit)


@given(st.integers(0, 40), st.integers(0, 40))
def test_a_text_is_found_however_it_is_cut(first: int, second: int) -> None:
    import tempfile  # noqa: PLC0415 - as above

    printed = b"noise\nis ready to accept connections\nnoise\n"
    with tempfile.TemporaryDirectory() as name:
        output = Output(Path(name), "db", limit=1000, awaited="ready to accept")
        for piece in (printed[:first], printed[first : first + second], printed[first + second :]):
            output.write(piece)
        output.close()
    assert output.found


def test_a_text_at_the_end_of_a_long_line_is_found(tmp_path: Path) -> None:
    output = Output(tmp_path, "db", limit=1000, awaited="ready to accept")
    output.write(b"x" * 9000 + b"ready to ")
    output.write(b"accept")
    output.close()
    assert output.found


def test_a_prompt_without_the_end_of_its_line_is_found(tmp_path: Path) -> None:
    output = Output(tmp_path, "db", limit=1000, awaited="ready to accept")
    output.write(b"ready to accept> ")
    output.close()
    assert output.found


@pytest.mark.parametrize("printed", [b"ready to\naccept", b"ready", b""])
def test_a_text_of_another_line_is_not_found(tmp_path: Path, printed: bytes) -> None:
    output = Output(tmp_path, "db", limit=1000, awaited="ready to accept")
    output.write(printed)
    output.close()
    assert not output.found


def test_a_line_without_end_takes_no_memory(tmp_path: Path) -> None:
    output = Output(tmp_path, "db", limit=1000, awaited="never")
    for _ in range(50):
        output.write(b"x" * 10_000)
    assert len(output._line) <= 4096  # noqa: SLF001 - what a worker would keep
    output.close()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("kept")
    (tmp_path / "db.log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        Output(tmp_path, "db", limit=10)
    assert (tmp_path / "elsewhere").read_text() == "kept"


def test_without_another_file_the_first_is_begun_anew(tmp_path: Path) -> None:
    """A service whose output nobody reads any more would stand still."""
    (tmp_path / "logs").mkdir()
    output = Output(tmp_path / "logs", "db", limit=10)
    output.write(b"0123456789")
    output.path.unlink()
    (tmp_path / "logs").rmdir()  # as a full disk: there is no place for another one
    output.write(b"abc")
    output.write(b"defghijklmnopq")
    output.close()
    assert output.last(9) == []


def test_what_is_begun_anew_is_bounded_and_has_no_holes(tmp_path: Path) -> None:
    output = Output(tmp_path, "db", limit=10)
    (output.previous / "in the way").mkdir(parents=True)
    for piece in (b"0123456789", b"abc", b"def"):
        output.write(piece)
    output.close()
    assert output.path.read_bytes() == b"abcdef"


def test_its_descriptors_are_closed(tmp_path: Path) -> None:
    def opened() -> list[str]:
        found = (str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.exists())
        return [path for path in found if path.startswith(str(tmp_path))]

    output = Output(tmp_path, "db", limit=10)
    for _ in range(5):
        output.write(b"0123456789")
    assert opened() == [str(output.path)]
    output.close()
    assert opened() == []


def test_the_job_reads_it_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        Output(tmp_path, "db", limit=10).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "db.log").stat().st_mode) == 0o444
