"""`airlock policy draft`, from records of jobs as this and earlier versions wrote them."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootstrap.admission import record_job
from bootstrap.commands.policy.draft import draft
from bootstrap.record import Record
from tests.job.given import job_env
from tests.policy.given import claims
from tests.test_record import AGENT, POLICY, WHO


def record_of(schema: int, env: dict[str, str | None]) -> dict[str, Any]:
    """Return a job's record as this or the earlier version wrote it."""
    denied: dict[str, Any] = {"problem": "no", "nearest": None, "reasons": [], "enforced": False}
    whole = {"version": "0.1.0", "started": "2026-11-23T12:00:00Z", **WHO, "env": env}
    if schema == 1:
        return {**whole, "denied": denied, "room": {"laps": {}}, "end": {}}
    return {"schema": schema, **whole, "events": [{"event": "denied", **denied}]}


@pytest.mark.parametrize("schema", [1, 2, 3])
def test_policies_are_drafted_from_records_of_either_schema(tmp_path: Path, schema: int) -> None:
    (tmp_path / "saved").mkdir()
    document = record_of(schema, {**job_env(), "NPM_TOKEN": None})
    (tmp_path / "saved/j-1.0.json").write_text(json.dumps(document))
    saved, drafted = tmp_path / "saved", tmp_path / "policies"
    assert draft(records=saved, directory=drafted, config_path=tmp_path, output=print) == 0
    made = yaml.safe_load((tmp_path / "policies/storefront.yaml").read_text())
    assert made["pipeline"] == "storefront"
    assert made["repository"] == ["git@github.com:acme/storefront.git"]


def test_a_policy_is_drafted_from_a_saved_record(tmp_path: Path) -> None:
    record = Record(tmp_path / "records.jsonl", "now")
    record_job(claims(), AGENT, record)
    record.denied(problem="no", nearest=None, policy=POLICY, reasons=[], enforced=False)
    record.save(tmp_path / "saved", 0)
    saved, drafted = tmp_path / "saved", tmp_path / "policies"
    assert draft(records=saved, directory=drafted, config_path=tmp_path, output=print) == 0
    assert (tmp_path / "policies/storefront.yaml").exists()


@pytest.mark.parametrize(
    ("lists", "expected", "note"),
    [
        ({"hosts": ["a.example"], "cidrs": [], "private": []}, {"hosts": ["a.example"]}, ""),
        ({"hosts": [], "cidrs": [], "private": []}, "none", ""),
        ({"hosts": ["***"]}, None, "what its job reached is no list for a policy (1 mistake)"),
        (None, None, ""),
    ],
)
def test_a_draft_lists_what_the_record_says_was_reached(
    tmp_path: Path, lists: object, expected: object, note: str
) -> None:
    saved, drafted = tmp_path / "saved", tmp_path / "policies"
    saved.mkdir()
    record = record_of(3, {**job_env()})
    record["events"] += [{"event": "sandbox"}, {"event": "egress", "mode": "observe"}]
    if lists is not None:
        record["events"][-1]["proposed"] = lists
    (saved / "j-1.0.json").write_text(json.dumps(record))
    printed: list[str] = []
    assert draft(records=saved, directory=drafted, config_path=tmp_path, output=printed.append) == 0
    (rule,) = yaml.safe_load((drafted / "storefront.yaml").read_text())["rules"]
    assert rule["allow"].get("egress") == expected
    assert note in "\n".join(printed)


def test_a_record_that_is_not_whole_is_passed_over_with_a_note(tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    document = json.dumps(record_of(2, {**job_env()}))
    (tmp_path / "saved/j-1.0.json").write_text(document)
    (tmp_path / "saved/j-2.json").write_text(document[:200])
    printed: list[str] = []
    saved, drafted = tmp_path / "saved", tmp_path / "policies"
    assert draft(records=saved, directory=drafted, config_path=tmp_path, output=printed.append) == 0
    assert [line for line in printed if "j-2.json was passed over" in line]
    assert (tmp_path / "policies/storefront.yaml").exists()
