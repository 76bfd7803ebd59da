"""`airlock policy explain` of records and of described builds, and `test` of wrong folders."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootstrap.commands.policy.explain import explain
from bootstrap.commands.policy.test import test as run_cases
from bootstrap.errors import AirlockError
from bootstrap.policy.builds import BuildNode
from bootstrap.record import Record
from tests.commands.test_lint import linted
from tests.commands.test_policy import ROLE, policy
from tests.job.given import job_env
from tests.policy.given import HEAD

ECR = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"


def explained(folder: Path, *, job: Path | None = None, **given: Any) -> tuple[int, str]:
    """Return the exit status and what is printed."""
    pipeline = given.pop("pipeline", None)
    lines: list[str] = []
    status = explain(
        job=job, pipeline=pipeline, given={k.replace("_", "-"): v for k, v in given.items()},
        directory=folder, config_path=folder, as_json=False, output=lines.append,
    )  # fmt: skip
    return status, "\n".join(lines)


def record_of(tmp_path: Path, env: dict[str, str | None], *reasons: dict[str, Any]) -> Path:
    """Write a job's record as `Record` does, with a decision."""
    record = Record(tmp_path / "records.jsonl", "now")
    record.job(
        organization="acme", pipeline="storefront", job="j", build="1", agent="a", env=env
    )  # fmt: skip
    record.admitted(rule="deploy", policy={}, reasons=reasons)
    record.save(tmp_path / "records", 0)
    return tmp_path / "records/j.0.json"


def test_a_build_is_described_by_options(folder: Path) -> None:
    done = policy("explain", "--policies", folder, "--pipeline", "storefront")
    assert done.returncode == 0
    assert f"admitted by rule 'deploy' of {folder}/storefront.yaml, with {ROLE}" in done.stdout
    other = policy("explain", "--policies", folder, "--pipeline", "storefront", "--branch", "dev")
    assert other.returncode == 77
    assert "nearest is 'deploy': expected branch main, got dev" in other.stdout


@pytest.mark.parametrize(("allow", "gets"), [
    (f"roles: {{audit: '{ROLE}'}}, secrets: {{A: 'ssm:/ci/a'}}, ssh-keys: 'ssm:/ci/key', "
     "agent-api: {oidc-audiences: a, secrets: KEY}, builds: buildkit, services: {d: {image: a/b}}",
     f"no role, role {ROLE}, ssh-key ssm:/ci/key, secret ssm:/ci/a, secret buildkite:KEY, "
     "OIDC audience a, image builds by buildkit, service d of image a/b, agent API by a gateway"),
    (f"role: '{ROLE}', secret-files: {{default: 'ssm:/ci/f'}}, image: 'ci/build:1', "
     f"registries: {{{ECR}: role}}, egress: {{hosts: a.example}}",
     f"{ROLE}, secret ssm:/ci/f, image ci/build:1, ECR login {ECR}, egress to hosts: a.example"),
])  # fmt: skip
def test_everything_that_is_granted_is_named(folder: Path, allow: str, gets: str) -> None:
    (folder / "storefront.yaml").write_text(HEAD + f"  - {{name: r, allow: {{{allow}}}}}\n")
    status, shown = explained(folder, pipeline="storefront")
    assert (status, shown.endswith(f", with {gets}")) == (0, True), shown


def test_each_fact_has_its_grade(folder: Path) -> None:
    (folder / "storefront.yaml").write_text(
        HEAD + "  - {name: r, allow: {}, when: {branch: main, step: s, command: c, env: {X: a}}}\n"
    )
    given: dict[str, Any] = {"step": "s", "command": "c", "env": {"X": "a"}}
    _, shown = explained(folder, pipeline="storefront", **given)
    assert "got main (vouched, from the job's environment)" in shown
    assert "got s (claimed, from the job's environment)" in shown
    assert "got c (verified, from the job's environment)" in shown
    assert "got a value that matches (claimed, from the job's environment)" in shown
    _, signed = explained(folder, pipeline="storefront", signed="yes", **given)
    assert "got s (signed by Buildkite)" in signed


