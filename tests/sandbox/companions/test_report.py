"""What a job's log says about its services."""

from pathlib import Path

import pytest

from bootstrap.log import JobLog
from bootstrap.policy.services import ServiceContainer
from bootstrap.sandbox.companions import report
from bootstrap.sandbox.companions.output import Output
from bootstrap.sandbox.companions.watch import Ending
from bootstrap.sandbox.limits import Used
from bootstrap.secret import Secret

SERVICE = ServiceContainer(image="ci/db:1", memory=64 << 20, pids=64)


def log_of(printed: bytes, ending: Ending, base: Path, *secrets: Secret) -> str:
    output, lines = Output(base, "db", limit=1 << 20), list[bytes]()
    output.write(printed)
    log = JobLog(lines.append)
    log.mask(*secrets)
    report.shown({"db": (SERVICE, output, ending)}, log)
    output.close()
    return b"".join(lines).decode()


def test_the_end_of_the_log_is_in_a_group_of_its_own(tmp_path: Path) -> None:
    printed = b"".join(b"line %d\n" % number for number in range(150))
    log = log_of(printed, Ending(early=False), tmp_path)
    assert log.startswith("~~~ :lock: Service db: the end of its log\n")
    assert "line 149" in log
    assert "line 50" in log
    assert "line 49\x1b" not in log
    follows = log.partition("~~~ :lock: Airlock\n")[2]
    assert "1 service container ended: db" in follows
    assert "line" not in follows, "what follows is not the service's"


def test_a_service_that_printed_nothing_is_named_too(tmp_path: Path) -> None:
    log = log_of(b"", Ending(early=False), tmp_path)
    assert log.splitlines()[0] == "~~~ :lock: Service db: the end of its log"
    assert "it printed nothing" in log.splitlines()[1]
    assert "it printed nothing" not in log_of(b"one\n", Ending(early=False), tmp_path)


def test_a_service_cannot_forge_groups_or_colours(tmp_path: Path) -> None:
    log = log_of(b"+++ forged\n\x1b[31mred\x1b[0m\n", Ending(early=False), tmp_path)
    assert "\n+++" not in log
    assert "\x1b[31m" not in log


KEY = "-----BEGIN KEY-----\nAAAAB3NzaC1yc2E\n-----END KEY-----"


@pytest.mark.parametrize("before", [0, 98])
def test_no_part_of_a_secret_that_a_service_has_printed_is_shown(
    tmp_path: Path, before: int
) -> None:
    """The job may hand it one; as everything that is shown, it is masked whole, not by the line."""
    lines = list[bytes]()
    log = JobLog(lines.append)
    log.mask(Secret(KEY))
    output = Output(tmp_path, "db", limit=1 << 20)
    output.write(f"loaded\n{KEY}\n".encode() + b"line\n" * before)
    report.shown({"db": (SERVICE, output, Ending(early=False))}, log)
    output.close()
    text = b"".join(lines).decode()
    assert "***" in text
    assert "AAAA" not in text
    assert "END KEY" not in text


def test_no_line_is_shown_whose_beginning_was_dropped(tmp_path: Path) -> None:
    lines = list[bytes]()
    log = JobLog(lines.append)
    log.mask(Secret("correct-horse-battery-staple"))
    output = Output(tmp_path, "db", limit=20)
    output.write(b"correct-horse-battery-staple\nthe end\n" * 2)
    report.shown({"db": (SERVICE, output, Ending(early=False))}, log)
    output.close()
    text = b"".join(lines).decode()
    assert "the end" in text
    assert "staple" not in text


def test_a_secret_that_a_service_prints_is_masked(tmp_path: Path) -> None:
    """Also one on more lines than are shown, of which only the end would be."""
    key = "".join(f"line {number} of the key\n" for number in range(150))
    log = log_of(
        f"password 'hunter2hunter2' is wrong\n{key}then this\n".encode(),
        Ending(early=False), tmp_path, Secret("hunter2hunter2"), Secret(key),
    )  # fmt: skip
    assert "hunter2" not in log
    assert "of the key" not in log
    assert "is wrong" in log
    assert "then this" in log


@pytest.mark.parametrize(
    ("ending", "sentences"),
    [
        (Ending(early=False), []),
        (Ending(early=True, code=1),
         ["the service db ended while the job ran, with exit status 1."]),
        (Ending(early=True, code=137, out_of_memory=True),
         ["the service db ended while the job ran, with exit status 137 (killed)",
          "the service db reached its limit of memory, 64MiB"]),
        (Ending(early=True), ["with an exit status that Docker did not report"]),
        (Ending(early=False, used=Used(killed=2)), ["reached its limit of memory, 64MiB"]),
        (Ending(early=False, used=Used(refused_forks=1)), ["its limit of 64 processes"]),
        (Ending(early=False, used=Used(full=("/data",))),
         ["the directory /data of the service db"]),
        (Ending(early=False, slowed=2.9), []),
        (Ending(early=False, slowed=12.3),
         ["the service db was slowed for 12 s, because it printed more than the 6 MB a second"]),
    ],
)  # fmt: skip
def test_each_limit_is_one_sentence(tmp_path: Path, ending: Ending, sentences: list[str]) -> None:
    alerts = [line for line in log_of(b"", ending, tmp_path).splitlines() if "Airlock: " in line]
    assert len(alerts) == len(sentences)
    for alert, sentence in zip(alerts, sentences, strict=True):
        assert sentence in alert
        assert "The exit status is the job's own" in alert
