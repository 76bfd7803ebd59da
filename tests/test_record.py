"""The audit trail: whole lines, no secrets, and no job without it."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from bootstrap.buildkite.redaction import without_secrets
from bootstrap.commands.admit import markdown
from bootstrap.errors import CannotStart, Refused
from bootstrap.log import JobLog
from bootstrap.policy.decide import decide
from bootstrap.policy.model import Denied
from bootstrap.record import Record
from bootstrap.sandbox.exitstatus import ExitWith
from bootstrap.sandbox.model import Exited
from tests.policy.given import job, policy

RULES = "  - {name: all, allow: {}}\n"


def events(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_event_says_whose_it_is(tmp_path: Path) -> None:
    path = tmp_path / "new" / "records.jsonl"
    record = Record(path, "2026-11-23T12:00:00Z")
    record.job(job())
    record.decided(decide(job(), policy(RULES)))
    record.decided(decide(job(), None))
    record.failed(Refused("no", hint="x"))
    record.cancelled("SIGTERM")
    record.ended(status=ExitWith(code=3, whose="job"), ended=Exited(code=3, out_of_memory=False))
    found = events(path)
    assert [event["event"] for event in found] == [
        "admitted", "denied", "failed", "cancelled", "end",
    ]  # fmt: skip
    for event in found:
        assert (event["organization"], event["pipeline"]) == ("acme", "storefront")
        assert event["timestamp"]
    assert found[4]["status"] == {"kind": "ExitWith", "code": 3, "whose": "job"}


def test_only_root_reads_what_is_kept(tmp_path: Path) -> None:
    record = Record(tmp_path / "records.jsonl", "now")
    record.job(job(NPM_TOKEN="npm-secret", PLAIN="plain"))
    record.keep(tmp_path / "kept")
    (kept,) = (tmp_path / "kept").iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "records.jsonl").stat().st_mode & 0o777 == 0o600
    assert json.loads(kept.read_text())["env"]["PLAIN"] == "plain"
    assert "npm-secret" not in kept.read_text()


URL = "https://ci:s3cret@git.example.com/acme/storefront.git"
URLS = {
    "BUILDKITE_REPO": URL,
    "BUILDKITE_PULL_REQUEST_REPO": URL,
    "BUILDKITE_GIT_REMOTE_MIRROR_URL": URL,
    "BUILDKITE_PLUGINS": json.dumps([{f"{URL}#v1": {"from": URL}}]),
    "SUBMODULE": f"git submodule add {URL}",
}


def _kept(directory: Path) -> str:
    """Say whatever this job makes Airlock say, to the log, the annotation and the records."""
    lines: list[bytes] = []
    directory.mkdir()
    record, log = Record(directory / "records.jsonl", "now"), JobLog(lines.append)
    made = job(**URLS)
    record.job(made)
    conditions = "{repository: 'https://github.com/x/y', plugin: y, env: {SUBMODULE: z}}"
    for rules in (RULES, f"  - {{name: r, when: {conditions}, allow: {{}}}}\n"):
        for repository in ("https://github.com/acme/else", URL):
            decision = decide(made, replace(policy(rules), repositories=(repository,)))
            record.decided(decision)
            if isinstance(decision, Denied):
                details = tuple(f"{r.subject}: got {r.got}" for r in decision.reasons)
                refused = Refused(decision.problem, hint=decision.hint, details=details)
                record.failed(refused)
                log.failure(refused)
                log.note(decision.problem)
                lines.append(markdown(refused).encode())
    record.keep(directory / "kept")
    files = [path.read_bytes() for path in directory.rglob("*") if path.is_file()]
    return b"".join(files + lines).decode()


def test_no_credentials_of_a_url_are_kept_printed_or_annotated(tmp_path: Path) -> None:
    found = _kept(tmp_path / "masked")
    assert "git.example.com/acme/storefront.git" in found, "the URLs are there"
    assert "s3cret" not in found


def test_without_the_mask_they_are_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("text", "record", "policy.decide"):
        monkeypatch.setattr(f"bootstrap.{module}.without_credentials", lambda text: text)
    assert _kept(tmp_path / "unmasked").count("s3cret") > 20


def test_a_process_without_a_job_keeps_nothing(tmp_path: Path) -> None:
    Record(tmp_path / "records.jsonl", "now").keep(tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_lines_of_many_jobs_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"

    def one(number: int) -> None:
        record = Record(path, "now")
        record.job(job())
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
        Record(Path(path), "now").decided(decide(job(), None))


def test_the_agents_own_list_says_what_is_secret() -> None:
    env = {"MY_PASSWORD": "a", "SSH_KEY": "b", "NPM_TOKEN": "c", "BRANCH": "d"}
    assert without_secrets(env, {}) == {
        "MY_PASSWORD": None, "SSH_KEY": "b", "NPM_TOKEN": None, "BRANCH": "d",
    }  # fmt: skip
    more = {"BUILDKITE_REDACTED_VARS": "BRANCH,SSH*"}
    assert set(without_secrets(env, more).values()) == {None}
