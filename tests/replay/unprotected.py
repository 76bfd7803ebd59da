"""A replay with one protection removed: an attack that fails has to succeed there."""

import subprocess

from tests.replay.conftest import Replays

_MAIN = """
import sys
{removal}
from bootstrap.cli import main
sys.exit(main())
"""


def without(
    replays: Replays, removal: str, arguments: tuple[str, ...]
) -> subprocess.CompletedProcess[bytes]:
    """Run an `airlock` command of the developer's, after lines that remove a protection."""
    developer = replays.developer
    program = [str(developer.python), "-I", "-c", _MAIN.format(removal=removal)]
    return developer.finished([*program, *arguments])
