"""`airlock policy simulate`: jobs that were really admitted or refused, decided again."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootstrap import admission
from bootstrap.commands.policy.simulate import simulate
from bootstrap.errors import AirlockError, WrongConfiguration
from bootstrap.job.assemble import agent_of, claims_of
from bootstrap.log import JobLog
from bootstrap.record import Record
from tests.commands.generated import JOB, RAILS, RULES, host_with, stored
from tests.commands.test_policy import policy
from tests.commands.test_same_as_admission import admitted
from tests.job.given import job_env, process_env
from tests.policy.given import HEAD
from tests.policy.samples import OTHER, ROLE


def record(store: Path, env: dict[str, str], number: int = 0) -> None:
    """Decide about a job as a host of this store does, and keep its record beside the store."""
    job = f"0193a1b2-c3d4-7e5f-8a9b-{number:012}"
    given_env = job_env(**env, BUILDKITE_JOB_ID=job)
    kept = Record(store.parent / "records.jsonl", "now")
    try:
        claims = claims_of(given_env, {})
        agent = agent_of(job_env(), process_env())
        admission.admit(claims, agent, host_with(store), kept, JobLog(lambda _: None))
    except AirlockError:
        pass
    kept.save(store.parent / "records", 0)


def simulated(
    store: Path, *, against: Path | None = None, records: Path | None = None
) -> tuple[int, Any]:
    lines: list[str] = []
    status = simulate(
        directory=store, records=records or store.parent / "records", against=against,
        config_path=Path("absent"), as_json=True, output=lines.append,
    )  # fmt: skip
    return status, json.loads("\n".join(lines))


def rules(*listed: str) -> str:
    return HEAD + "".join(f"  - {{{text}}}\n" for text in listed)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Three jobs of main, two of dev, and a pull request, decided by this policy."""
    path = tmp_path / "policies"
    path.mkdir(mode=0o755)
    (path / "storefront.yaml").write_text(
        rules("name: deploy, when: {branch: main}, allow: {}", "name: rest, allow: {}")
    )
    for number, branch in enumerate(["main", "main", "main", "dev", "dev"]):
        record(path, {"BUILDKITE_BRANCH": branch}, number)
    record(path, {"BUILDKITE_PULL_REQUEST": "7"}, 9)
    return path


def proposed(store: Path, *listed: str) -> Path:
    path = store.parent / "proposed"
    path.mkdir(mode=0o755, exist_ok=True)
    (path / "storefront.yaml").write_text(rules(*listed))
    return path


def changes(document: Any) -> list[tuple[str, int, str]]:
    return [
        (change["kind"], change["jobs"], change["text"])
        for pipeline in document["pipelines"]
        for change in pipeline["changes"]
    ]


def test_the_same_policies_change_nothing(store: Path) -> None:
    status, document = simulated(store)
    assert (status, document["jobs"], document["unchanged"]) == (0, 6, 6)


def test_newly_refused_and_newly_admitted_jobs_are_counted(store: Path) -> None:
    new = proposed(store, "name: deploy, when: {branch: main, pull-request: any}, allow: {}")
    status, document = simulated(new)
    assert status == 1
    assert changes(document) == [
        ("newly refused", 2, "was 'rest'; no rule of " + str(new / "storefront.yaml")
         + " admits this job; nearest is 'deploy': expected branch main, got dev"),
        ("newly admitted", 1, "by 'deploy'"),
    ]  # fmt: skip
    assert document["changes"]["newly refused"] == 2
    first = document["pipelines"][0]["changes"][0]
    assert (first["build"], first["job"][-1]) == ("42", "3")


def test_another_rule_is_a_change(store: Path) -> None:
    status, document = simulated(proposed(store, "name: all, allow: {}"))
    assert status == 1
    assert ("another rule", 3, "'deploy' -> 'all'") in changes(document)


