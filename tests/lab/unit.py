"""The conditions of an agent that the Elastic CI Stack's buildkite-agent.service starts.

It runs as its own user in no further group, protected from the OOM killer (OOMScoreAdjust=-1000),
and what ends it is sent to its main process alone (KillMode=process).
"""

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.lab import users
from tests.lab.engine import STATE

# What systemd does for OOMScoreAdjust=, User= and Group=. Every step replaces the one before.
COMMAND = (
    *("choom", "-n", "-1000", "--"),
    *("setpriv", f"--reuid={users.UID}", f"--regid={users.GID}", "--clear-groups"),
    *("--inh-caps=-all", "--"),
)


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
