"""What a job's log says at its end about the job's BuildKit."""

from collections.abc import Iterator

from bootstrap.policy.wording import size
from bootstrap.sandbox.builds.ending import Ended
from bootstrap.sandbox.model import SandboxSpec


def early(ended: Ended, last: str) -> str:
    """Return the sentence about one that has ended before the job; `last` is the end of its log."""
    status = "" if ended.code is None else f", with exit status {ended.code}"
    return (
        f"the BuildKit of this job ended before the job did{status} (see "
        f"docs/builds.md#when-a-build-fails); the last of its log: {last or 'nothing'}"
    )


def sentences(spec: SandboxSpec, ended: Ended) -> Iterator[str]:
    """Yield a sentence for each limit of BuildKit's container that may explain a job's failure."""
    setting = "of [builds] in airlock.toml sets it, unless the guardrails leave less"
    used = ended.used
    if ended.by_memory:
        yield (
            f"the kernel killed the BuildKit of this job at its limit of memory, "
            f"{size(spec.memory)}, which all steps share with it; what was built then failed, and "
            f"no later build found it: `memory` {setting}"
        )
    elif used.killed:
        yield (
            f"the BuildKit of this job reached its limit of memory, {size(spec.memory)}, and the "
            f"kernel killed a process of it, such as a step's: `memory` {setting}"
        )
    if used.refused_forks:
        yield (
            f"the BuildKit of this job reached its limit of {spec.pids} processes and threads, "
            f"those of steps among them: `pids` {setting}"
        )
    for path in used.full:
        yield (
            f"the directory {path} of this job's BuildKit was full: it holds {size(spec.tmp)}, "
            "which sandbox.tmp in airlock.toml sets"
        )