def test_every_fact_can_be_described(folder: Path) -> None:
    (folder / "storefront.yaml").write_text(
        HEAD + "  - {name: r, allow: {}, when: {branch: b, source: api, step: s, queue: q, "
        "command: c, creator: Ada, creator-team: [t], plugin: 'docker#v5', commit: abc, "
        "agent-tag: {size: large}, env: {MODE: live}, commit-on-branch: verified}}\n"
    )
    done = policy(
        "explain", "--policies", folder, "--pipeline", "storefront", "--branch", "b",
        "--source", "api", "--step", "s", "--queue", "q", "--command", "c", "--creator", "Ada",
        "--creator-team", "u", "--creator-team", "t", "--plugin", "docker#v5", "--commit", "abc",
        "--agent-tag", "size=large", "--env", "MODE=live", "--commit-on-branch", "verified",
    )  # fmt: skip
    assert "NO " not in done.stdout
    assert "admitted by rule 'r'" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "problem"),
    [
        ((), 78, "there is no job: expected a file, or --pipeline"),
        (("--pipeline", "storefront", "--source", "webhok"), 78, "got 'webhok'"),
        (("--pipeline", ".."), 77, "which cannot name a directory"),
        (("--pipeline", "storefront", "--env", "A"), 2, "expected NAME=VALUE, got 'A'"),
        (("JOB", "--branch", "main"), 78, "--branch describes a build"),
    ],
)
def test_a_wrong_question_is_an_error(
    folder: Path, tmp_path: Path, arguments: tuple[str, ...], status: int, problem: str
) -> None:
    job = tmp_path / "job.json"
    job.write_text(json.dumps(job_env()))
    named = (str(job) if argument == "JOB" else argument for argument in arguments)
    done = policy("explain", "--policies", folder, *named)
    assert done.returncode == status
    assert problem in done.stderr


def test_the_record_of_a_job_is_explained(folder: Path, tmp_path: Path) -> None:
    path = record_of(tmp_path, {**job_env(BUILDKITE_BRANCH="dev"), "TOKEN": None})
    status, shown = explained(folder, job=path)
    assert status == 77
    assert "expected branch main, got dev" in shown


def test_what_the_host_found_out_about_a_recorded_job_counts(folder: Path, tmp_path: Path) -> None:
    (folder / "storefront.yaml").write_text(
        HEAD + "  - {name: r, when: {commit-on-branch: verified, env: {TOKEN: '*'}}, allow: {}}\n"
    )
    found = {"subject": "commit-on-branch", "got": "verified", "provenance": "host"}
    signed = {"subject": "branch", "got": "main", "provenance": "signed"}
    path = record_of(tmp_path, {**job_env(), "TOKEN": None}, found, signed)
    status, shown = explained(folder, job=path)
    assert status == 77
    assert "yes  commit-on-branch expected verified, got verified (checked by this host)" in shown
    assert "(signed by Buildkite)" not in shown.partition("tag")[0], "no rule asks for the branch"
    assert "TOKEN is a secret, which records do not hold: decided as if not set" in shown


COMMITS = HEAD + (
    "  - {name: checked, when: {branch: main, commit-on-branch: verified}, allow: {}}\n"
)


def test_a_decision_that_depends_on_the_commit_has_every_answer(folder: Path) -> None:
    (folder / "storefront.yaml").write_text(COMMITS)
    status, shown = explained(folder, pipeline="storefront")
    assert status == 77
    assert "if the check of the commit says verified: admitted by rule 'checked'" in shown
    assert "if the check of the commit says elsewhere: refused" in shown
    assert "--commit-on-branch states its answer" in shown
    assert explained(folder, pipeline="storefront", commit_on_branch="verified")[0] == 0
    (folder / "storefront.yaml").write_text(COMMITS + "  - {name: all, allow: {}}\n")
    assert explained(folder, pipeline="storefront")[0] == 0, "every answer admits it"


@pytest.mark.parametrize("state", ["link", "writable", "directory"])
@pytest.mark.parametrize("name", ["storefront.yaml", "guardrails.yaml"])
def test_a_file_that_a_host_refuses_ends_explain_and_every_case(
    folder: Path, state: str, name: str
) -> None:
    path = folder / name
    text = "guardrails: acme\n" if name == "guardrails.yaml" else path.read_text()
    path.unlink(missing_ok=True)
    if state == "directory":
        path.mkdir()
    else:
        path.write_text(text)
        path.chmod(0o664 if state == "writable" else 0o644)
    if state == "link":
        path.symlink_to(path.rename(folder / "real"))
    done = policy("explain", "--policies", folder, "--pipeline", "storefront")
    assert (done.returncode, done.stdout) == (78, "")
    assert str(path) in done.stderr
    (folder / "storefront.test.yaml").write_text(
        "pipeline: storefront\ncases: [{name: x, given: {branch: y}, expect: refused}]\n"
    )
    cases = policy("test", folder)
    assert cases.returncode == 1
    assert "a host ends every job of storefront with 78" in cases.stdout


def ran(folder: Path, **options: Any) -> tuple[int, str]:
    lines: list[str] = []
    settings = {"junit": None, "min_coverage": 0.0, **options}
    return run_cases(directory=folder, as_json=False, output=lines.append, **settings), "\n".join(
        lines
    )


def test_no_case_at_all_is_an_error(folder: Path) -> None:
    with pytest.raises(AirlockError, match="holds no cases, so nothing was tested"):
        ran(folder)


