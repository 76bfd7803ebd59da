"""On a nearly full disk the job that has written most since it began is marked, and no other."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from bootstrap.sandbox.supervision import eviction
from bootstrap.sandbox.supervision.eviction import SOCKETS, UNREAD, excess

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to see open files")

BIG, SMALL = b"x" * (3 << 20), b"x" * (1 << 20)
UNUSED_UID = 4_000_000
UID = 0x7000_0000  # of a builder


def job(base: Path, name: str, *, since: float, uid: int = UNUSED_UID + 1, **more: object) -> Path:
    """Describe a running job and return its workspace."""
    workspace = base / "state" / name
    workspace.mkdir(parents=True)
    lease = base / "runtime/jobs" / name
    lease.mkdir(parents=True)
    facts = {"uid": uid, "workspace": str(workspace), "since": since, **more}
    (lease / "writes.json").write_text(json.dumps(facts))
    return workspace


def marked(base: Path) -> list[str]:
    eviction.mark_largest(
        base / "runtime", base / "state", "5 MiB are free, expected 9 MiB or more"
    )
    return sorted(path.parent.name for path in base.glob("runtime/jobs/*/evicted"))


def test_job_that_has_written_most_is_marked_with_reason(tmp_path: Path) -> None:
    began = time.time() - 1
    (job(tmp_path, "small", since=began) / "f").write_bytes(SMALL)
    (job(tmp_path, "big", since=began) / "f").write_bytes(BIG)
    assert marked(tmp_path) == ["big"]
    why = (tmp_path / "runtime/jobs/big/evicted").read_text()
    assert "5 MiB are free, expected 9 MiB or more" in why
    assert "has written most: 3 MiB" in why


def test_files_from_before_the_job_do_not_count(tmp_path: Path) -> None:
    """A large checkout that a job reuses is not what fills the disk, whatever its dates say."""
    (job(tmp_path, "reused", since=time.time() + 3600) / "f").write_bytes(BIG)
    forged = job(tmp_path, "forged", since=time.time() - 1) / "f"
    forged.write_bytes(SMALL)
    os.utime(forged, (0, 0))
    assert marked(tmp_path) == ["forged"]


def test_deleted_file_counts_for_the_job_that_has_it_open(tmp_path: Path) -> None:
    began = time.time() - 1
    (job(tmp_path, "named", since=began, uid=UNUSED_UID) / "f").write_bytes(SMALL)
    hidden = job(tmp_path, "hidden", since=began, uid=os.geteuid()) / "f"
    with hidden.open("wb") as file:
        file.write(BIG)
        file.flush()
        hidden.unlink()
        assert marked(tmp_path) == ["hidden"]


# What root of a builder's user namespace does in a step: it writes to an overlay, and deletes it.
STEP = """
set -e
mkdir lower upper work merged
mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged
exec 3>merged/f
head -c $1 /dev/zero >&3
rm merged/f
exec setpriv --reuid=$2 --clear-groups sh -c 'echo written; read line'
"""


@pytest.mark.parametrize(("builder", "largest"), [([UID, UID + 1], "builds"), (None, "named")])
def test_deleted_file_of_a_step_counts_for_the_job_that_builds(
    tmp_path: Path, builder: list[int] | None, largest: str
) -> None:
    began = time.time() - 1
    (job(tmp_path, "named", since=began) / "f").write_bytes(SMALL)
    cache = job(tmp_path, "builds", since=began, builder=builder)
    command = ["unshare", "--mount", "sh", "-c", STEP, "sh", str(len(BIG)), str(UID)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=cache, stdin=pipe, stdout=pipe) as process:
        assert process.stdout
        assert process.stdout.readline() == b"written\n"
        assert marked(tmp_path) == [largest]
        process.kill()


def test_process_whose_name_is_not_text_does_not_stop_the_measurement(tmp_path: Path) -> None:
    """Any process of the host: one such name would have ended the watch of every job, for good."""
    (job(tmp_path, "big", since=time.time() - 1) / "f").write_bytes(BIG)
    rename = r"printf '\377\376' >/proc/$$/comm; echo renamed; read line"
    pipe = subprocess.PIPE
    with subprocess.Popen(["sh", "-c", rename], stdin=pipe, stdout=pipe) as process:
        assert process.stdout
        assert process.stdout.readline() == b"renamed\n"
        assert marked(tmp_path) == ["big"]
        process.kill()


def test_second_job_is_marked_only_after_settle_time(tmp_path: Path) -> None:
    began = time.time() - 1
    (job(tmp_path, "small", since=began) / "f").write_bytes(SMALL)
    (job(tmp_path, "big", since=began) / "f").write_bytes(BIG)
    assert marked(tmp_path) == ["big"]
    assert marked(tmp_path) == ["big"]
    lock = tmp_path / "runtime/eviction.lock"
    os.utime(lock, (began - eviction.SETTLE, began - eviction.SETTLE))
    assert marked(tmp_path) == ["big", "small"]


def test_job_that_has_not_begun_is_not_marked(tmp_path: Path) -> None:
    (tmp_path / "runtime/jobs/opening").mkdir(parents=True)
    (tmp_path / "state").mkdir()
    assert marked(tmp_path) == []


@pytest.mark.parametrize(
    ("sockets", "unread", "found"),
    [
        (0, 0, ""),
        (SOCKETS, 0, ""),
        (SOCKETS + 1, 0, f"more than {SOCKETS} netlink sockets"),
        (2, UNREAD // 2, ""),
        (2, UNREAD // 2 + 1, "64 MiB of messages that it does not read"),
    ],
)
def test_netlink_sockets_and_their_messages_have_a_limit(
    sockets: int, unread: int, found: str
) -> None:
    heading = "sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode\n"
    why = excess([heading, *[f"0 0 7 00000000 {unread} 0 0 2 0 9\n"] * sockets])
    assert found in why
    assert bool(found) == bool(why)
