"""A reading that fails or hangs is a value, and what is printed is plain."""

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from bootstrap import colour
from bootstrap.doctor import report
from bootstrap.doctor.checks import findings
from bootstrap.doctor.model import Failed, Finding, NotKnown, Stage, Status, Unread, fail, known
from bootstrap.doctor.read import metadata, reading, storage
from bootstrap.doctor.read.reading import read
from bootstrap.errors import CannotStart
from tests.doctor.given import GOOD
from tests.fakes.metadata import Metadata
from tests.fakes.simulator import on_loopback


def test_reading_that_hangs_is_not_known_after_its_time() -> None:
    hangs = threading.Event()
    assert read(hangs.wait, patience=0.05) == Unread(why="no answer within 0 s")
    hangs.set()


def test_refusal_of_the_hosts_own_code_is_a_failure_with_its_fix() -> None:
    def refuse() -> None:
        raise CannotStart("it is so", hint="do that", details=("a line",))

    failed = read(refuse)
    assert failed == Failed(problem="it is so", fix="do that", details=("a line",))
    with pytest.raises(NotKnown) as raised:
        known(failed)
    assert raised.value.verdict == fail("it is so", "do that", ("a line",))


@pytest.mark.parametrize("failure", [OSError(5, "broken"), ValueError("x"), PermissionError("no")])
def test_any_other_failure_is_not_known(failure: Exception) -> None:
    def raise_it() -> None:
        raise failure

    found = read(raise_it)
    assert isinstance(found, Unread)
    assert str(failure) in found.why


def test_file_without_end_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="has more than"):
        reading.text(Path("/dev/zero"))
    (tmp_path / "large").write_bytes(b"x" * 100_000)
    assert len(reading.text(tmp_path / "large")) == 100_000


def test_records_are_not_created_by_looking(tmp_path: Path) -> None:
    storage._records(tmp_path / "log/records.jsonl")  # noqa: SLF001
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="Linux lets everybody set a time to live")
@pytest.mark.parametrize(("hops", "expected"), [(1, False), (2, True), (64, True)])
def test_hop_limit_is_measured(hops: int, *, expected: bool) -> None:
    with on_loopback(Metadata) as service:
        service.hops = hops
        found = metadata.metadata(service.url)
    assert found.passes_a_hop is expected
    assert found.gives_tokens
    assert not found.answers_without_token


def test_metadata_service_without_tokens_is_found() -> None:
    with on_loopback(Metadata) as service:
        service.open = True
        assert metadata.metadata(service.url).answers_without_token


BAD = Finding(check="disk", status=Status.FAIL, seen="full\x1b[31m of\nthis", why="Jobs end.",
              fix="`airlock gc`.", details=("one",))  # fmt: skip


def test_line_for_each_check_and_its_fix_below() -> None:
    lines = list(report.text((*findings(GOOD)[:1], BAD), ["loaded table inet airlock"]))
    assert lines == [
        "fixed    loaded table inet airlock",
        "ok       root  doctor runs as root, as the service does",
        "FAIL     disk  full�[31m of�this",
        "         one",
        "         why: Jobs end.",
        "         fix: `airlock gc`.",
        "2 checks: 1 ok, 1 failure",
    ]


def test_what_another_check_explains_has_one_line() -> None:
    found = Finding(check="limits", status=Status.UNKNOWN, seen="not known: see the check engine",
                    why="They matter.", fix="")  # fmt: skip
    assert list(report.text((found,), [])) == [
        "unknown  limits  not known: see the check engine",
        "1 check: 0 ok, 1 unknown",
    ]


def test_colours_are_those_of_the_status() -> None:
    lines = "\n".join(report.text((*findings(GOOD)[:1], BAD), []))
    painted = colour.painted(lines).splitlines()
    assert painted[0].startswith("\x1b[32mok\x1b[0m ")
    assert painted[1].startswith("\x1b[31mFAIL\x1b[0m ")
    for status, code in (("warn", 33), ("unknown", 33)):
        assert colour.painted(f"{status:<8} disk").startswith(f"\x1b[{code}m{status}\x1b[0m")


@pytest.mark.parametrize(
    ("status", "strict", "expected"),
    [(Status.OK, True, 0), (Status.WARN, False, 0), (Status.WARN, True, 1), (Status.FAIL, False, 1),
     (Status.UNKNOWN, False, 3), (Status.UNKNOWN, True, 3)],
)  # fmt: skip
def test_status_is_that_of_the_worst(status: Status, *, strict: bool, expected: int) -> None:
    found = (*findings(GOOD), replace(BAD, status=status))
    assert report.status(found, strict=strict) == expected


def test_failure_counts_more_than_what_is_not_known() -> None:
    assert report.status((BAD, replace(BAD, status=Status.UNKNOWN)), strict=False) == 1


def test_json_has_every_finding_and_the_counts() -> None:
    shown = json.loads(report.as_json((BAD,), ["x"], stage=Stage.START, exit_code=1))
    assert shown["findings"] == [{"check": "disk", "status": "fail", "seen": BAD.seen,
                                  "why": BAD.why, "fix": BAD.fix, "details": ["one"]}]  # fmt: skip
    assert (shown["at"], shown["exit"], shown["changes"]) == ("start", 1, ["x"])
    assert shown["counts"] == {"ok": 0, "warn": 0, "fail": 1, "unknown": 0}