def test_cases_of_a_misspelt_pipeline_are_an_error(folder: Path) -> None:
    """Each of them could expect a refusal, and would pass."""
    cases = folder / "storefront.test.yaml"
    cases.write_text("pipeline: storefrnt\ncases: [{name: x, expect: refused}]\n")
    status, shown = ran(folder)
    assert status == 1
    meant = 'there is no policy of a pipeline "storefrnt"; did you mean "storefront"?'
    assert f"{cases}:1: {meant}" in shown
    assert "1 case, 1 failed" in shown


def test_too_few_rules_with_a_case_fail(folder: Path) -> None:
    (folder / "storefront.test.yaml").write_text(
        "pipeline: storefront\ncases: [{name: x, expect: {rule: deploy}}]\n"
    )
    text = (folder / "storefront.yaml").read_text()
    (folder / "storefront.yaml").write_text(text + "  - {name: rest, allow: {}}\n")
    assert ran(folder, min_coverage=50.0)[0] == 0
    status, shown = ran(folder, min_coverage=80.0)
    assert status == 1
    assert "1 of 2 rules with a case, 50 %" in shown
    assert f"    {folder}/storefront.yaml:5: rest" in shown
    assert policy("test", folder, "--min-coverage", "101").returncode == 2


EVENTS = st.recursive(st.none() | st.text(max_size=5), st.lists, max_leaves=4)
RECORDS = EVENTS.map(lambda events: json.dumps({"env": job_env(), "events": events}).encode())
JUNK = st.sampled_from([b'{"env": {}}', b'{"env": {"A": 1}}', b"{", b"A=1"])


@settings(max_examples=60)
@given(content=st.binary(max_size=60) | JUNK | RECORDS)
def test_whatever_a_job_file_holds_there_is_an_answer(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    directory = tmp_path_factory.getbasetemp()
    path = directory / "junk.json"
    path.write_bytes(content)
    store = directory / "junk-policies"
    store.mkdir(exist_ok=True)
    (store / "storefront.yaml").write_text(HEAD + "  - {name: all, allow: {}}\n")
    try:
        assert explained(store, job=path)[0] in {0, 77}
    except AirlockError as refused:
        assert refused.exit_code in {77, 78}


FILES = st.dictionaries(
    st.sampled_from(["storefront.yaml", "storefront.test.yaml", "guardrails.yaml", "x.yml", "y"]),
    st.binary(max_size=40)
    | st.sampled_from(
        [
            HEAD.encode() + b"  - {name: a, allow: {}}\n",
            b"pipeline: storefront\ncases: [{name: x, expect: {rule: a}}]\n",
            b"guardrails: acme\n",
            b"pipeline: storefront\ncases: [{name: x, expect: {rule: []}}]\n",
        ]
    ),
)


@settings(max_examples=80)
@given(files=FILES)
def test_whatever_a_directory_holds_lint_test_and_explain_have_an_answer(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    store = tmp_path_factory.mktemp("junk")
    for name, content in files.items():
        (store / name).write_bytes(content)
    for ask in (linted, ran, lambda folder: explained(folder, pipeline="storefront")):
        try:
            assert ask(store)[0] in {0, 1, 77}
        except AirlockError as wrong:
            assert wrong.exit_code == 78


@given(given=st.dictionaries(
    st.sampled_from([name.replace("_", "-") for name in BuildNode.model_fields]),
    st.text(max_size=4) | st.just("\udcff") | st.lists(st.text(max_size=3), max_size=2)
    | st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
    max_size=3,
))  # fmt: skip
@settings(max_examples=60)
def test_whatever_is_described_there_is_an_answer(
    tmp_path_factory: pytest.TempPathFactory, given: dict[str, Any]
) -> None:
    store = tmp_path_factory.getbasetemp() / "described"
    store.mkdir(exist_ok=True)
    (store / "storefront.yaml").write_text(HEAD + "  - {name: all, allow: {}}\n")
    try:
        assert explained(store, pipeline="storefront", **given)[0] in {0, 77}
    except AirlockError as wrong:
        assert wrong.exit_code in {77, 78}
        assert "Input" not in " ".join((wrong.problem, *wrong.details))


def test_a_secret_that_guardrails_ask_about_is_named(folder: Path, tmp_path: Path) -> None:
    (folder / "guardrails.yaml").write_text(
        f"guardrails: acme\nrequires: {{roles: '{ROLE}', env: {{TOKEN: '*'}}}}\n"
    )
    path = record_of(tmp_path, {**job_env(), "TOKEN": None})
    _, shown = explained(folder, job=path)
    assert "TOKEN is a secret, which records do not hold: decided as if not set" in shown