def test_grants_are_compared_with_those_of_other_policies(store: Path) -> None:
    new = proposed(
        store, f"name: deploy, when: {{branch: main}}, allow: {{role: '{ROLE}', image: x}}",
        "name: rest, allow: {}",
    )  # fmt: skip
    status, document = simulated(new, against=store)
    assert status == 1
    ((kind, jobs, text),) = changes(document)
    assert (kind, jobs) == ("another grant", 3)
    assert f"role: none -> {ROLE}" in text
    assert "image: none -> x" in text
    assert simulated(store, against=store)[0] == 0


def test_what_a_job_received_is_compared_with_what_it_would_receive(store: Path) -> None:
    path = min((store.parent / "records").iterdir())
    document = json.loads(path.read_text())
    document["events"] += [
        {"event": "session", "role": OTHER},
        {"event": "secrets", "purpose": "commit-on-branch", "secrets": [{"reference": "ssm:/x"}]},
        {"event": "secrets", "purpose": "job", "secrets": [{"reference": "ssm:/a"}]},
        {"event": "sandbox"},
    ]
    path.write_text(json.dumps(document))
    status, found = simulated(store)
    assert status == 1
    assert changes(found) == [
        ("another grant", 1, f"all roles: {OTHER} -> none; all secrets: ssm:/a -> none")
    ]


def test_documents_that_a_host_refuses_refuse_every_job(store: Path) -> None:
    (store / "storefront.yaml").chmod(0o666)
    status, document = simulated(store)
    assert status == 1
    assert {(kind, jobs) for kind, jobs, _ in changes(document)} == {
        ("newly refused", 3), ("newly refused", 2),
    }  # fmt: skip
    assert all("a host ends every job with 78" in text for _, _, text in changes(document))


def test_what_no_record_holds_is_undecided(store: Path) -> None:
    new = proposed(store, "name: deploy, when: {commit-on-branch: verified}, allow: {}")
    _, document = simulated(new)
    assert document["changes"]["undecided"] == 5, "the pull request is refused all the same"
    path = min((store.parent / "records").iterdir())
    one = json.loads(path.read_text())
    one["env"]["TOKEN"] = None
    path.write_text(json.dumps(one))
    new = proposed(store, "name: deploy, when: {env: {TOKEN: absent}}, allow: {}")
    assert simulated(new)[1]["changes"]["undecided"] == 1


def test_what_the_host_found_out_is_not_asked_again(store: Path) -> None:
    for path in (store.parent / "records").iterdir():
        one = json.loads(path.read_text())
        reason = {"subject": "commit-on-branch", "got": "verified", "provenance": "host"}
        one["events"][-1]["reasons"].append(reason)
        path.write_text(json.dumps(one))
    new = proposed(store, "name: deploy, when: {commit-on-branch: verified}, allow: {}")
    assert simulated(new)[1]["changes"]["undecided"] == 0


def test_a_job_that_its_documents_ended_counts_as_refused(store: Path) -> None:
    path = min((store.parent / "records").iterdir())
    one = json.loads(path.read_text())
    for status, kind in ((78, "newly admitted"), (125, "undecided")):
        failed = {"event": "failed", "exit_code": status, "problem": "x has 1 mistake"}
        path.write_text(json.dumps({**one, "events": [failed]}))
        assert simulated(store)[1]["changes"][kind] == 1
    later = {"event": "failed", "exit_code": 78, "problem": "the session is wrong"}
    path.write_text(json.dumps({**one, "events": [*one["events"], later]}))
    assert simulated(store)[0] == 0, "the policy had admitted the job"


def test_text_is_a_summary_and_a_part_for_each_pipeline(store: Path) -> None:
    new = proposed(store, "name: deploy, when: {branch: main}, allow: {}")
    (store.parent / "records/junk.json").write_text("{")
    trail = {"event": "denied", "job": "another"}
    (store.parent / "records/records.jsonl").write_text(json.dumps(trail) + "\n[]\n{\n")
    done = policy("simulate", new, "--records", store.parent / "records")
    assert done.returncode == 1
    assert (
        "storefront: 2 jobs of other outcome\n    newly refused, 2 jobs: was 'rest'" in done.stdout
    )
    assert f"passed over: {store.parent}/records/junk.json: " in done.stdout
    assert "1 jobs in records.jsonl have no record, and were not replayed" in done.stdout
    assert "6 jobs, 4 unchanged: 2 newly refused, 0 newly admitted" in done.stdout
    as_json = policy("simulate", new, "--records", store.parent / "records", "--format", "json")
    assert json.loads(as_json.stdout)["without-record"] == 1


