"""A program that fails says which it was and what to do about that one."""

import os
import signal
from pathlib import Path

import pytest

from bootstrap import process
from bootstrap.errors import CannotStart
from tests.lab.engine import eventually


def failure(argv: list[str], **options: Path | float) -> CannotStart:
    with pytest.raises(CannotStart) as caught:
        process.run(argv, **options)  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize(
    ("program", "package"),
    [("nft", "nftables"), ("mount", "util-linux"), ("rm", "coreutils"),
     ("find", "findutils"), ("frobnicate", "frobnicate")],
)  # fmt: skip
def test_a_missing_program_names_its_package(
    program: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(process.ENVIRONMENT, "PATH", "/nowhere")
    failed = failure([program, "--version"])
    assert failed.problem == f"{program} is not installed: it is not in /nowhere"
    assert failed.hint.startswith(f"Install {package} on this host")


def test_a_failing_program_says_status_and_stderr_and_not_that_it_is_missing() -> None:
    failed = failure(["sh", "-c", "echo no such table >&2; exit 3"])
    assert "failed: exit status 3: no such table" in failed.problem
    assert "install" not in failed.problem + failed.hint.lower()


def test_a_missing_directory_is_not_a_missing_program(tmp_path: Path) -> None:
    assert "not installed" not in failure(["true"], cwd=tmp_path / "absent").problem


def test_a_program_that_hangs_is_a_failure_of_its_own_kind() -> None:
    late = failure(["sleep", "9"], timeout=0.05)
    assert "did not end within 0 s" in late.problem
    assert process.was_late(late)
    assert not process.was_late(failure(["false"]))
    assert not process.was_late(failure(["no-such-program"]))


class Interrupted(Exception):
    """Raised by a signal's handler, as CancelledEarly is."""


def runs(pid: str) -> bool:
    """Return whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


SHOW_GROUP = "read -r _ _ _ _ group session _ </proc/self/stat; echo $group $session"


def test_a_program_has_a_session_of_its_own() -> None:
    """The agent signals its process group: our programs must not be in it."""
    group, session = map(int, process.run(["sh", "-c", SHOW_GROUP]).split())
    assert group == session
    assert group not in (os.getpgid(0), os.getsid(0))


def test_a_program_that_hangs_is_killed_with_what_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 60 & echo $$ $! >{pids}; wait"
    failure(["sh", "-c", script], timeout=0.5)
    eventually(lambda: not any(map(runs, pids.read_text().split())), "both end", 5)


def test_an_interrupted_program_is_killed(tmp_path: Path) -> None:
    pid = tmp_path / "pid"

    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(Interrupted):
            process.run(["sh", "-c", f"echo $$ >{pid}; sleep 60"])
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not runs(pid.read_text().strip())
