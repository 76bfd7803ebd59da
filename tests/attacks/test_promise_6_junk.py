"""Promises 2 and 6: junk in a reused workspace harms neither the next job nor the host's own tools.

Root changes the owner of the tree (chown), measures it (find), and deletes it (rm). A job leaves
what it likes there: here everything at once, and a trap that would show where a program of the
junk has run on the host.
"""

import fcntl
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from bootstrap.host.trash import remove_tree
from bootstrap.sandbox.supervision.eviction import _in_tree
from tests.attacks.attacker import run
from tests.attacks.neighbours import DONE, agents, numbers, start_job
from tests.fakes.control_plane import Job
from tests.lab.lab import AIRLOCK, Lab, fleet

pytestmark = pytest.mark.lab

MANY = 50_000  # files; a million takes minutes to make, and the same code to remove
PLANT = """
set +e
id -u
target="{canary}"
git config core.fsmonitor "touch {sprung}/fsmonitor; false"
git config core.hooksPath "$PWD/.evil"
git config core.sshCommand "touch {sprung}/ssh; false"
mkdir -p .evil
for hook in post-checkout pre-commit post-merge post-index-change reference-transaction; do
  printf '#!/bin/sh\\ntouch {sprung}/%s || true\\n' $hook >.evil/$hook
  cp .evil/$hook .git/hooks/; chmod +x .evil/$hook .git/hooks/$hook
done
cp .git/config .gitmodules 2>/dev/null
python3 - "$target" <<'PY'
import os, stat, sys
target = sys.argv[1]
os.chdir(os.environ["BUILDKITE_BUILD_PATH"]); os.mkdir("junk"); os.chdir("junk")
names = ["link", "-rf", "--reference=x", "a\\nb", "\\x1b[2J", "\\udcff", "x" * 255, "*", "$(id)"]
for name in names: os.symlink(target, name)
os.symlink(os.path.dirname(target), "directory")
os.symlink("/", "root"); os.symlink("loop", "loop"); os.symlink("/proc/self/fd/0", "descriptor")
for name in ("fifo", "fifo\\n2"): os.mkfifo(name)
import socket
bound = socket.socket(socket.AF_UNIX); bound.bind("socket")
for mode in (0o4755, 0o2755, 0o6777, 0o1777, 0o000):
    with open(f"mode-{{mode:o}}", "w") as f: f.write("#!/bin/sh\\nid -u\\n")
    os.chmod(f"mode-{{mode:o}}", mode)
os.makedirs("closed/inside"); os.chmod("closed", 0o000)
with open("sparse", "wb") as f: f.truncate(1 << 42)
open("hard", "w").close()
for n in range(100): os.link("hard", f"hard-{{n}}")
os.makedirs("many")
for n in range({many}): os.mknod(f"many/{{n}}")
deep = os.getcwd()
for n in range(4096): os.mkdir("d"); os.chdir("d")
PY
cp $(command -v id) $BUILDKITE_BUILD_PATH/setuid-id; chmod 6755 $BUILDKITE_BUILD_PATH/setuid-id
rm -rf $BUILDKITE_BUILD_PATH/gone; ln -s /etc $BUILDKITE_BUILD_PATH/gone
echo done planting
"""
# What the next job of the rule gets: a clean checkout, whatever was planted, and no privilege.
NEXT = """
id -u
echo setuid gives: $($BUILDKITE_BUILD_PATH/setuid-id -u)
echo honest work: $(cat README.md)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Planted:
    """A workspace full of junk, after another job of the rule, with another uid, has used it."""

    tree: Path
    canary: Path
    before: os.stat_result
    sprung: Path
    next: Job
    uid: int
    first: int
    config: Path


@pytest.fixture(scope="module")
def planted(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    base = tmp_path_factory.mktemp("junk")
    with TemporaryDirectory() as shown, fleet(lab, base / "fleet") as made:
        sprung, canary = Path(shown), Path(shown, "canary")
        canary.write_text("of the host\n")
        before = canary.stat()
        sprung.chmod(0o1777)
        with agents(made, "agent-1"):
            script = PLANT.format(canary=canary, sprung=sprung, many=MANY)
            first = start_job(made, "agent-1", script)
            assert made.control.finished(first, 120) == DONE, first.log.decode(errors="replace")
            assert b"\ndone planting" in first.log, first.log.decode(errors="replace")
            with taken(numbers(first)[0]):
                following = start_job(made, "agent-1", NEXT)
                made.control.finished(following, 180)
        (tree,) = (made.base / "state/workspaces").iterdir()
        yield Planted(
            tree=tree, canary=canary, before=before, sprung=sprung, next=following,
            uid=int(numbers(following)[0]), first=int(numbers(first)[0]), config=made.config,
        )  # fmt: skip


@contextmanager
def taken(uid: str) -> Iterator[None]:
    """Hold the slot of a uid, as a job does that has it now."""
    with Path(f"/run/airlock/slots/{uid}").open() as slot:
        fcntl.flock(slot, fcntl.LOCK_EX)
        yield


def junk(planted: Planted) -> Path:
    return planted.tree / "builds/junk"


def test_next_job_of_rule_starts_in_clean_checkout(planted: Planted) -> None:
    """With another uid: the owner of all files was changed, and git accepts the checkout."""
    assert planted.next.finish is not None
    assert planted.next.finish["exit_status"] == "0", planted.next.log.decode(errors="replace")
    assert b"\nhonest work: a storefront" in planted.next.log
    assert planted.uid != planted.first


def test_setuid_file_gives_next_job_no_privilege(planted: Planted) -> None:
    assert f"\nsetuid gives: {planted.uid}".encode() in planted.next.log
    file = planted.tree / "builds/setuid-id"
    assert file.stat().st_uid == planted.uid
    with TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        copy = Path(directory, "id")
        shutil.copy(shutil.which("id") or "id", copy)
        os.chown(copy, planted.first, planted.first)
        copy.chmod(0o6755)
        effective = run("setpriv", "--reuid", str(planted.uid), str(copy), "-u").strip()
        assert effective == str(planted.first), "such a file works where nothing prevents it"


def test_setuid_file_is_out_of_reach_of_users_of_host(planted: Planted) -> None:
    file = planted.tree / "builds/setuid-id"
    command = ["setpriv", "--reuid", "12345", "--clear-groups", "ls", str(file)]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "Permission denied" in tried.stderr
    state = planted.tree.parents[1]
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


def test_change_of_owner_follows_no_link(planted: Planted) -> None:
    after = planted.canary.stat()
    assert (after.st_uid, after.st_mode) == (planted.before.st_uid, planted.before.st_mode)
    assert planted.canary.read_text() == "of the host\n"
    assert Path("/etc").stat().st_uid == 0
    owned = (junk(planted) / "link").lstat().st_uid
    assert owned == planted.uid, "the link itself was given away"
    run("chown", "-R", "-L", "0:12", str(junk(planted) / "directory"))
    assert planted.canary.stat().st_gid == 12, "a tool that follows links changes the host's file"
    os.chown(planted.canary, planted.before.st_uid, planted.before.st_gid)


@pytest.mark.parametrize(
    "name", ["a\nb", "\x1b[2J", "-rf", "*", "x" * 255, "fifo", "socket", "mode-0", "closed"]
)
def test_change_of_owner_covers_every_name_and_kind(planted: Planted, name: str) -> None:
    assert (junk(planted) / name).lstat().st_uid == planted.uid


def test_measuring_reads_no_file_and_follows_no_link(planted: Planted) -> None:
    """A sparse file of 4 TiB counts as what it occupies, and a fifo blocks nobody."""
    written = _in_tree(planted.tree, 0.0)
    assert 0 < written < 2 << 30
    apparent = run("du", "--summarize", "--apparent-size", "--block-size=1", str(junk(planted)))
    assert int(apparent.split()[0]) > 1 << 42, "measured by length it would be the largest job"


def test_hooks_and_settings_of_git_ran_nothing_on_host(planted: Planted) -> None:
    assert [path.name for path in planted.sprung.iterdir()] == ["canary"]
    (config,) = planted.tree.glob("builds/*/*/*/.git/config")
    checkout = config.parents[1]
    assert "fsmonitor" in config.read_text()
    ordinary = ["git", "-c", "safe.directory=*", "-C", str(checkout), "status"]
    subprocess.run(ordinary, capture_output=True, check=False, timeout=60)
    assert (planted.sprung / "fsmonitor").exists(), "git run by root on the host obeys it"
    (planted.sprung / "fsmonitor").unlink()


def test_collection_removes_everything_and_nothing_else(planted: Planted) -> None:
    """The last test of this file: no name, mode, kind or depth keeps the tree."""
    with pytest.raises((RecursionError, OSError)):
        shutil.rmtree(junk(planted) / "d")
    text = planted.config.read_text().replace("[storage]", "[storage]\nworkspaces = 1")
    planted.config.write_text(text)
    (planted.tree.parent / "newer").mkdir()
    os.utime(planted.tree, (0, 0))
    subprocess.run([*AIRLOCK, "gc", "--config", planted.config], check=True, capture_output=True)
    state = planted.tree.parents[1]
    assert not planted.tree.exists()
    assert list((state / "trash").glob("*")) == []
    assert planted.canary.read_text() == "of the host\n"
    assert Path("/etc/passwd").exists()


def test_removal_on_the_spot_takes_the_same_names(tmp_path: Path) -> None:
    for name in ("a\nb", "-rf", "*", "--no-preserve-root", "\x1b[2J"):
        (tmp_path / "tree" / name).mkdir(parents=True)
    (tmp_path / "tree/link").symlink_to("/etc")
    remove_tree(tmp_path / "tree")
    assert not (tmp_path / "tree").exists()
    assert Path("/etc/passwd").exists()