def test_no_record_at_all_is_an_error(store: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(WrongConfiguration, match="holds no record of a job"):
        simulated(store, records=tmp_path / "none")
    with pytest.raises(WrongConfiguration, match="cannot be read: No such file"):
        simulated(store, records=tmp_path / "absent")


def test_output_is_bounded(store: Path) -> None:
    records = store.parent / "records"
    one = json.loads(min(records.iterdir()).read_text())
    for number in range(60):
        for pipeline in range(0, number, 20):
            slug = f"p{pipeline}-{number}"
            one["env"] |= {"BUILDKITE_PIPELINE_SLUG": slug, "BUILDKITE_JOB_ID": slug}
            (records / f"{slug}.json").write_text(json.dumps(one))
    done = policy("simulate", store, "--records", records)
    assert done.stdout.count("\n") < 200
    assert "and 67 more pipelines" in done.stdout


@settings(max_examples=25)
@given(
    old=RULES, new=RULES, rails=st.none() | RAILS, env=JOB
)  # fmt: skip
def test_a_recorded_job_is_decided_as_admission_would_now(
    old: list[tuple[dict[str, Any], dict[str, Any]]],
    new: list[tuple[dict[str, Any], dict[str, Any]]],
    rails: dict[str, Any] | None,
    env: dict[str, str],
) -> None:
    env = {**env, "BUILDKITE_PIPELINE_SLUG": "storefront"}
    with stored(old, rails, ("", "")) as before, stored(new, rails, ("", "")) as after:
        record(before, env)
        document = json.loads(next((before.parent / "records").iterdir()).read_text())
        was = next((e.get("rule") for e in document["events"] if e["event"] == "admitted"), None)
        now = admitted(host_with(after), job_env(**env)).rule
        expected = {
            (False, False): "", (True, False): "newly refused", (False, True): "newly admitted",
            (True, True): "" if was == now else "another rule",
        }[was is not None, now is not None]  # fmt: skip
        _, found = simulated(after, records=before.parent / "records")
        assert [kind for kind, _, _ in changes(found)] == ([expected] if expected else [])
        assert simulated(before)[0] == 0


@given(content=st.recursive(
    st.none() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["env", "events", "event", "reasons", "got"]), inner),
    max_leaves=8,
))  # fmt: skip
@settings(max_examples=50)
def test_any_record_is_replayed_or_passed_over(
    tmp_path_factory: pytest.TempPathFactory, content: Any
) -> None:
    directory = tmp_path_factory.mktemp("junk")
    (directory / "a.json").write_text(json.dumps(content))
    events = content if isinstance(content, list) else [content]
    (directory / "b.json").write_text(json.dumps({"env": job_env(), "events": events}))
    (directory / "store").mkdir(mode=0o755)
    status, document = simulated(directory / "store", records=directory)
    assert status in {0, 1}
    assert document["jobs"] == 1
    assert len(document["passed-over"]) == 1


def test_whether_facts_were_signed_is_undecided_if_no_condition_was_about_one(store: Path) -> None:
    record(store, {})
    new = proposed(store, f"name: deploy, when: {{source: ui}}, allow: {{role: '{ROLE}'}}")
    for path in (store.parent / "records").glob("*.json"):
        one = json.loads(path.read_text())
        for event in one["events"]:
            reasons = event.get("reasons", [])
            event["reasons"] = [r for r in reasons if r["subject"] in ("creator-team", "tag")]
        path.write_text(json.dumps(one))
    (new / "guardrails.yaml").write_text(
        f"guardrails: acme\nrequires: {{roles: '{ROLE}', signed: 'yes'}}\n"
    )
    status, document = simulated(new, records=store.parent / "records")
    assert (status, [kind for kind, _, _ in changes(document)]) == (1, ["undecided"])
