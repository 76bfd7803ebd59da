"""Search for the bytes of secrets everywhere: in a sandbox, with root's rights, and on its host."""

import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.attacks.attacker import Attacker
from tests.lab import world

Found = dict[str, set[str]]  # by the secret's name: where it is

_PROC = "environ cmdline status maps mountinfo limits stat comm"
_IN_SANDBOX = f"""
cd /
for file in {_PROC}; do set -- "$@" /proc/[0-9]*/$file /proc/[0-9]*/task/[0-9]*/$file; done
exec grep -r -s -o -a -F -f - -- $(ls -d /* /.??* | grep -v -x -E '/(proc|sys)') "$@"
"""


def in_sandbox(sandbox: Attacker, secrets: Mapping[str, str]) -> Found:
    """Search all file systems of the sandbox, and /proc of all its processes, as root.

    The patterns are passed on standard input: on a command line the search would find them.
    """
    world.assert_contained()
    enter = ["nsenter", "--target", str(sandbox.pid), "--all", "--", "bash", "-c", _IN_SANDBOX]
    return _grepped(enter, secrets)


def in_directories(
    paths: Iterable[Path], secrets: Mapping[str, str], *, since: Path | None = None
) -> Found:
    """Search directories of the host; with `since`, only files that changed after that one did."""
    newer = ["-newer", str(since)] if since else []
    find = ["find", *map(str, paths), "-type", "f", *newer, "-print0"]
    files = subprocess.run(find, capture_output=True, check=False).stdout.rstrip(b"\0").split(b"\0")
    grep = ["grep", "-s", "-H", "-o", "-a", "-F", "-f", "-", "--", "/dev/null"]
    found: Found = {}
    for start in range(0, len(files), 1000):
        some = map(os.fsdecode, files[start : start + 1000])
        for name, places in _grepped([*grep, *some], secrets).items():
            found.setdefault(name, set()).update(places)
    return found


def in_processes(secrets: Mapping[str, str], *, outside_of: Attacker) -> Found:
    """Search command line and environment of every process of the host outside of the sandbox."""
    inside = Path(f"/proc/{outside_of.pid}/ns/pid").readlink()
    found: Found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "ns/pid").readlink() == inside:
                continue
            content = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue  # it has ended
        for name, secret in secrets.items():
            if secret.encode() in content:
                found.setdefault(name, set()).add(str(process))
    return found


def in_texts(texts: Mapping[str, str], secrets: Mapping[str, str]) -> Found:
    """Search the output of programs."""
    return {
        name: places
        for name, secret in secrets.items()
        if (places := {place for place, text in texts.items() if secret in text})
    }


def _grepped(command: list[str], secrets: Mapping[str, str]) -> Found:
    done = subprocess.run(
        command, input="\n".join(secrets.values()).encode(), capture_output=True, check=False
    )
    assert done.returncode in (0, 1, 2), done.stderr.decode()
    names = {secret: name for name, secret in secrets.items()}
    found: Found = {}
    for line in done.stdout.decode(errors="replace").splitlines():
        path, _, secret = line.partition(":")
        place = re.sub(r"^/proc/[0-9]+/(task/[0-9]+/)?", "/proc/*/", path)
        found.setdefault(names[secret], set()).add(place)
    return found
