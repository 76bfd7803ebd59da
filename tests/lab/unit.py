"""The conditions of an agent that the Elastic CI Stack's buildkite-agent.service starts.

It runs as its own user in no further group, protected from the OOM killer (OOMScoreAdjust=-1000),
and what ends it is sent to its main process alone (KillMode=process).
"""

import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.lab import users
from tests.lab.engine import STATE

_CAP_SYS_RESOURCE = 24

_AS_AGENT = (
    *("setpriv", f"--reuid={users.UID}", f"--regid={users.GID}", "--clear-groups"),
    *("--inh-caps=-all", "--"),
)


def command() -> tuple[str, ...]:
    """Return what to put in front of a program for OOMScoreAdjust=, User= and Group=.

    Every step replaces the one before. Without CAP_SYS_RESOURCE, as in some containers, nobody
    can be protected.
    """
    return (*(("choom", "-n", "-1000", "--") if can_protect() else ()), *_AS_AGENT)


def can_protect() -> bool:
    """Say whether this process may protect one from the OOM killer."""
    capabilities = re.search(r"CapEff:\t(\w+)", Path("/proc/self/status").read_text())
    return bool(capabilities and int(capabilities[1], 16) >> _CAP_SYS_RESOURCE & 1)


def environment(home: Path) -> Mapping[str, str]:
    """Return the unit's environment."""
    return {
        "HOME": str(home),
        "PATH": "/usr/local/bin:/usr/bin",
        "USER": users.NAME,
        "TMPDIR": "/var/tmp",
    }


def give(directory: Path, *, mode: int = 0o755) -> None:
    """Make a directory the agent's."""
    os.chown(directory, users.UID, users.GID)
    directory.chmod(mode)


@contextmanager
def directory() -> Iterator[Path]:
    """Yield a directory that the agent's user can reach; pytest's are open to root alone."""
    path = STATE / "agents" / uuid.uuid4().hex[:8]
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path)
