"""Run all tests: labs of their own side by side, and the rest on the host. `make test` calls it.

A machine whose own Docker Engine runs has one lab, that engine's: there, as without root, a single
pytest runs everything one after another.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import builder
from tests.lab.engine import STATE, SYSTEM, answers
from tests.lab.lab import Lab, lab
from tests.lab.service_images import service_images
from tests.side_by_side import plan
from tests.side_by_side.report import report
from tests.side_by_side.stage import Stage, begin

LOGS = plan.ROOT / "out/tests"
LABS = STATE / "labs"
ISOLATED = plan.ROOT / "tests/lab/isolated"
WITH_SYSTEMD = plan.ROOT / "tests/lab/with_systemd"
SYSTEMD = Path("/lib/systemd/systemd")


def main(files: list[str]) -> int:
    """Run the files, or else all, and return 0 if all tests passed or were skipped."""
    if os.geteuid() != 0 or answers(SYSTEM):
        return subprocess.run(
            [sys.executable, "-m", "pytest", *files], cwd=plan.ROOT, check=False
        ).returncode
    for number in (signal.SIGINT, signal.SIGTERM):  # either may be ignored by who started us
        signal.signal(number, signal.default_int_handler)
    STATE.mkdir(parents=True, exist_ok=True)
    try:
        with _locked(STATE / "labs.lock") as held:
            with lab() as made:  # builds the job's image and the agent where they are missing
                _build_all(made)
            return _run(held, files or plan.all_files())
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _run(held: int, files: list[str]) -> int:
    began = time.monotonic()
    shutil.rmtree(LOGS, ignore_errors=True)
    LOGS.mkdir(parents=True)
    stages: list[Stage] = []
    try:
        for name, selection, prefix in _stages(files):
            stages.append(begin(name, LOGS, selection, prefix, held))
            print(f"{name}: {stages[-1].log}", flush=True)
        _follow(stages)
        stages.append(begin("alone", LOGS, ["-m", plan.ALONE, *files], [], held))
        _follow(stages)
        if SYSTEMD.exists():
            _copy_lab(state := LABS / "systemd")
            prefix = [str(ISOLATED), str(state), str(WITH_SYSTEMD)]
            stages.append(begin("systemd", LOGS, ["-m", plan.WITH_SYSTEMD, *files], prefix, held))
            _follow(stages)
    finally:
        _end(stages)
    return report(stages, time.monotonic() - began, LOGS / "seconds")


def _build_all(made: Lab) -> None:
    """Build what else labs need and is missing: they have no way out to fetch it by."""
    service_images(made.docker)
    builder.builder_image(made.docker, made.image)
    builder.clients_image(made.docker, made.image)


def _end(stages: list[Stage]) -> None:
    """End what still runs, and remove the labs."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a second one would leave something behind
    for stage in stages:
        stage.send(signal.SIGINT)
    for stage in stages:
        stage.end()
    subprocess.run(["rm", "-rf", str(LABS)], check=True)


def _stages(files: list[str]) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield name, arguments of pytest and what to put in front of it, for each stage."""
    number = plan.labs_for(os.cpu_count() or 1, _available_memory())
    shards = plan.shards(plan.expected_seconds(files), number)
    for index, shard in enumerate(filter(None, shards), 1):
        state = LABS / str(index)
        _copy_lab(state)
        yield f"lab-{index}", ["-m", plan.IN_A_LAB, *shard], [str(ISOLATED), str(state)]
    # The tests of labs have deadlines; most of these only compute, so they come second.
    yield "host", ["-m", plan.ON_THE_HOST, *files], ["nice", "-n", "5"]


def _copy_lab(target: Path) -> None:
    """Give a lab the agent, the builder and an engine with all images.

    Layers of images never change, so they are links and take no space; the rest is copied.
    """
    docker = STATE / "docker"
    subprocess.run(["rm", "-rf", str(target)], check=True)
    (target / "docker").mkdir(parents=True, mode=0o710)
    with _locked(STATE / "lock"):  # no engine runs there meanwhile
        while subprocess.run(["umount", docker], capture_output=True, check=False).returncode == 0:
            pass  # dockerd mounts it on itself, and links do not cross mounts
        for part in docker.iterdir():
            how = "-al" if part.name == "overlay2" else "-a"
            if part.name not in ("containers", "tmp"):
                subprocess.run(["cp", how, str(part), str(target / "docker")], check=True)
        for built in (STATE / "agent", STATE / "builder"):
            if built.exists():
                subprocess.run(["cp", "-al", str(built), str(target)], check=True)


def _follow(stages: list[Stage]) -> None:
    """Print the progress of all stages until they have ended."""
    while True:
        running = [stage for stage in stages if stage.process.poll() is None]
        for stage in stages:
            for line in stage.progress():
                print(f"{stage.name:6} {line}", flush=True)
        if not running:
            return
        time.sleep(1)


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for others on this machine, who hold {path}", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def _available_memory() -> int:
    """Return the bytes that can be used without swapping."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    (available,) = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    return int(available) * 1024


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
