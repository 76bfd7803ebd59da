"""The agent's own user, as the Elastic CI Stack for AWS makes it, without a change of the machine.

Its name is in a copy of /etc/passwd and the like, which is mounted over the machine's: a lab of its
own (tests/lab/isolated) has mounts of its own too.
"""

import grp
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

NAME = "buildkite-agent"
UID = GID = 2000
# What one range cannot do: the first user of a container is the agent's, all others come from here.
FIRST, COUNT = 100_000, 65_536


@contextmanager
def agent_user(copies: Path) -> Iterator[None]:
    """Have the user and its two ranges of subordinate ids until this closes."""
    copies.mkdir(parents=True, exist_ok=True)
    docker = grp.getgrnam("docker").gr_gid  # the package's; nobody else is in it
    lines = {
        "passwd": f"{NAME}:x:{UID}:{GID}::/var/lib/buildkite-agent:/bin/bash\n",
        "group": f"{NAME}:x:{GID}:\n",
        "subuid": f"{NAME}:{UID}:1\n{NAME}:{FIRST}:{COUNT}\n",
        "subgid": f"{NAME}:{docker}:1\n{NAME}:{FIRST}:{COUNT}\n",
    }
    with ExitStack() as held:
        for name, added in lines.items():
            held.enter_context(_mounted(copies / name, Path("/etc", name), added))
        yield


@contextmanager
def _mounted(copy: Path, over: Path, added: str) -> Iterator[None]:
    """Mount a copy with further lines over a file; a lab that was killed may have left one."""
    while _is_mounted(copy, over):
        subprocess.run(["umount", str(over)], check=True)
    kept = [line for line in over.read_text().splitlines(keepends=True) if not _is_of_agent(line)]
    copy.write_text("".join(kept) + added)
    copy.chmod(0o644)
    subprocess.run(["mount", "--bind", str(copy), str(over)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(over)], check=True)


def _is_mounted(copy: Path, over: Path) -> bool:
    return copy.exists() and copy.samefile(over)


def _is_of_agent(line: str) -> bool:
    """Say whether a line is about the user's name, or its number under another name."""
    name, _, rest = line.partition(":")
    return name == NAME or f":{rest}:".startswith(f":x:{UID}:")
