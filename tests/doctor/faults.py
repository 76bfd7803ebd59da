"""What a planted fault is: how it is planted and removed, and what doctor has to say of it."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bootstrap.doctor.model import Status
from tests.doctor.hosts import Host

WARN, FAIL = Status.WARN, Status.FAIL
# What a container that is opened as a job's is finds out.
TRIAL = frozenset({"isolation", "dns", "image-contents"})

Plant = Callable[[Host], AbstractContextManager[None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One fault: the check that has to find it, and what is in its words.

    `also` are checks that cannot be ok then either; they may be unknown without being named here.
    """

    name: str
    plant: Plant
    check: str
    status: Status = FAIL
    seen: str
    fix: str
    also: frozenset[str] = frozenset()


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def command(do: str, undo: str) -> Plant:
    """Run a shell command, and another one at the end."""

    @contextmanager
    def plant(_: Host) -> Iterator[None]:
        run("sh", "-ec", do)
        try:
            yield
        finally:
            run("sh", "-ec", undo)

    return plant


def toml(pattern: str, replacement: str) -> Plant:
    """Replace a part of airlock.toml."""
    return changed(lambda host: host.change(pattern, replacement))


def cfg(line: str) -> Plant:
    """Append a setting to buildkite-agent.cfg."""
    return changed(lambda host: host.set(line))


def changed(change: Callable[[Host], object]) -> Plant:
    """Change the two configurations; they are as they were afterwards."""

    @contextmanager
    def plant(host: Host) -> Iterator[None]:
        texts = {path: path.read_text() for path in (host.fleet.config, host.cfg)}
        change(host)
        try:
            yield
        finally:
            for path, text in texts.items():
                path.write_text(text)

    return plant


def file(path: Callable[[Host], Path], text: str, mode: int = 0o644) -> Plant:
    """Write a file, or replace it; the one before, or none, is there afterwards."""

    @contextmanager
    def plant(host: Host) -> Iterator[None]:
        target = path(host)
        kept = target.with_name(f"{target.name}.kept")
        if target.exists():
            target.rename(kept)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)
        try:
            yield
        finally:
            target.unlink()
            if kept.exists():
                kept.rename(target)

    return plant


def absent(path: Callable[[Host], Path]) -> Plant:
    """Take a file away."""

    @contextmanager
    def plant(host: Host) -> Iterator[None]:
        target, kept = path(host), host.place / "taken"
        shutil.move(target, kept)
        try:
            yield
        finally:
            shutil.move(kept, target)

    return plant


def mode(path: Callable[[Host], Path], bits: int) -> Plant:
    """Give a file another mode."""

    @contextmanager
    def plant(host: Host) -> Iterator[None]:
        before = path(host).stat().st_mode & 0o7777
        path(host).chmod(bits)
        try:
            yield
        finally:
            path(host).chmod(before)

    return plant


def mounted(setting: str, options: str, then: str = "true") -> Plant:
    """Have a path of [paths] on a tmpfs of its own, in which a shell command `then` is run.

    `setting` is "state", "records" or "runtime".
    """

    @contextmanager
    def plant(host: Host) -> Iterator[None]:
        place = host.place / "mounted"
        place.mkdir()
        run("mount", "-t", "tmpfs", "-o", "size=512m", "tmpfs", str(place))
        run("sh", "-ec", f"cd {place}; {then}")
        run("mount", "-o", f"remount,{options}", str(place))
        path = place / "records.jsonl" if setting == "records" else place
        with changed(lambda host: _moved(host, setting, path))(host):
            yield
        for mountpoint in (place,):
            run("umount", "-l", str(mountpoint))
        place.rmdir()

    return plant


def _moved(host: Host, setting: str, path: Path) -> None:
    if setting == "runtime":
        host.change(r"\[paths\]\n", f'[paths]\nruntime = "{path}"\n')
    else:
        host.change(rf'(?m)^{setting} = ".*"$', f'{setting} = "{path}"')


@contextmanager
def attribute(owner: object, name: str, value: object) -> Iterator[None]:
    """Set an attribute of a fake."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
