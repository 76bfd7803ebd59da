"""`airlock record`: the records of a host are listed, and one of them is exported."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from bootstrap.commands.record.export import export
from bootstrap.commands.record.list import list_records
from bootstrap.errors import WrongConfiguration
from bootstrap.record import Record
from tests.job.given import JOB_ID, job_env
from tests.test_cli import airlock, configured

OTHER = JOB_ID.replace("0193", "0194")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return the configuration of a host that has kept two records."""
    path = configured(tmp_path)
    for number, job in enumerate((JOB_ID, OTHER)):
        record = Record(tmp_path / "records.jsonl", f"2026-11-26T0{number}:00:00Z")
        record.job(organization="acme", pipeline="storefront", job=job, build="42", agent="a",
                   env={**job_env(BUILDKITE_JOB_ID=job), "NPM_TOKEN": None,
                        "NOTE": "password=Pl4nted"})  # fmt: skip
        record.admitted(rule="deploy", policy={}, reasons=[])
        status = {"kind": "exit", "code": number, "whose": "job"}
        record.ended(status=status, ended={"kind": "exited"})
        record.save(tmp_path / "state/records", 0)
        os.utime(tmp_path / f"state/records/{job}.0.json", (number, number))
    return path


def exported(config: Path, named: str, path: Path | None = None) -> list[str]:
    lines: list[str] = []
    assert export(named=named, config_path=config, path=path, output=lines.append) == 0
    return lines


def listed(config: Path, **options: Any) -> list[str]:
    lines: list[str] = []
    known = {"limit": 20, "as_json": False, **options}
    assert list_records(config_path=config, output=lines.append, **known) == 0
    return lines


def test_a_record_is_exported_by_the_jobs_id_and_by_its_file(config: Path, tmp_path: Path) -> None:
    (text,) = exported(config, JOB_ID)
    document = json.loads(text)
    assert document["job"] == JOB_ID
    assert document["env"]["NOTE"] == "password=***"
    assert document["masked"] == ["NOTE"]
    assert "Pl4nted" not in text
    assert exported(config, str(tmp_path / f"state/records/{JOB_ID}.0.json")) == [text]


def test_a_file_is_written_for_its_owner_alone(config: Path, tmp_path: Path) -> None:
    target = tmp_path / "for-ada.json"
    (line,) = exported(config, JOB_ID, target)
    assert line.startswith(
        f"wrote {target}. It has no value that is secret by its name, and masked"
    )
    assert target.stat().st_mode & 0o777 == 0o600
    assert json.loads(target.read_text())["exported"] is True
    with pytest.raises(WrongConfiguration, match="cannot be written"):
        exported(config, JOB_ID, tmp_path / "none/x.json")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "is no record that can be exported"),
        (b"[1]", "is not a JSON object"),
        (b'{"a": "b"}', "it has no `env`"),
        (b'{"env": {}, "schema": 99}', "its schema is 99"),
        (b"", "is empty"),
    ],
)
def test_what_is_no_record_is_an_error(
    config: Path, tmp_path: Path, content: bytes, problem: str
) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(WrongConfiguration, match=problem):
        exported(config, str(path))


def test_a_job_without_a_record_or_with_several_is_an_error(config: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongConfiguration, match="has 0 records of a job nothing"):
        exported(config, "nothing")
    place = tmp_path / "state/records"
    (place / f"{JOB_ID}.2001.json").write_text("{}")
    with pytest.raises(WrongConfiguration, match="has 2 records") as raised:
        exported(config, JOB_ID)
    assert raised.value.details == tuple(
        sorted((str(place / f"{JOB_ID}.{uid}.json") for uid in (0, 2001)), reverse=True)
    )


def test_a_host_without_records_differs_from_one_whose_records_are_roots(
    config: Path, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "state/records")
    with pytest.raises(WrongConfiguration, match="No such file") as raised:
        exported(config, "nothing")
    assert "No job has run on this host yet" in raised.value.hint


def test_the_newest_records_are_listed_first(config: Path, tmp_path: Path) -> None:
    (tmp_path / "state/records/broken.json").write_text("{")
    broken, first, second = listed(config)
    assert "cannot be read" in broken
    assert first.split() == ["2026-11-26T01:00:00Z", "storefront", "#42", OTHER, "exit", "1"]
    assert JOB_ID in second
    assert len(listed(config, limit=1)) == 1
    entries = json.loads("".join(listed(config, as_json=True)))
    assert [entry["job"] for entry in entries] == ["", OTHER, JOB_ID]
    assert entries[2]["file"] == str(tmp_path / f"state/records/{JOB_ID}.0.json")


def test_the_commands_are_on_the_command_line(config: Path, tmp_path: Path) -> None:
    done = airlock("record", "export", JOB_ID, "--config", str(config))
    assert (done.returncode, json.loads(done.stdout)["job"]) == (0, JOB_ID)
    done = airlock("record", "export", str(tmp_path), "--config", str(config))
    assert done.returncode == 78
    assert done.stderr.splitlines()[0] == f"airlock: {tmp_path} is a directory, expected a file"
    done = airlock("record", "list", "--limit", "0", "--config", str(config))
    assert done.returncode == 2
    assert airlock("record", "list", "--config", str(config)).stdout.count("storefront #42") == 2
