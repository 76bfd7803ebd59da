"""The audit trail: whole lines, no secrets, and no job without it."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bootstrap.admission import record_decision, record_job
from bootstrap.buildkite.redaction import without_secrets
from bootstrap.commands.admit import markdown
from bootstrap.errors import CannotStart, Refused
from bootstrap.job.model import Agent
from bootstrap.log import JobLog
from bootstrap.policy.decide import decide
from bootstrap.policy.model import Denied
from bootstrap.record import Record
from bootstrap.sandbox.builds.ending import Ended
from bootstrap.sandbox.egress.use import Names, Use
from bootstrap.sandbox.network.connections import Refusals
from bootstrap.secret import Secret
from tests.policy.given import claims, policy
from tests.test_appended import space

AGENT = Agent(values={}, token=Secret("bkaj_x"), own_token=True)
RULES = "  - {name: all, allow: {}}\n"
WHO: dict[str, Any] = {
    "organization": "acme",
    "pipeline": "storefront",
    "job": "j-1",
    "build": "42",
    "agent": "a",
}
POLICY = {"origin": "storefront.yaml", "sha256": "ab"}
SESSION: dict[str, Any] = {
    "role": "arn:aws:iam::111122223333:role/deploy", "session_name": "storefront-42-x",
    "source_identity": "j-1", "via": None, "subject": None, "tags": {"buildkite:rule": "deploy"},
    "assumed_role": "arn:aws:sts::111122223333:assumed-role/deploy/storefront-42-x",
    "expires": "2026-11-23T13:00:00Z",
}  # fmt: skip


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def filled(path: Path) -> Record:
    """Return a record of which every kind of event has been written, `session` twice."""
    record = Record(path, "2026-11-23T12:00:00Z")
    record.job(**WHO, env={"BUILDKITE_BRANCH": "main"})
    record.denied(problem="no", nearest=None, policy=POLICY, reasons=[], enforced=False)
    record.admitted(rule="deploy", policy=POLICY, reasons=[])
    record.session(**SESSION)
    record.session(**{**SESSION, "role": "arn:aws:iam::444455556666:role/audit"})
    record.secrets([{"kind": "secrets", "name": "TOKEN", "reference": "ssm:/ci/token"}])
    record.sandbox(image="sha256:ab")
    record.ssh_agent({"signed": 1})
    record.agent_api({"tokens": {}, "secrets": {}, "calls": {}, "refused": [], "refusals": 0})
    record.services({"db": {"ready": 1.5}})
    record.services_ended({"db": {"early": False}})
    record.builder_ended(asdict(Ended()))
    record.egress(Use(observe=False, names=Names(), targets={}).recorded())
    record.connections(asdict(Refusals()))
    record.failed(Refused("no", hint="x"))
    record.internal_error("the sandbox was not removed", ["Traceback", "KeyError: 1"])
    record.cancelled("SIGTERM")
    record.ended(status={"kind": "exit", "code": 3, "whose": "job"}, ended={"kind": "exited"})
    return record


KINDS = [
    "denied", "admitted", "session", "session", "secrets", "sandbox", "ssh_agent", "agent_api",
    "services", "services_ended", "builder_ended", "egress", "connections",
    "failed", "internal_error", "cancelled", "ended",
]  # fmt: skip


def test_every_event_has_its_schema_its_time_and_its_job(tmp_path: Path) -> None:
    path = tmp_path / "new" / "records.jsonl"
    filled(path)
    found = events(path)
    assert [event["event"] for event in found] == KINDS
    for event in found:
        assert event["schema"] == 3
        assert WHO.items() <= event.items()
        assert event["timestamp"]
    assert found[-1]["status"] == {"kind": "exit", "code": 3, "whose": "job"}


def test_a_jobs_record_has_all_its_events_in_order(tmp_path: Path) -> None:
    """A second session does not take the place of the first."""
    filled(tmp_path / "records.jsonl").save(tmp_path / "saved", 0)
    saved = json.loads((tmp_path / "saved/j-1.0.json").read_text())
    assert {**WHO, "schema": 3, "env": {"BUILDKITE_BRANCH": "main"}}.items() <= saved.items()
    assert [event["event"] for event in saved["events"]] == KINDS
    roles = [event["role"] for event in saved["events"] if event["event"] == "session"]
    assert roles == [SESSION["role"], "arn:aws:iam::444455556666:role/audit"]
    assert not {"job", "schema"} & saved["events"][0].keys(), "both are above, once"


def test_every_event_and_its_fields_are_in_the_documents_table(tmp_path: Path) -> None:
    page = (Path(__file__).parents[1] / "docs/audit.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|", page, re.MULTILINE))
    filled(tmp_path / "records.jsonl")
    always = {*WHO, "schema", "timestamp", "event"}
    for event in events(tmp_path / "records.jsonl"):
        documented = set(re.findall(r"`(\w+)`", rows[event["event"]]))
        if event["event"] not in {"sandbox", "ssh_agent"}:  # their callers choose the fields
            assert documented == event.keys() - always, event["event"]


def test_only_root_can_read_a_jobs_record(tmp_path: Path) -> None:
    record = Record(tmp_path / "records.jsonl", "now")
    record_job(claims(NPM_TOKEN="npm-secret", PLAIN="plain"), AGENT, record)
    record.save(tmp_path / "saved", 0)
    (saved,) = (tmp_path / "saved").iterdir()
    assert saved.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "records.jsonl").stat().st_mode & 0o777 == 0o600
    assert json.loads(saved.read_text())["env"]["PLAIN"] == "plain"
    assert "npm-secret" not in saved.read_text()


URL = "https://ci:s3cret@git.example.com/acme/storefront.git"
URLS = {
    "BUILDKITE_REPO": URL,
    "BUILDKITE_PULL_REQUEST_REPO": URL,
    "BUILDKITE_GIT_REMOTE_MIRROR_URL": URL,
    "BUILDKITE_PLUGINS": json.dumps([{f"{URL}#v1": {"from": URL}}]),
    "SUBMODULE": f"git submodule add {URL}",
}


def _saved_and_printed(directory: Path) -> str:
    """Return everything that this job makes Airlock write: log, annotation and records."""
    lines: list[bytes] = []
    directory.mkdir()
    record, log = Record(directory / "records.jsonl", "now"), JobLog(lines.append)
    made = claims(**URLS)
    record_job(made, AGENT, record)
    conditions = "{repository: 'https://github.com/x/y', plugin: y, env: {SUBMODULE: z}}"
    for rules in (RULES, f"  - {{name: r, when: {conditions}, allow: {{}}}}\n"):
        for repository in ("https://github.com/acme/else", URL):
            decision = decide(made, replace(policy(rules), repositories=(repository,)))
            record_decision(decision, record)
            if isinstance(decision, Denied):
                details = tuple(f"{r.subject}: got {r.got}" for r in decision.reasons)
                refused = Refused(decision.problem, hint=decision.hint, details=details)
                record.failed(refused)
                log.failure(refused)
                log.note(decision.problem)
                lines.append(markdown(refused).encode())
    record.save(directory / "saved", 0)
    files = [path.read_bytes() for path in directory.rglob("*") if path.is_file()]
    return b"".join(files + lines).decode()


def test_credentials_of_a_url_are_not_recorded_printed_or_annotated(tmp_path: Path) -> None:
    found = _saved_and_printed(tmp_path / "masked")
    assert "git.example.com/acme/storefront.git" in found, "the URLs are there"
    assert "s3cret" not in found


def test_without_the_mask_they_are_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("text", "record", "policy.decide", "buildkite.redaction"):
        monkeypatch.setattr(f"bootstrap.{module}.without_credentials", lambda text: text)
    assert _saved_and_printed(tmp_path / "unmasked").count("s3cret") > 20


def test_a_process_without_a_job_saves_no_record(tmp_path: Path) -> None:
    Record(tmp_path / "records.jsonl", "now").save(tmp_path / "saved", 0)
    assert not (tmp_path / "saved").exists()


def test_lines_of_many_jobs_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"

    def one(number: int) -> None:
        record = Record(path, "now")
        record.job(**WHO, env={})
        for _ in range(20):
            record.sandbox(number=number, padding=str(number) * 30_000)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(8)))
    found = events(path)
    assert len(found) == 160
    assert all(event["padding"] == str(event["number"]) * 30_000 for event in found)


@pytest.mark.parametrize("path", ["/dev/full", "/proc/nowhere/records.jsonl"])
def test_a_job_that_cannot_be_recorded_does_not_start(path: str) -> None:
    with pytest.raises(CannotStart, match="the audit record cannot be written"):
        Record(Path(path), "now").admitted(rule="deploy", policy=POLICY, reasons=[])


def test_events_of_a_job_that_has_begun_wait_for_space_and_keep_their_time(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    lines: list[str] = []
    record = Record(path, "now")
    record.job(**WHO, env={})
    record.sandbox(image="sha256:ab")
    record.began(lines.append)
    with space(path, 10):
        record.session(**SESSION)
        record.session(**{**SESSION, "role": "arn:aws:iam::444455556666:role/audit"})
        assert record.unwritten() == 2
    assert len(lines) == 1
    assert "the audit record cannot be written" in lines[0]
    before = datetime.now(UTC).isoformat()
    record.ended(status={"kind": "exit"}, ended={"kind": "exited"})
    assert record.unwritten() == 0
    found = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    assert [event["event"] for event in found] == ["sandbox", "session", "session", "ended"]
    assert found[1]["timestamp"] < found[2]["timestamp"] < before < found[3]["timestamp"]
    with space(path, 0):
        record.ssh_agent({"signed": 1})
    assert len(lines) == 2, "it is full again"


def test_before_the_job_an_event_that_was_refused_is_not_written_later(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    record = Record(path, "now")
    with space(path, 0), pytest.raises(CannotStart, match="File too large"):
        record.sandbox(image="sha256:ab")
    record.cancelled("SIGTERM")
    assert [event["event"] for event in events(path)] == ["cancelled"]


def test_a_value_that_is_not_utf_8_is_kept(tmp_path: Path) -> None:
    record = Record(tmp_path / "records.jsonl", "now")
    record.job(**WHO, env={"MESSAGE": "\udcff and €"})
    record.save(tmp_path / "saved", 0)
    saved = (tmp_path / "saved/j-1.0.json").read_bytes()
    assert json.loads(saved)["env"]["MESSAGE"] == "\udcff and €"
    assert "€".encode() in saved


def test_variables_on_the_agents_own_list_are_secret() -> None:
    env = {"MY_PASSWORD": "a", "SSH_KEY": "b", "NPM_TOKEN": "c", "BRANCH": "d"}
    assert without_secrets(env, {}) == {
        "MY_PASSWORD": None, "SSH_KEY": "b", "NPM_TOKEN": None, "BRANCH": "d",
    }  # fmt: skip
    more = {"BUILDKITE_REDACTED_VARS": "BRANCH,SSH*"}
    assert set(without_secrets(env, more).values()) == {None}
