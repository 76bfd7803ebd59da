"""Promise 1: a job that no rule admits starts no container and causes no credential."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.lab import ROLE, Fleet

pytestmark = pytest.mark.lab

DEPLOY = f"  - name: deploy\n    when: {{branch: main}}\n    allow: {{role: '{ROLE}'}}\n"


def no_policy(fleet: Fleet) -> dict[str, str]:
    return {"BUILDKITE_PIPELINE_SLUG": "unknown"}


def no_rule(fleet: Fleet) -> dict[str, str]:
    return {"BUILDKITE_BRANCH": "feature"}


def unreadable_policy(fleet: Fleet) -> dict[str, str]:
    (fleet.base / "policies/storefront.yaml").write_text("rules: [&a 1]\n")
    return {}


def writable_policy(fleet: Fleet) -> dict[str, str]:
    (fleet.base / "policies/storefront.yaml").chmod(0o666)
    return {}


def linked_policy(fleet: Fleet) -> dict[str, str]:
    path = fleet.base / "policies/storefront.yaml"
    path.rename(path.with_suffix(".elsewhere"))
    path.symlink_to(path.with_suffix(".elsewhere"))
    return {}


def wrong_repository(fleet: Fleet) -> dict[str, str]:
    return {"BUILDKITE_REPO": fleet.repository.replace("storefront", "evil")}


def forked_pull_request(fleet: Fleet) -> dict[str, str]:
    fork = "https://github.com/mallory/storefront.git"
    return {"BUILDKITE_PULL_REQUEST": "7", "BUILDKITE_PULL_REQUEST_REPO": fork}


def pull_request_of_unknown_origin(fleet: Fleet) -> dict[str, str]:
    return {"BUILDKITE_PULL_REQUEST": "7"}


def name_with_equals_sign(fleet: Fleet) -> dict[str, str]:
    return {"EVIL=1": "x"}


def name_with_newline(fleet: Fleet) -> dict[str, str]:
    return {"A\nB": "x"}


def slug_with_dots(fleet: Fleet) -> dict[str, str]:
    return {"BUILDKITE_PIPELINE_SLUG": "../policies/storefront"}


CASES: list[tuple[Callable[[Fleet], dict[str, str]], str]] = [
    (no_policy, "77"),
    (no_rule, "77"),
    (unreadable_policy, "78"),
    (writable_policy, "78"),
    (linked_policy, "78"),
    (wrong_repository, "77"),
    (forked_pull_request, "77"),
    (pull_request_of_unknown_origin, "77"),
    (name_with_equals_sign, "77"),
    (name_with_newline, "77"),
    (slug_with_dots, "77"),
]


@pytest.mark.parametrize(("case", "status"), CASES, ids=[case.__name__ for case, _ in CASES])
def test_refused_job_starts_no_container_and_calls_no_sts(
    fleet: Fleet, case: Callable[[Fleet], dict[str, str]], status: str
) -> None:
    fleet.policy(DEPLOY)
    overrides = case(fleet)
    begin = time.time()
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env("echo I ran", **overrides))
        assert fleet.control.finished(job) == (status, "", ""), job.log.decode()
    assert b"+++ :no_entry: Airlock" in job.log
    assert b"What to do:" in job.log
    assert b"Traceback" not in job.log
    assert fleet.sts.calls == []
    assert _created_since(fleet, begin) == 0


def test_admitted_job_starts_one_container_and_gets_one_session(fleet: Fleet) -> None:
    """The attack without the refusal: a container starts and STS issues a session."""
    fleet.policy(DEPLOY)
    begin = time.time()
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env("echo I ran"))
        assert fleet.control.finished(job) == ("0", "", ""), job.log.decode()
    assert b"\nI ran" in job.log
    assert len(fleet.sts.asked) == 1
    assert _created_since(fleet, begin) == 1


def _created_since(fleet: Fleet, begin: float) -> int:
    """Count containers that were created, not those that remain. The engine keeps 256 events.

    The current time is passed as such: a duration such as 0s ends with the last whole second.
    """
    done = subprocess.run(
        ["docker", "-H", fleet.lab.docker, "events",
         "--since", f"{begin:.6f}", "--until", f"{time.time():.6f}",
         "--filter", "event=create", "--filter", "type=container"],
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    return len(done.stdout.splitlines())


def test_missing_policy_directory_fails_closed(fleet: Fleet) -> None:
    for path in sorted((fleet.base / "policies").glob("*")):
        path.unlink()
    Path(fleet.base / "policies").rmdir()
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env("echo I ran"))
        assert fleet.control.finished(job) == ("78", "", "")
    assert b"\nI ran" not in job.log
