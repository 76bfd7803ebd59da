"""What dead jobs left behind, for `airlock gc`. See `lease` for how jobs themselves clear it."""

from collections.abc import Iterator
from functools import partial

from bootstrap.host.change import Change
from bootstrap.host.config import Host
from bootstrap.sandbox import engine
from bootstrap.sandbox.leases import clearing, lease


def dead_jobs(host: Host) -> Iterator[Change]:
    """Yield the clearing of each lease whose holder is dead."""
    for token in sorted(lease.dead(host)):
        why = "the process that ran it is dead"
        clear = partial(_clear, host, token)
        yield Change(verb="clear", what=f"dead job {token}", why=why, apply=clear)


def containers(host: Host) -> Iterator[Change]:
    """Yield the removal of each container without a lease. Raises CannotStart.

    There is one if wrapper and reaper were killed while the engine created it, or if the machine
    was started again: leases are in memory.
    """
    jobs = host.paths.runtime / "jobs"
    with engine.connected(host.sandbox.docker) as client:
        found = engine.containers(client)
    for token in found:
        if not (jobs / token).exists():
            clear = partial(_clear, host, token)
            yield Change(what=f"container airlock-{token}", why="no job has a lease", apply=clear)


def _clear(host: Host, token: str) -> None:
    """Clear all that the token names. Raises the first failure."""
    for problem in clearing.clear(host, token):
        raise problem
