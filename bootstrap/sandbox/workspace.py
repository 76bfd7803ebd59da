"""Directories of the job on this host: its checkout, and the room's own read-only one."""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path, PurePosixPath

from bootstrap import process
from bootstrap.errors import CannotStart
from bootstrap.files import write
from bootstrap.host.lock import locked
from bootstrap.host.trash import discard, empty_later
from bootstrap.host.trees import claimed
from bootstrap.policy.model import Workspace
from bootstrap.sandbox import environment

CHANGE_HANDS = 60.0  # seconds for a workspace to become another uid's


def prepare_host(runtime: Path, state: Path) -> None:
    """Make Airlock's own directories: root's alone, and `runtime` in memory, never on disk."""
    for directory in (runtime, state):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(state / "host.lock"):
        if not _in_memory(runtime):
            # Job directories are what grows here: at most 12 MiB each (envfile.MAX_FILE, quoted).
            options = "size=1g,mode=0700,nosuid,nodev"
            process.run(["mount", "-t", "tmpfs", "-o", options, "airlock", str(runtime)])
    (runtime / "jobs").mkdir(mode=0o700, exist_ok=True)


def _in_memory(path: Path) -> bool:
    kind = process.run(["stat", "--file-system", "--format=%T", str(path)])
    return kind.strip() in {"tmpfs", "ramfs"}


def workspace_path(state: Path, key: str, *, kind: Workspace, token: str) -> Path:
    """Where a job's workspace is, or will be.

    `reuse` is the one of `key`; `fresh` an empty one, which is given up with the job's lease.
    """
    return fresh_path(state, token) if kind is Workspace.FRESH else state / "workspaces" / key


def fresh_path(state: Path, token: str) -> Path:
    """Where the throw-away workspace of one job is."""
    return state / "fresh" / token


@contextmanager
def workspace(
    state: Path, path: Path, *, uid: int, note: Callable[[str], object]
) -> Iterator[None]:
    """Hold the directory at `path`, with `builds` and `plugins` that belong to the job's user.

    It is locked for as long as this is open. Raises CannotStart if another job has it.
    """
    with claimed(path) as ours:
        if not ours:
            raise CannotStart(
                f"the workspace {path} is in use by another job",
                hint="Two agents of the same name? Give each its own (`name` in "
                "buildkite-agent.cfg), or let the rule use a fresh workspace.",
            )
        prepare_trees(state, path, ("builds", "plugins"), uid=uid, note=note)
        yield


def prepare_trees(
    state: Path, path: Path, names: Sequence[str], *, uid: int, note: Callable[[str], object]
) -> None:
    """Make each of `names` below `path` a tree of `uid`'s. Raises CannotStart.

    Trees of another uid's change hands, or are given up if that takes too long: a job chooses how
    many files there are. Nothing is followed, and nothing of the host's can be among them: hard
    links do not cross mounts, and a job has no others to write to.
    """
    trees = [path / name for name in names]
    if all(_belongs(tree, uid) for tree in trees):
        return
    for tree in trees:
        tree.mkdir(mode=0o755, exist_ok=True)
        os.chown(tree, 0, 0, follow_symlinks=False)  # nobody's, until all below it has changed
    try:
        process.run(["chown", "-R", "-h", "-P", f"{uid}:{uid}", "--", *map(str, trees)],
                    timeout=CHANGE_HANDS)  # fmt: skip
    except CannotStart as slow:
        note(f"{path} is thrown away: it cannot become uid {uid}'s ({slow.problem[-100:]})")
        for tree in trees:
            discard(state, tree)
            tree.mkdir(mode=0o755)
            os.chown(tree, uid, uid, follow_symlinks=False)
        empty_later(state)


def _belongs(tree: Path, uid: int) -> bool:
    try:
        return tree.stat(follow_symlinks=False).st_uid == uid
    except FileNotFoundError:
        return False


@contextmanager
def sandbox_directory(
    job_directory: Path, kept: Mapping[str, str], *, uid: int, home: str
) -> Iterator["SandboxDirectory"]:
    """Furnish the room's read-only directory and hold its door until this closes."""
    path = job_directory / "room"
    path.mkdir(mode=0o755)
    for name in ("marks", "agent-hooks", environment.SECRETS.name):
        (path / name).mkdir(mode=0o755)
    (path / "ssh").mkdir(mode=0o700)
    os.chown(path / "ssh", uid, uid)
    write(
        path / "entry",
        resources.files("bootstrap.sandbox").joinpath("entry.sh").read_bytes(),
        0o555,
    )
    helper = resources.files("bootstrap.sandbox").joinpath("git_credential.sh").read_bytes()
    write(path / "git-credential", helper, 0o555)
    write(path / "passwd", environment.passwd(uid, home), 0o444)
    write(path / "group", environment.group(uid), 0o444)
    write(path / "job-env", environment.go_quoted(kept), 0o400, uid)
    write(path / "job-env.json", environment.as_json(kept), 0o400, uid)
    with start_gate(path, uid) as held:
        yield SandboxDirectory(path, held, uid)


@contextmanager
def start_gate(path: Path, uid: int) -> Iterator[int]:
    """Hold the pipe at which an entry waits for "go": our death is its end-of-file."""
    os.mkfifo(path / "go", 0o400)
    os.chown(path / "go", uid, uid)
    # Open for both directions, so that neither side's open blocks.
    descriptor = os.open(path / "go", os.O_RDWR | os.O_CLOEXEC)
    try:
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
        """Write the environment where only the job's user reads it."""
        write(self.path / "env", environment.exports(variables), 0o400, self._uid)

    def put(self, inside: PurePosixPath, content: bytes) -> None:
        """Write a file that only the job's user reads, whole: it may be reading the one before."""
        path = self.path / inside.relative_to(environment.AIRLOCK)
        path.parent.mkdir(mode=0o755, exist_ok=True)
        write(path, content, 0o400, self._uid)

    def open(self) -> None:
        """Let the entry go on to the job."""
        os.write(self._start_gate, b"go\n")

    def mark_timed_out(self) -> None:
        """Make the agent's timeout marker visible inside (docs/agent-contract.md#cancellation)."""
        write(self.path / "marks" / environment.TIMEOUT_MARKER, b"true", 0o444)


def token_for(job_id: str, unique: str) -> str:
    """Name a room after its job, in the characters that container names allow."""
    return re.sub(r"[^A-Za-z0-9.-]", "-", job_id)[:64] + "-" + unique
