"""A refusal for lack of disk names what uses it: sizes, places, and what they are."""

from pathlib import Path

import pytest

from bootstrap.errors import CannotStart
from bootstrap.host import consumers, storage
from bootstrap.host.config import Host, Paths, Sandbox, Storage


def host(base: Path) -> Host:
    limits = {"floor": 0, "floor_inodes": 0, "min_free": 1 << 62, "min_free_inodes": 0}
    return Host(
        sandbox=Sandbox(image="job:1"),
        paths=Paths(
            runtime=base / "runtime", state=base / "state", records=base / "log/records.jsonl"
        ),
        storage=Storage().model_copy(update=limits),
    )


def fill(path: Path, mebibytes: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * (mebibytes << 20))


def test_three_largest_consumers_are_named_with_their_sizes(tmp_path: Path) -> None:
    fill(tmp_path / "state/records/r", 20)
    fill(tmp_path / "state/fresh/t/f", 30)
    fill(tmp_path / "state/ancestry/a/f", 1)
    fill(tmp_path / "log/records.jsonl", 40)
    lines = consumers.largest(host(tmp_path))
    assert len(lines) == consumers.SHOWN
    # Docker's directory may be on the same disk, and is larger than these then.
    ours = [line for line in lines if "docker" not in line]
    assert ours[0] == f"40.0 MiB in {tmp_path}/log: the audit trail's directory"
    assert ours[1] == f"30.0 MiB in {tmp_path}/state/fresh: fresh workspaces of running jobs"


def test_refusal_tells_got_expected_consumers_and_what_to_do(tmp_path: Path) -> None:
    fill(tmp_path / "state/fresh/t/f", 30)
    with pytest.raises(CannotStart) as refused:
        storage.require(host(tmp_path), note=lambda _: None)
    assert "MiB are free, expected 4398046511104 MiB or more" in refused.value.problem
    assert any(f"30.0 MiB in {tmp_path}/state/fresh" in line for line in refused.value.details)
    for command in ("airlock gc", "docker system prune", "storage.min-free"):
        assert command in refused.value.hint
