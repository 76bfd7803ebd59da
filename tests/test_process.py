"""A program that fails says which it was and what to do about that one."""

from pathlib import Path

import pytest

from bootstrap import process
from bootstrap.errors import CannotStart


def failure(argv: list[str], **options: Path | float) -> CannotStart:
    with pytest.raises(CannotStart) as caught:
        process.run(argv, **options)  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize(
    ("program", "package"),
    [("nft", "nftables"), ("ip", "iproute2"), ("mount", "util-linux"), ("rm", "coreutils"),
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


def test_a_program_that_hangs_is_a_failure() -> None:
    assert "did not end within 0 s" in failure(["sleep", "9"], timeout=0.05).problem
