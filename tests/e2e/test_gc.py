"""`airlock gc` finds what dead jobs left in every place, prints it, and touches nothing else."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.lab import AIRLOCK, GATE, STORAGE, Fleet, Lab, fleet, open_gate
from tests.lab.leftovers import leftovers

pytestmark = pytest.mark.lab

RUNTIME = Path("/run/airlock")
DAY = 86400
SMALL = (
    'workspaces-size = "1MiB"\nrecords = 1\ntrail-file = "1MiB"\ntrail-size = "2MiB"\n'
    'image-age = "30d"\n'
)


def gc(made: Fleet, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [*AIRLOCK, "gc", "--config", str(made.config), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def docker(made: Fleet, *arguments: str) -> str:
    command = ["docker", "-H", made.lab.docker, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def create_container(made: Fleet, token: str) -> None:
    """Leave a container as the engine does if its creators are killed: created, without a lease."""
    labels = ("--label", f"airlock.job={token}", "--name", f"airlock-{token}")
    docker(made, "create", *labels, "--network", "airlock", made.lab.image, "true")


@pytest.fixture
def used(lab: Lab, tmp_path: Path) -> Iterator[Fleet]:
    """Yield a fleet that has run a job, so that everything of the host exists."""
    with fleet(lab, tmp_path / "fleet", storage=STORAGE + SMALL) as made:
        with made.agent():
            job = made.control.enqueue(made.env("echo done"))
            assert made.control.finished(job) == ("0", "", ""), job.log.decode()
        yield made


def leave_dead_job(made: Fleet, token: str) -> Path:
    """Leave a job directory without a holder, with the records and directories that jobs have."""
    directory = RUNTIME / "jobs" / token
    for name in ("agent/socket", "agent/root", "sandbox/ssh"):
        (directory / name).mkdir(parents=True)
    address = {"token": token, "address": "100.64.0.9", "port": 4, "pid": 2**22 + 1, "namespace": 1}
    (directory / "address").write_text(json.dumps(address))
    (made.base / "state/fresh" / token / "builds").mkdir(parents=True)
    return directory


def old(path: Path, days: float) -> Path:
    then = time.time() - days * DAY
    os.utime(path, (then, then))
    return path


def leave_everything(made: Fleet) -> dict[str, Path]:
    """Leave one thing for every part of gc; return the paths by what their lines say."""
    state = made.base / "state"
    kept = state / "workspaces/0123"
    (kept / "builds").mkdir(parents=True)
    (kept / "builds/large").write_bytes(os.urandom(2 << 20))
    history = state / "ancestry/4567"
    history.mkdir(parents=True)
    orphan = state / "fresh/orphan"
    orphan.mkdir(parents=True)
    discarded = state / "trash/w.0123"
    discarded.mkdir(parents=True)
    record = state / "records/old.json"
    record.write_text("{}")
    trail = made.records.with_name("records-20240101T000000Z.jsonl")
    trail.write_text("{}\n")
    cached = RUNTIME / "policies/0123"
    cached.parent.mkdir(exist_ok=True)
    cached.write_text("{}")
    image = state / "images" / ("0" * 64)
    image.parent.mkdir(exist_ok=True)
    image.write_text("{}")
    create_container(made, "no-lease")
    return {
        "clear dead job dead": leave_dead_job(made, "dead"),
        "remove container airlock-no-lease": image.parent,
        f"remove fresh workspace {orphan}": orphan,
        f"remove workspace {kept}": old(kept, 3),
        f"remove history {history}": old(history, 31),
        f"remove record {record}": old(record, 91),
        f"remove the audit trail's file {trail}": old(trail, 401),
        f"remove cached answer or lock {cached}": old(cached, 1),
        f"remove record {image}": old(image, 31),
        "delete ": discarded,
    }


def snapshot(made: Fleet) -> list[object]:
    """Return names, times of change, and inodes of all files, and what the engine has."""
    roots = (RUNTIME, made.base / "state", made.records.parent)
    files = sorted(path for root in roots for path in (root, *root.rglob("*")))
    facts = [(str(p), (s := p.lstat()).st_mtime_ns, s.st_ctime_ns, s.st_ino) for p in files]
    ruleset = subprocess.run(
        ["nft", "--stateless", "--terse", "list", "ruleset"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    kinds = (("ps", "-aq"), ("images", "-aq"), ("network", "ls", "-q"))
    engine = [sorted(docker(made, *kind).split()) for kind in kinds]
    return [facts, engine, ruleset]


def test_dry_run_prints_what_gc_does_then_and_changes_nothing(used: Fleet) -> None:
    left = leave_everything(used)
    before = snapshot(used)
    dry = gc(used, "--dry-run")
    assert snapshot(used) == before
    assert (dry.returncode, dry.stderr) == (0, "")
    for what in left:
        assert f"\nwould {what}" in f"\n{dry.stdout}", dry.stdout
    assert "2.0 MiB): beyond the budget of 1.0 MiB for all workspaces" in dry.stdout
    done = gc(used)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    past = {"clear": "cleared", "remove": "removed", "delete": "deleted"}
    for what, path in left.items():
        verb, _, rest = what.partition(" ")
        assert f"\n{past[verb]} {rest}" in f"\n{done.stdout}", done.stdout
        assert path.name == "images" or not path.exists(), path
    assert leftovers(used) == []
    again = gc(used, "--dry-run")
    assert again.stdout == "0 changes would be made\n"


def test_created_container_without_lease_is_removed_also_later_than_at_boot(used: Fleet) -> None:
    """Jobs look for them once per boot only; by then the file `swept` is there."""
    assert (RUNTIME / "swept").exists()
    create_container(used, "killed")
    with used.agent():
        job = used.control.enqueue(used.env("echo next"))
        assert used.control.finished(job) == ("0", "", ""), job.log.decode()
    assert docker(used, "ps", "-aq", "--filter", "label=airlock.job") != ""
    done = gc(used)
    assert "removed container airlock-killed: no job has a lease\n" in done.stdout
    assert docker(used, "ps", "-aq", "--filter", "label=airlock.job") == ""


def test_fresh_workspace_is_removed_after_a_reboot(used: Fleet) -> None:
    """A reboot empties the memory with the leases, and leaves the disk."""
    directory = leave_dead_job(used, "before")
    subprocess.run(["rm", "-rf", str(directory)], check=True)
    (RUNTIME / "swept").unlink()
    done = gc(used)
    assert f"removed fresh workspace {used.base}/state/fresh/before" in done.stdout
    assert leftovers(used) == []


def test_running_job_loses_nothing_to_gc_and_counts_as_used(used: Fleet) -> None:
    with used.agent():
        job = used.control.enqueue(used.env(f"head -c 3M /dev/urandom >f; echo in; {GATE}; ls f"))
        used.control.wait(job, lambda j: b"\nin\n" in j.log.replace(b"\r", b""))
        done = gc(used)
        assert done.returncode == 0
        assert "workspace" not in done.stdout
        assert "dead job" not in done.stdout
        open_gate(job)
        assert used.control.finished(job) == ("0", "", ""), job.log.decode()


@contextmanager
def blocked(path: Path) -> Iterator[None]:
    """Make a path one that not even root can remove."""
    subprocess.run(["mount", "--bind", str(path), str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


def test_part_that_fails_keeps_no_other_from_being_done(used: Fleet) -> None:
    left = leave_everything(used)
    text = used.config.read_text()
    used.config.write_text(text.replace(used.lab.docker, "unix:///run/airlock-lab/nothing"))
    orphan = used.base / "state/fresh/orphan"
    with blocked(orphan):
        done = gc(used)
    assert done.returncode == 125
    assert "could not look for containers without a job: Docker Engine does not" in done.stdout
    assert "  what to do: Is docker.service running" in done.stdout
    assert f"could not remove fresh workspace {orphan}: {orphan}" in done.stdout
    assert "could not clear dead job dead" in done.stdout
    assert "5 failures: see above" in done.stdout or "4 failures: see above" in done.stdout
    assert f"removed workspace {used.base}/state/workspaces/0123" in done.stdout
    for what in ("workspace", "history", "record", "the audit trail"):
        assert f"removed {what}" in done.stdout
    used.config.write_text(text)
    assert gc(used).returncode == 0
    assert not any(path.exists() for what, path in left.items() if "no-lease" not in what)


def test_dry_run_on_a_host_without_any_job_creates_nothing(lab: Lab, tmp_path: Path) -> None:
    with fleet(lab, tmp_path / "fleet") as made:
        done = gc(made, "--dry-run")
        assert done.stdout.endswith("changes would be made\n")
        assert not (made.base / "state").exists()
