"""Promise 8: no name or value of a job speaks for Airlock, in a log, on a page or in a terminal.

Buildkite takes lines that begin with +++, --- or ~~~ for groups, ^^^ +++ for an order to open one,
and ESC _bk;t=… BEL for a time; terminals obey further sequences.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.commands.admit import markdown
from bootstrap.errors import Refused
from tests.fakes.control_plane import Job
from tests.lab.agent import Agent
from tests.lab.lab import Fleet
from tests.test_cli import airlock

EVIL = (
    "x\n+++ :white_check_mark: approved\n--- approved\n~~~ approved\n^^^ +++\n\r+++ approved"
    "\x1b[2J\x1b]1338;url=x:alt=y\x07\x1b_bk;t=1\x07\x9b31m\u202eapproved\u2028+++ approved"
)
GROUP = re.compile(r"^[\x1b\[0-9m]*(?:\+\+\+|---|~~~|\^\^\^)\s.*approved", re.MULTILINE)
CONTROL = (
    "\x1b[2J",
    "\x1b]1338",
    "\x1b_bk",
    "\x9b31m",
    "\u202e",
    "\u2028",
    "\r+++",
    "\n^^^ +++\n\r",
)
VARIABLES = (
    "BRANCH", "TAG", "COMMIT", "MESSAGE", "LABEL", "STEP_KEY", "SOURCE", "COMMAND",
    "BUILD_CREATOR", "BUILD_CREATOR_EMAIL", "BUILD_CREATOR_TEAMS", "UNBLOCKER",
    "PIPELINE_SLUG", "ORGANIZATION_SLUG", "REPO", "PULL_REQUEST", "PULL_REQUEST_REPO",
    "PLUGINS", "AGENT_META_DATA_QUEUE", "TRIGGERED_FROM_BUILD_PIPELINE_SLUG", "REFSPEC",
)  # fmt: skip
RULES = """  - name: of others
    when:
      branch: main
      tag: [none, v1]
      commit: "0000000000000000000000000000000000000000"
      creator-email: ada@example.com
      creator-team: nobody
      queue: deploy
      source: api
      step: nothing
      command: "true"
      plugin: docker#v5
      organization: acme
      repository: https://github.com/acme/else
      env: {BUILDKITE_LABEL: none, BUILDKITE_MESSAGE: none}
      pull-request: any
    allow: {}
"""


def controls(text: str) -> list[str]:
    """Return what in the text would be obeyed."""
    return [*GROUP.findall(text), *(one for one in CONTROL if one in text)]


@pytest.fixture(scope="module")
def refusing(shared: Fleet) -> Iterator[Agent]:
    shared.policy(RULES)
    with shared.agent() as agent:
        yield agent


def value_of(name: str) -> str:
    plugin = json.dumps([{f"acme/{EVIL}#v1": {}}])
    return {"PLUGINS": plugin, "REPO": f"https://github.com/acme/{EVIL}"}.get(name, EVIL)


def without_agents_lines(job: Job) -> str:
    return job.log.decode("utf-8", "replace").partition("~~~ Preparing working directory")[0]


@pytest.mark.lab
@pytest.mark.parametrize("name", VARIABLES)
def test_variable_of_refused_job_is_printed_without_control(
    shared: Fleet, refusing: Agent, name: str
) -> None:
    assert refusing.process.poll() is None
    job = shared.control.enqueue(shared.env("true", **{f"BUILDKITE_{name}": value_of(name)}))
    status = shared.control.finished(job, 60)[0]
    assert status in {"77", "78"}, job.log.decode()
    assert b"Airlock" in job.log
    assert controls(without_agents_lines(job)) == []


@pytest.mark.lab
def test_same_text_printed_by_job_itself_opens_groups(fleet: Fleet) -> None:
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env('printf "%s" "$EVIL"', EVIL=EVIL))
        assert fleet.control.finished(job, 60)[0] == "0"
    assert "+++ :white_check_mark: approved" in " ".join(controls(job.log.decode()))


@pytest.mark.parametrize("field", ["problem", "hint", "detail"], ids=["problem", "hint", "detail"])
def test_annotation_shows_job_text_as_text(field: str) -> None:
    evil = f"{EVIL}<script>x</script>[a](javascript:b)![c](d)`*_|~#\\&lt;"
    refusal = Refused(
        evil if field == "problem" else "p",
        hint=evil if field == "hint" else "h",
        details=(evil,) if field == "detail" else (),
    )
    shown = markdown(refusal)
    assert "approved" in shown
    assert controls(shown) == []
    without_own_tags = re.sub(r"</?(?:p|strong|code|ul|li)>", "", shown)
    assert not set("<>[]()`*_|~\\!") & set(without_own_tags)
    assert "approved" in " ".join(controls(f"<p>{evil}</p>")), "what it escapes would be obeyed"


def policies(directory: Path, name: str) -> Path:
    document = {
        "pipeline": "storefront",
        "repository": "https://github.com/acme/storefront",
        "rules": [{"name": name, "when": {"branch": ["main"], "step": EVIL}, "allow": {}}],
    }
    directory.mkdir()
    (directory / "storefront.yaml").write_text(json.dumps(document))
    return directory


@pytest.mark.parametrize("verb", ["explain", "lint", "report"])
def test_policy_command_prints_names_without_control(tmp_path: Path, verb: str) -> None:
    folder = policies(tmp_path / "policies", "everything")
    env = {f"BUILDKITE_{name}": value_of(name) for name in VARIABLES} | {
        "BUILDKITE_PIPELINE_SLUG": "storefront", "BUILDKITE_JOB_ID": "j", EVIL: EVIL,
    }  # fmt: skip
    file = tmp_path / "env.json"
    file.write_text(json.dumps(env))
    arguments = {
        "explain": ["explain", str(file), "--policies", str(folder)],
        "lint": ["lint", str(folder)],
        "report": ["report", str(folder), "--output", str(tmp_path / "x.html")],
    }[verb]
    done = airlock("policy", *arguments)
    printed = done.stdout + done.stderr
    assert printed
    assert controls(printed) == []


def test_rule_name_with_control_sequence_is_refused(tmp_path: Path) -> None:
    folder = policies(tmp_path / "policies", f"all{EVIL}"[:100])
    done = airlock("policy", "lint", str(folder))
    assert "expected printable characters on one line" in done.stdout + done.stderr
    assert controls(done.stdout + done.stderr) == []
