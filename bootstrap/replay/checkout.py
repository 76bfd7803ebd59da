"""The job's checkout: where the bootstrap has it, and a developer's working copy in its place."""

import errno
import os
import re
import shutil
from contextlib import suppress
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


_USERINFO = re.compile(r"\A(https?://)[^/]*@")
_DESCRIBED = {
    "BUILDKITE_REPO": ("config", "--get", "remote.origin.url"),
    "BUILDKITE_COMMIT": ("rev-parse", "--verify", "HEAD"),
    "BUILDKITE_BRANCH": ("branch", "--show-current"),
}


def described(working_copy: Path) -> dict[str, str]:
    """Return what a job's variables say of a commit, for the one that is checked out.

    Without those that it does not have, such as the branch of a detached HEAD, and without
    credentials in the repository's URL.
    """
    found = {}
    for name, question in _DESCRIBED.items():
        with suppress(CannotStart):
            found[name] = process.run(["git", "-C", str(working_copy), *question]).strip()
    if url := found.get("BUILDKITE_REPO"):
        found["BUILDKITE_REPO"] = _USERINFO.sub(r"\1", url)
    return {name: value for name, value in found.items() if value}


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

    None if the job had none. Raises CannotStart, after which nothing is there, also if the job has
    put a link in its place, which would lead to what is the developer's.
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
    target = _kept_at(job, output)
    made = False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.mkdir()  # no replay of the same job at the same time has it, too
        made = True
        if not _renamed(source, target):
            process.run(["cp", "--archive", "--", f"{source}/.", str(target)], timeout=_COPYING)
    except (OSError, CannotStart) as failed:
        if made:
            shutil.rmtree(target, ignore_errors=True)
        why = failed.problem if isinstance(failed, CannotStart) else failed.strerror
        raise CannotStart(
            f"{target} cannot be written: {why}",
            hint="Name another directory with --output.",
        ) from failed
    return target


def _renamed(source: Path, target: Path) -> bool:
    """Move it if both are on one filesystem."""
    try:
        source.rename(target)
    except OSError as other:
        if other.errno != errno.EXDEV:
            raise
        return False
    return True


def _kept_at(job: Job, output: Path) -> Path:
    return output.resolve() / job.claims.job_id / "checkout"


def require_free(job: Job, output: Path) -> None:
    """Raise WrongConfiguration if a checkout that was kept before is where this one will go."""
    target = _kept_at(job, output)
    if target.exists():
        raise WrongConfiguration(
            f"{target} exists, so that this checkout cannot be kept there",
            hint="Remove it, or name another directory with --output.",
        )
