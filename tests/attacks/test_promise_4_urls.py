"""Promise 4: credentials inside a repository's URL reach neither log, annotation nor record.

Each attack runs also without the protection, and then finds them there.
"""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.test_governance import hook
from tests.fakes.control_plane import Job
from tests.lab.lab import ROLE, Fleet

pytestmark = pytest.mark.lab

TOKEN = f"ghs_{uuid.uuid4().hex}"


def with_token(fleet: Fleet) -> str:
    return fleet.repository.replace("http://", f"http://x-access-token:{TOKEN}@")


def urls(url: str) -> dict[str, str]:
    """Every variable in which Buildkite, a step or a plugin puts a repository's URL."""
    return {
        "BUILDKITE_REPO": url,
        "BUILDKITE_PULL_REQUEST_REPO": url,
        "BUILDKITE_GIT_REMOTE_MIRROR_URL": url,
        "SUBMODULE_ACME": url,
        "BUILDKITE_PLUGINS": json.dumps([{f"{url}#v1.0.0": {"mirror": url}}]),
    }


RULES = """  - name: of others
    when:
      repository: https://github.com/acme/else
      plugin: docker#v5
      env: {SUBMODULE_ACME: none}
      pull-request: any
    allow: {}
"""


# Airlock without the protection.
UNMASKED = """
import sys
del sys.argv[1:3]  # "-m bootstrap", by which tests know the process
from bootstrap import text
text.without_credentials = str
from bootstrap.cli import main
sys.exit(main())
"""
each_way = pytest.mark.parametrize("masked", [True, False], ids=["masked", "unmasked"])


def command(fleet: Fleet, shown: str, *, masked: bool) -> str:
    """Return a command of Airlock, with the protection or without it."""
    (fleet.base / "unmasked.py").write_text(UNMASKED)
    return shown if masked else shown.replace(" -m ", f" {fleet.base}/unmasked.py -m ")


@contextmanager
def finished(fleet: Fleet, *, masked: bool, **env: str) -> Iterator[Job]:
    script = command(fleet, fleet.bootstrap_script, masked=masked)
    with fleet.agent(bootstrap_script=script):
        job = fleet.control.enqueue(fleet.env("echo I ran", **env))
        fleet.control.finished(job, 60)
        yield job


def kept(fleet: Fleet, job: Job) -> dict[str, str]:
    """Return what Airlock has printed, annotated and written, without the agent's own lines."""
    own, _, _ = job.log.decode(errors="replace").partition("~~~ Preparing working directory")
    agents = [path for path in fleet.base.rglob("agent.log") if path.is_file()]
    state = [path for path in (fleet.base / "state").rglob("*") if path.is_file()]
    checkout = fleet.base / "state/workspaces"
    return {
        "log": own,
        "annotations": json.dumps(job.annotations),
        "records": fleet.records.read_text(),
        "hook": "".join(path.read_text(errors="replace") for path in agents),
        **{
            str(path): path.read_bytes().decode(errors="replace")
            for path in state
            if not path.is_relative_to(checkout)
        },
    }


def found(fleet: Fleet, job: Job) -> set[str]:
    return {place for place, text in kept(fleet, job).items() if TOKEN in text}


@each_way
@pytest.mark.parametrize("way", ["hook", "script"])
@pytest.mark.parametrize("why", ["repository", "rules"])
def test_refusal_masks_token_in_repository_url(
    fleet: Fleet, way: str, why: str, *, masked: bool
) -> None:
    url = with_token(fleet)
    elsewhere = "https://github.com/acme/else" if why == "repository" else url
    fleet.policy(RULES, repository=elsewhere)
    if way == "hook":
        hook(fleet)
        file = fleet.base / "agent-1/hooks/pre-bootstrap"
        file.write_text(command(fleet, file.read_text(), masked=masked))
    with finished(fleet, masked=masked, **urls(url)) as job:
        assert b"I ran" not in job.log
    host = fleet.repository.removeprefix("http://")
    places = kept(fleet, job)
    if not masked:
        assert {"records", "hook" if way == "hook" else "log"} <= found(fleet, job)
        return
    assert f"***@{host}" in places["records"]
    assert f"***@{host}" in (places["hook"] if way == "hook" else places["log"])
    assert found(fleet, job) == set()


@each_way
def test_job_with_token_in_url_runs_and_leaves_no_token(fleet: Fleet, *, masked: bool) -> None:
    """The commit is looked up with that token too: the cached history does not contain it."""
    url = with_token(fleet)
    when = "{branch: main, commit-on-branch: verified}"
    rules = f"  - {{name: main, when: {when}, allow: {{role: '{ROLE}'}}}}\n"
    fleet.policy(rules, repository=url)
    env = urls(url) | {"BUILDKITE_PULL_REQUEST_REPO": "", "BUILDKITE_PLUGINS": ""}
    del env["BUILDKITE_GIT_REMOTE_MIRROR_URL"]
    with finished(fleet, masked=masked, **env) as job:
        assert b"\nI ran" in job.log, job.log.decode()
    asked = [call for call in fleet.git.calls if call.headers.get("git-protocol")]
    assert asked, "the commit was not looked up"
    assert any("ancestry" in place for place in kept(fleet, job)), (
        "the cached history is not searched"
    )
    (record,) = Path(fleet.base / "state/records").iterdir()
    if masked:
        assert found(fleet, job) == set()
        assert "***@" in record.read_text()
    else:
        assert found(fleet, job) == {str(record)}


@each_way
def test_git_error_that_quotes_url_is_masked(fleet: Fleet, *, masked: bool) -> None:
    url = with_token(fleet).replace("storefront.git", "absent.git")
    when = "{branch: main, commit-on-branch: verified}"
    fleet.policy(f"  - {{name: main, when: {when}, allow: {{}}}}\n", repository=url)
    with finished(fleet, masked=masked, BUILDKITE_REPO=url) as job:
        assert b"could not be fetched (5): " in job.log, job.log.decode()
        assert b"not found" in job.log
    places = found(fleet, job)
    if masked:
        assert places == set()
    else:
        assert "log" in places, places
