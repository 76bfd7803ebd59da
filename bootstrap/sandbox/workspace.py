"""A job's directories on this host: its workspace and its sandbox directory."""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from bootstrap import packaged, process
from bootstrap.errors import CannotStart
from bootstrap.files import give, write
from bootstrap.host.lock import locked
from bootstrap.host.trash import discard, empty_in_background
from bootstrap.host.trees import locked_tree
from bootstrap.libc import kind_of_filesystem
from bootstrap.policy.model import Workspace
from bootstrap.sandbox import environment

_IN_MEMORY = {0x01021994, 0x858458F6}  # <linux/magic.h>: TMPFS_MAGIC, RAMFS_MAGIC

_NOT_IN_TOKENS = re.compile(r"[^A-Za-z0-9.-]")
CHOWN_TIMEOUT = 60.0  # seconds for changing the owner of a workspace


def prepare_host(runtime: Path, state: Path) -> None:
    """Create Airlock's directories, for root only; `runtime` is a tmpfs. Raises CannotStart."""
    for directory in (runtime, state):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(state / "host.lock"):
        if not _in_memory(runtime):
            # For job directories: at most 12 MiB each (env_files.MAX_FILE, quoted).
            options = "size=1g,mode=0700,nosuid,nodev"
            process.run(["mount", "-t", "tmpfs", "-o", options, "airlock", str(runtime)])
    (runtime / "jobs").mkdir(mode=0o700, exist_ok=True)


def _in_memory(path: Path) -> bool:
    return kind_of_filesystem(path) in _IN_MEMORY


def workspace_path(state: Path, key: str, *, kind: Workspace, token: str) -> Path:
    """Return the path of a job's workspace, which may not exist yet.

    REUSE: the one of `key`. FRESH: an empty one, which is discarded with the job's lease.
    """
    return fresh_path(state, token) if kind is Workspace.FRESH else state / "workspaces" / key


def fresh_path(state: Path, token: str) -> Path:
    """Return the path of a job's fresh workspace."""
    return state / "fresh" / token


@contextmanager
def workspace(
    state: Path, path: Path, names: Sequence[str], *, uid: int, note: Callable[[str], object]
) -> Iterator[None]:
    """Lock the workspace at `path`, and give each of its parts, `names`, to `uid`.

    `note` gets a line if its files were discarded. Raises CannotStart if another job uses it.
    """
    with locked_tree(path) as locked_now:
        if not locked_now:
            raise CannotStart(
                f"the workspace {path} is in use by another job",
                hint="Do two agents have the same name? Give each its own (`name` in "
                "buildkite-agent.cfg), or set `workspace: fresh` in the rule.",
            )
        prepare_trees(state, path, names, uid=uid, note=note)
        yield


def prepare_trees(
    state: Path, path: Path, names: Sequence[str], *, uid: int, note: Callable[[str], object]
) -> None:
    """Make each of `names` below `path` a tree that `uid` owns. Raises CannotStart.

    If changing the owner takes over CHOWN_TIMEOUT, the trees are discarded, because a job decides
    how many files there are. Links are not followed. No file of the host can be hard-linked into
    a tree: hard links do not cross mounts.
    """
    trees = [path / name for name in names]
    if all(_belongs(tree, uid) for tree in trees):
        return
    for tree in trees:
        tree.mkdir(mode=0o755, exist_ok=True)
        os.chown(tree, 0, 0, follow_symlinks=False)  # so that an interrupted change is repeated
    try:
        process.run(["chown", "-R", "-h", "-P", f"{uid}:{uid}", "--", *map(str, trees)],
                    timeout=CHOWN_TIMEOUT)  # fmt: skip
    except CannotStart as slow:
        note(
            f"the files in {path} were discarded, because giving them to uid {uid} failed "
            f"({slow.problem[-100:]}): the job starts with an empty workspace"
        )
        for tree in trees:
            discard(state, tree)
            tree.mkdir(mode=0o755)
            os.chown(tree, uid, uid, follow_symlinks=False)
        empty_in_background(state)


def _belongs(tree: Path, uid: int) -> bool:
    try:
        return tree.stat(follow_symlinks=False).st_uid == uid
    except FileNotFoundError:
        return False


@contextmanager
def sandbox_directory(
    job_directory: Path, job_env: Mapping[str, str], *, uid: int, home: str, gid: int | None = None
) -> Iterator["SandboxDirectory"]:
    """Create the sandbox directory, with a start gate that stays shut until `open_start_gate`.

    Nothing in it is executed: shells read its programs, because it may lie on a mount with noexec.
    `job_env` goes into the two environment files; `home` is the job's home directory inside, `gid`
    its group there, by default of the uid's number.
    """
    path = job_directory / "sandbox"
    path.mkdir(mode=0o755)
    for name in ("marks", "agent-hooks", environment.SECRETS.name):
        (path / name).mkdir(mode=0o755)
    (path / "ssh").mkdir(mode=0o700)
    give(path / "ssh", uid)
    write(
        path / "entry",
        packaged.data("bootstrap.sandbox", "entry.sh"),
        0o444,
    )
    helper = packaged.data("bootstrap.sandbox", "git_credential.sh")
    write(path / "git-credential", helper, 0o444)
    write(path / "passwd", environment.passwd(uid, uid if gid is None else gid, home), 0o444)
    write(path / "group", environment.group(uid if gid is None else gid), 0o444)
    write(path / "job-env", environment.go_quoted(job_env), 0o400, uid)
    write(path / "job-env.json", environment.as_json(job_env), 0o400, uid)
    with start_gate(path, uid) as gate:
        yield SandboxDirectory(path, gate, uid)


@contextmanager
def start_gate(path: Path, uid: int) -> Iterator[int]:
    """Yield the write end of the start gate, `path`/go, at which the entry script waits for "go".

    If this process dies, the script reads end-of-file and ends.
    """
    os.mkfifo(path / "go", 0o600)
    # Open for both directions, so that neither side's open blocks.
    descriptor = os.open(path / "go", os.O_RDWR | os.O_CLOEXEC)
    try:
        (path / "go").chmod(0o400)
        give(path / "go", uid)
        yield descriptor
    finally:
        os.close(descriptor)


class SandboxDirectory:
    """The directory that the container sees as /airlock."""

    def __init__(self, path: Path, start_gate: int, uid: int) -> None:
        self.path = path
        self._start_gate = start_gate
        self._uid = uid

    def write_environment(self, variables: Mapping[str, str]) -> None:
        """Write the environment into a file that only the job's user can read."""
        write(self.path / "env", environment.exports(variables), 0o400, self._uid)

    def put(self, inside: PurePosixPath, content: bytes) -> None:
        """Write a file below /airlock that only the job's user can read, or replace it at once."""
        path = self.path / inside.relative_to(environment.AIRLOCK)
        path.parent.mkdir(mode=0o755, exist_ok=True)
        write(path, content, 0o400, self._uid)

    def open_start_gate(self) -> None:
        """Let the entry script start the bootstrap."""
        os.write(self._start_gate, b"go\n")

    def mark_timed_out(self) -> None:
        """Make the agent's timeout marker visible inside (docs/agent-contract.md#cancellation)."""
        write(self.path / "marks" / environment.TIMEOUT_MARKER, b"true", 0o444)


def token_for(job_id: str, unique: str) -> str:
    """Name a lease and its container after the job, in characters that both allow."""
    return _NOT_IN_TOKENS.sub("-", job_id)[:64] + "-" + unique
