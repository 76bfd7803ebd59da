"""`airlock why`: whether a job would be admitted now, and what changed since its record."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.admission import record_decision, record_job
from bootstrap.commands.policy.hosted import host_of
from bootstrap.commands.why import why
from bootstrap.errors import AirlockError
from bootstrap.job.assemble import claims_of
from bootstrap.job.model import Agent
from bootstrap.policy import since
from bootstrap.policy.decide import decide
from bootstrap.policy.stores.choose import Now
from bootstrap.record import Record
from bootstrap.replay.model import InputOptions
from bootstrap.secret import Secret
from tests.commands.test_policy import ROLE
from tests.job.given import JOB_ID, job_env
from tests.policy.given import HEAD
from tests.test_cli import airlock

AGENT = Agent(values={}, token=Secret("bkaj_x"), own_token=True)


def recorded(folder: Path, **env: str) -> Path:
    """Decide about a job as a host with these policies does, and return its record."""
    of = claims_of(job_env(**env), process_env={})
    record = Record(folder.parent / "records.jsonl", "2026-11-25T10:00:00Z")
    record_job(of, AGENT, record)
    host = host_of(folder, folder)
    documents = Now(host).documents(of.pipeline)
    record_decision(decide(of, documents.policy, documents.guardrails), record)
    record.save(folder.parent / "records", 0)
    return folder.parent / f"records/{JOB_ID}.0.json"


def asked(folder: Path, source: object, **options: Any) -> tuple[int, str]:
    lines: list[str] = []
    commit, as_json = options.pop("commit", None), options.pop("as_json", False)
    status = why(
        source=str(source), options=InputOptions(**options), commit_on_branch=commit, env={},
        directory=folder, config_path=folder, as_json=as_json, output=lines.append,
    )  # fmt: skip
    return status, "\n".join(lines)


def test_nothing_changed(folder: Path) -> None:
    status, shown = asked(folder, recorded(folder))
    assert status == 0
    assert shown.startswith("since 2026-11-25T10:00:00Z: nothing changed\n")
    assert f"admitted by rule 'deploy' of {folder}/storefront.yaml, with {ROLE}" in shown


def test_a_job_that_would_be_refused_now(folder: Path) -> None:
    path = recorded(folder)
    (folder / "storefront.yaml").write_text(
        HEAD + "  - {name: deploy, when: {branch: release}, allow: {}}\n"
    )
    status, shown = asked(folder, path)
    assert status == 77
    for line in (
        "  outcome: admitted -> refused",
        "  rule: deploy -> nothing",
        f"  grant role: {ROLE} -> nothing",
        "  fact branch of rule 'deploy': expected main, got main (vouched): holds -> expected "
        "release, got main (vouched): does not hold",
    ):
        assert line in shown.splitlines()
    assert "  document sha256: " in shown
    assert "document origin" not in shown
    granted = [line.split()[1] for line in shown.splitlines() if line.startswith("  grant ")]
    assert granted == ["role:"], "no setting that every grant has"
    assert "refused: no rule of" in shown


def test_machine_that_is_no_host_needs_a_directory(folder: Path) -> None:
    job, none = str(recorded(folder)), folder.parent / "none"
    for arguments, says, to_do in (
        (("why", job, "--config", str(none)), f"{none} does not exist", "Name a directory of"),
        (("why", job, str(none)), f"the policies in {none} cannot be read", "Name a directory of"),
        (
            ("record", "list", "--config", str(none)),
            f"{none} does not exist",
            "Run this on the host",
        ),
    ):
        done = airlock(*arguments)
        assert done.returncode == 78
        problem, hint = done.stderr.splitlines()
        assert problem.startswith(f"airlock: {says}")
        assert hint.startswith(to_do)


def test_a_grant_that_changed_is_named_by_its_key(folder: Path) -> None:
    path = recorded(folder)
    policy = folder / "storefront.yaml"
    policy.write_text(policy.read_text().replace("ci/deploy", "ci/other"))
    status, shown = asked(folder, path)
    assert status == 0
    assert f"  grant role: {ROLE} -> {ROLE.replace('deploy', 'other')}" in shown
    assert "fact" not in shown
    _, text = asked(folder, path, as_json=True)
    document = json.loads(text)
    assert document["admitted"] is True
    assert document["then"] == {
        "started": "2026-11-25T10:00:00Z", "version": document["version"], "admitted": True,
    }  # fmt: skip
    assert [(c["what"], c["of"]) for c in document["changes"]] == [
        ("document", "sha256"), ("grant", "role"),
    ]  # fmt: skip


def test_a_refused_job_that_would_be_admitted_now(folder: Path) -> None:
    path = recorded(folder, BUILDKITE_BRANCH="dev")
    (folder / "storefront.yaml").write_text(HEAD + "  - {name: all, allow: {}}\n")
    status, shown = asked(folder, path)
    assert status == 0
    assert "  outcome: refused -> admitted" in shown
    assert "  rule: nothing -> all" in shown


def test_an_older_record_has_the_roles_it_received(folder: Path) -> None:
    path = recorded(folder)
    document = json.loads(path.read_text())
    document["schema"] = 2
    del document["events"][0]["grant"]
    document["events"] += [{"event": "session", "role": "arn:x"}, {"event": "sandbox"}]
    path.write_text(json.dumps(document))
    assert f"  grant roles: arn:x -> {ROLE}" in asked(folder, path)[1]


def test_what_is_no_record_is_decided_and_not_compared(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "job-env"
    path.write_text(json.dumps(job_env()))
    status, shown = asked(folder, path)
    assert status == 0
    assert shown.startswith(f"{path}: it is no record, so that nothing is compared")
    given_branch = asked(folder, path, given={"BUILDKITE_BRANCH": "dev"})
    assert given_branch[0] == 77
    assert json.loads(asked(folder, path, as_json=True)[1])["changes"] is None


def test_a_step_is_decided_about_with_what_is_assumed(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yml"
    path.write_text("steps: [{key: deploy, command: make}]")
    with pytest.raises(AirlockError, match="does not have BUILDKITE_REPO"):
        asked(folder, path, step="deploy")
    env = {name: job_env()[f"BUILDKITE_{name}"] for name in (
        "REPO", "COMMIT", "BRANCH", "ORGANIZATION_SLUG", "PIPELINE_SLUG")}  # fmt: skip
    known = {f"BUILDKITE_{name}": value for name, value in env.items()}
    status, shown = asked(folder, path, step="deploy", given=known)
    assert status == 0
    assert "variables assumed: BUILDKITE, BUILDKITE_AGENT_NAME" in shown


def test_what_only_a_host_finds_out_can_be_stated(folder: Path) -> None:
    (folder / "storefront.yaml").write_text(
        HEAD + "  - {name: r, when: {commit-on-branch: verified}, allow: {}}\n"
    )
    path = recorded(folder)
    assert asked(folder, path)[0] == 77
    assert asked(folder, path, commit="verified")[0] == 0


def test_a_secret_that_a_condition_asks_about_is_named(folder: Path) -> None:
    (folder / "storefront.yaml").write_text(
        HEAD + "  - {name: r, when: {env: {X_TOKEN: '*'}, command: '*'}, allow: {}}\n"
    )
    path = recorded(folder, X_TOKEN="secret-value", BUILDKITE_COMMAND="x secret-value")
    status, shown = asked(folder, path)
    assert status == 77
    assert "X_TOKEN is a secret, which records do not hold: decided as if not set" in shown
    assert "BUILDKITE_COMMAND is a secret, which records do not hold: decided as it is masked" in (
        shown
    )


@pytest.mark.parametrize("content", [b"", b"{", b"\0\1", b'{"schema": 99, "env": {}}'])
def test_a_wrong_input_ends_with_78_and_one_sentence(
    folder: Path, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    done = airlock("why", str(path), str(folder))
    assert done.returncode == 78
    assert done.stderr.startswith(f"airlock: {path} ")
    assert done.stdout == ""
    done = airlock("why", str(path), str(folder), "--format", "json")
    assert json.loads(done.stderr)["error"]["exit"] == 78


def test_a_named_pipe_is_not_waited_for(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert airlock("why", str(tmp_path / "pipe"), str(folder)).returncode == 78


def test_the_exit_status_is_that_of_explain(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "env.json"
    for branch, status in (("main", 0), ("dev", 77)):
        path.write_text(json.dumps(job_env(BUILDKITE_BRANCH=branch)))
        assert airlock("why", str(path), str(folder)).returncode == status
        explained = airlock("policy", "explain", str(path), "--policies", str(folder))
        assert explained.returncode == status


REASON = st.fixed_dictionaries(
    {}, optional={name: st.text(max_size=3) | st.none() | st.booleans()
                  for name in ("rule", "subject", "expected", "got", "holds", "grade")}
)  # fmt: skip
EVENT = st.fixed_dictionaries(
    {"event": st.sampled_from(["admitted", "denied"])},
    optional={
        "rule": st.text(max_size=3) | st.none(), "policy": st.dictionaries(st.text(), st.text()),
        "reasons": st.lists(REASON | st.none(), max_size=3) | st.none(),
        "grant": st.dictionaries(st.text(max_size=3), st.text(max_size=3)) | st.integers(),
    },
)  # fmt: skip


@given(EVENT)
def test_no_recorded_decision_is_a_surprise(event: dict[str, Any]) -> None:
    now = decide(claims_of(job_env(), process_env={}), None, None)
    for change in since.changes(event, None, now):
        assert change.then != change.now
        assert change.what in {"outcome", "rule", "document", "grant", "fact"}
