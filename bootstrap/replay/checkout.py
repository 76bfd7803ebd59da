"""The job's checkout: where the bootstrap has it, and a developer's working copy in its place."""

import os
import re
import shutil
from pathlib import Path

from bootstrap import process
from bootstrap.errors import CannotStart, WrongConfiguration
from bootstrap.job.model import Claims, Job

# As the bootstrap names the directory of an agent (docs/agent-contract.md#paths).
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9]")
_COPYING = 600.0  # seconds


def inside(job: Job) -> Path:
    """Return where the bootstrap checks out, as the job sees it."""
    return job.build_path / _relative(job.claims)


def _relative(claims: Claims) -> Path:
    agent = _NOT_IN_NAMES.sub("-", claims.agent_name)
    return Path(agent, claims.organization, claims.pipeline)


def prepare(tree: Path, job: Job, working_copy: Path | None, *, uid: int) -> None:
    """Create the directories of checkout and plugins, which are the job's; with a working copy too.

    Raises as `copied`.
    """
    for part in ("builds", "plugins"):
        (tree / part).mkdir(mode=0o755)
    if working_copy is not None:
        copied(working_copy, tree, job)
    if uid != os.geteuid():
        owner = f"{uid}:{uid}"
        process.run(["chown", "-R", "-h", "-P", owner, "--", str(tree)], timeout=_COPYING)


def prepare_under_overlay(tree: Path, job: Job) -> None:
    """Create what an overlay is mounted on, so that the engine does not do it as root."""
    (tree / "builds" / _relative(job.claims)).mkdir(parents=True)


def of_developer(working_copy: Path) -> Path:
    """Return the path of a working copy. Raises WrongConfiguration if it is not one of its own."""
    source = working_copy.resolve()
    if (source / ".git").is_dir():
        return source
    raise WrongConfiguration(
        f"{source} is not the top of a git repository: it has no directory .git",
        hint="Name the repository's top directory with --checkout. A linked worktree has its "
        "repository elsewhere: use `git clone --local` to make one that has not.",
    )


def copied(working_copy: Path, tree: Path, job: Job) -> None:
    """Put a copy of the developer's working copy, with its .git, in place of the checkout.

    Filesystems that can share blocks do (`cp --reflink`). Nothing that the job does to the copy
    changes the original. Raises CannotStart.
    """
    target = tree / "builds" / _relative(job.claims)
    target.parent.mkdir(parents=True)
    copy = ["cp", "--archive", "--reflink=auto", "--no-target-directory", "--"]
    process.run([*copy, str(working_copy), str(target)], timeout=_COPYING)


def kept(tree: Path, job: Job, output: Path) -> Path | None:
    """Move the checkout out of the replay's own directory, and return where it is now.

    None if the job had none. Raises CannotStart if something is there, or if the job has put a
    link in its place, which would lead to what is the developer's. Raises OSError.
    """
    source = tree / "builds"
    for name in _relative(job.claims).parts:
        source /= name
        if source.is_symlink():
            raise CannotStart(
                f"the job has put a symbolic link at {source.relative_to(tree)}",
                hint="Replay it with --shell to see what it does.",
            )
    if not source.exists():
        return None
    target = output.resolve() / job.claims.job_id / "checkout"
    if target.exists():
        raise CannotStart(
            f"{target} exists, so that this checkout cannot be kept there",
            hint="Remove it, or name another directory with --output.",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(source, target)
    return target
