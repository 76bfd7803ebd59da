"""With the real agent: refusal by hook and by script, observe mode, signed identity."""

import json
import shlex
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fakes.control_plane import JobOrder
from tests.lab.lab import AIRLOCK, ROLE, Fleet, Lab, fleet

pytestmark = pytest.mark.lab

MAIN = f"  - {{name: main, when: {{branch: main}}, allow: {{role: '{ROLE}'}}}}\n"
OBSERVED = "arn:aws:iam::111122223333:role/storefront-deploy"


def hook(made: Fleet, agent: str = "agent-1") -> None:
    """Put the shipped hook into the agent's hooks-path, with this test's paths in it."""
    shipped = Path(__file__).parents[2] / "agent-config/hooks/pre-bootstrap"
    ours = shlex.join([*AIRLOCK, "admit", "--config", str(made.config)])
    text = shipped.read_text()
    assert "\nexec /usr/libexec/airlock-launcher admit\n" in text
    path = made.base / agent / "hooks/pre-bootstrap"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.replace("/usr/libexec/airlock-launcher admit", ours))
    path.chmod(0o755)


def events(made: Fleet) -> list[dict[str, object]]:
    return [json.loads(line) for line in made.records.read_text().splitlines()]


def test_hook_refusal_is_reported_by_agent_and_annotated(fleet: Fleet) -> None:
    fleet.policy(MAIN)
    hook(fleet)
    with fleet.agent():
        refused = fleet.control.enqueue(
            fleet.env("echo I ran", BUILDKITE_BRANCH="<b>feature</b>*x*`y`")
        )
        assert fleet.control.finished(refused) == ("-1", "", "agent_refused")
        admitted = fleet.control.enqueue(fleet.env("echo I ran"))
        assert fleet.control.finished(admitted) == ("0", "", "")
    assert b"I ran" not in refused.log
    (note,) = refused.annotations
    assert note["context"] == "airlock"
    assert note["style"] == "error"
    assert "expected branch main, got" in note["body"].replace("&#40;", "(")
    assert "<b>" not in note["body"]
    assert "`" not in note["body"]
    assert admitted.annotations == []


def test_script_refusal_without_hook_is_status_77_and_log_group(fleet: Fleet) -> None:
    fleet.policy(MAIN)
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env("echo I ran", BUILDKITE_BRANCH="feature"))
        assert fleet.control.finished(job) == ("77", "", "")
    assert b"+++ :no_entry: Airlock: Refused by policy" in job.log


def test_hook_refuses_loader_variables(fleet: Fleet) -> None:
    fleet.policy(MAIN)
    hook(fleet)
    sprung = fleet.base / "sprung"
    loader = {"LD_DEBUG": "libs", "LD_DEBUG_OUTPUT": str(sprung)}
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env("true", **loader))
        assert fleet.control.finished(job) == ("-1", "", "agent_refused")
    assert not list(fleet.base.glob("sprung*"))
    assert "LD_DEBUG" in job.annotations[0]["body"].replace("&#95;", "_")


def test_hook_that_cannot_decide_leaves_decision_to_script(fleet: Fleet) -> None:
    """A refusal by the hook cannot be retried; status 125 can."""
    hook(fleet)
    text = fleet.config.read_text().replace(str(fleet.records), "/dev/full")
    fleet.config.write_text(text)
    with fleet.agent():
        job = fleet.control.enqueue(fleet.env("true"))
        assert fleet.control.finished(job) == ("-1", "", "process_run_error")
    assert b"the audit record cannot be written" in job.log


@contextmanager
def observing(lab: Lab, base: Path, policy: str) -> Iterator[Fleet]:
    with fleet(lab, base / "fleet", policy=policy) as made:
        yield made


def test_observe_mode_runs_and_records_refused_job(lab: Lab, tmp_path: Path) -> None:
    settings = f'mode = "observe"\nobserve-role = "{OBSERVED}"'
    with observing(lab, tmp_path, settings) as made:
        made.policy(MAIN)
        with made.agent():
            job = made.control.enqueue(made.env("echo I ran", BUILDKITE_BRANCH="feature"))
            assert made.control.finished(job) == ("0", "", ""), job.log.decode()
        assert b"\nI ran" in job.log
        assert b"only observed: no rule of" in job.log
        assert [asked.role for asked in made.sts.asked] == [OBSERVED]
        denied = next(event for event in events(made) if event["event"] == "denied")
        assert denied["enforced"] is False
        assert denied["nearest"] == "main"


def test_observe_mode_without_role_grants_nothing(lab: Lab, tmp_path: Path) -> None:
    with observing(lab, tmp_path, 'mode = "observe"') as made:
        (made.base / "policies/storefront.yaml").write_text("pipelin: x\n")
        with made.agent():
            broken = made.control.enqueue(made.env("echo I ran"))
            assert made.control.finished(broken) == ("0", "", ""), broken.log.decode()
            (made.base / "policies/storefront.yaml").unlink()
            none = made.control.enqueue(made.env("echo I ran"))
            assert made.control.finished(none) == ("0", "", ""), none.log.decode()
        assert made.sts.asked == []


def test_observe_mode_refuses_job_of_enforced_pipeline(lab: Lab, tmp_path: Path) -> None:
    with observing(lab, tmp_path, 'mode = "observe"\nenforce = ["storefront"]') as made:
        made.policy(MAIN)
        with made.agent():
            job = made.control.enqueue(made.env("true", BUILDKITE_BRANCH="feature"))
            assert made.control.finished(job) == ("77", "", "")


SIGNED = 'identity = "signed"\nissuer = "CONTROL"'


def test_signed_identity_with_true_environment_is_admitted(lab: Lab, tmp_path: Path) -> None:
    with observing(lab, tmp_path, SIGNED) as made:
        made.policy(MAIN)
        with made.agent():
            job = made.control.enqueue(made.env("echo I ran"))
            assert made.control.finished(job) == ("0", "", ""), job.log.decode()


@pytest.mark.parametrize(
    ("claimed", "signed"),
    [
        ({"BUILDKITE_BRANCH": "main"}, {"build_branch": "feature"}),
        ({"BUILDKITE_PIPELINE_SLUG": "storefront"}, {"pipeline_slug": "mallory"}),
        ({"BUILDKITE_SOURCE": "ui"}, {"build_source": "webhook"}),
    ],
    ids=["branch", "pipeline", "source"],
)
def test_signed_identity_with_false_environment_is_refused(
    lab: Lab, tmp_path: Path, claimed: dict[str, str], signed: dict[str, str]
) -> None:
    with observing(lab, tmp_path, SIGNED) as made:
        made.policy(MAIN)
        with made.agent():
            job = made.control.enqueue(
                JobOrder(env=made.env("echo I ran", **claimed), claims=signed)
            )
            assert made.control.finished(job) == ("77", "", ""), job.log.decode()
        assert b"signed token says" in job.log
        assert made.sts.asked == []


def test_signed_identity_overrules_agent_tags_of_environment(lab: Lab, tmp_path: Path) -> None:
    """A step sets the variable of a tag that its agent lacks, which Buildkite does not override."""
    rules = f"  - {{name: prod, when: {{agent-tag: {{env: prod}}}}, allow: {{role: '{ROLE}'}}}}\n"
    with observing(lab, tmp_path, SIGNED) as made:
        made.policy(rules)
        env = made.env("echo I ran", BUILDKITE_AGENT_META_DATA_ENV="prod")
        with made.agent():
            forged = made.control.enqueue(JobOrder(env=env))
            assert made.control.finished(forged) == ("77", "", ""), forged.log.decode()
            honest = JobOrder(
                env={**env, "BUILDKITE_JOB_ID": str(uuid.uuid4())}, claims={"agent_tag:env": "prod"}
            )
            job = made.control.enqueue(honest)
            assert made.control.finished(job) == ("0", "", ""), job.log.decode()
        assert (
            b"BUILDKITE_AGENT_META_DATA_ENV is 'prod', but Buildkite's signed token" in forged.log
        )


def test_signed_identity_without_keys_starts_nothing(lab: Lab, tmp_path: Path) -> None:
    with observing(lab, tmp_path, 'identity = "signed"\nissuer = "http://10.77.0.2:1"') as made:
        made.policy(MAIN)
        with made.agent():
            job = made.control.enqueue(made.env("echo I ran"))
            assert made.control.finished(job, 120) == ("-1", "", "process_run_error")
        assert b"\nI ran" not in job.log
        assert made.sts.asked == []
