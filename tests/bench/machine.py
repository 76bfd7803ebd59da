"""The machine that is measured on: whether it is idle, and who uses how much of its processors.

CPU time is read from control groups, so that other programs on the machine do not count: one group
for the ways of starting a job, one for the engine, one for its containers. Where no control group
can be created there is only the machine's own count, which has everything in it.
"""

import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.engine import CGROUP, CONTAINERD
from tests.lab.lab import Lab

IDLE = 0.25  # of the processors that others may use
WAIT = float(os.environ.get("BENCH_WAIT", "60"))  # seconds to wait until the machine is idle
_TICKS = os.sysconf("SC_CLK_TCK")
_CORES = os.cpu_count() or 1


def seconds_used() -> float:
    """Return the processor time of the whole machine since its start, idle time left out."""
    fields = Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
    user, nice, system, _idle, _waiting, irq, softirq, _steal = map(int, fields)
    return (user + nice + system + irq + softirq) / _TICKS


def busy(seconds: float = 1.0) -> float:
    """Return which part of all processors is in use, watched for some time."""
    before = seconds_used()
    time.sleep(seconds)
    return (seconds_used() - before) / seconds / _CORES


def wait_until_idle() -> float:
    """Wait for an idle machine, `WAIT` seconds at most; return which part of it is in use."""
    deadline = time.monotonic() + WAIT
    used = busy()
    while used > IDLE and time.monotonic() < deadline:
        used = busy()
    if used > IDLE:
        print(
            f"bench: others use {used:.0%} of this machine's processors. The times will be noisy; "
            "CPU time per job is the better number then.",
            file=sys.stderr,
        )
    return used


def facts(made: Lab) -> dict[str, Any]:
    """What a reader has to know about this machine to judge the numbers."""
    version = ["docker", "-H", made.docker, "version", "--format", "{{.Server.Version}}"]
    model = [
        line.partition(": ")[2]
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "processors": _CORES,
        "model": model[0] if model else platform.machine(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)),
        "kernel": platform.release(),
        "docker": subprocess.run(
            version, capture_output=True, text=True, check=True
        ).stdout.strip(),
        "python": platform.python_version(),
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Cpu:
    """Processor time by group, in seconds, from the control groups where there are any."""

    ways: Path | None = None
    engine: Path | None = None
    containers: tuple[Path, ...] = ()  # wherever the engine puts them

    def read(self) -> dict[str, float]:
        """Return the seconds of each group, and of the machine."""
        if self.ways is None or self.engine is None:
            return {"machine": seconds_used()}
        # This process, with all simulators, is in the first group too.
        own = resource.getrusage(resource.RUSAGE_SELF)
        inside = {path: _usage(path) for path in self.containers}
        below = sum(used for path, used in inside.items() if path.is_relative_to(self.engine))
        return {
            "ways": _usage(self.ways) - own.ru_utime - own.ru_stime,
            "engine": _usage(self.engine) - below,
            "containers": sum(inside.values()),
            "machine": seconds_used(),
        }

    def since(self, before: Mapping[str, float]) -> dict[str, float]:
        """Return what was used since `before`, and its sum without other programs as `all`."""
        now = self.read()
        used = {name: now[name] - before[name] for name in now}
        apart = [seconds for name, seconds in used.items() if name != "machine"]
        return {**used, "all": sum(apart) if apart else used["machine"]}


@contextmanager
def cpu(made: Lab) -> Iterator[Cpu]:
    """Put this process and the lab's engine into groups of their own."""
    base = _hierarchy()
    if base is None or made.engine is None:
        yield Cpu()
        return
    name = f"airlock-bench-{os.getpid()}"
    ways, engine = base / name, base / f"{name}-engine"
    for group in (ways, engine):
        group.mkdir()
    (ways / "cgroup.procs").write_text(str(os.getpid()))
    for pid in (str(made.engine.pid), CONTAINERD.read_text()):
        (engine / "cgroup.procs").write_text(pid)
    try:
        yield Cpu(ways=ways, engine=engine, containers=(base / CGROUP, engine / CGROUP))
    finally:
        for group in (ways, engine):
            for pid in (group / "cgroup.procs").read_text().split():
                with suppress(OSError):
                    (base / "cgroup.procs").write_text(pid)
        for group in (ways, engine / CGROUP, engine):
            with suppress(OSError):
                group.rmdir()


def _hierarchy() -> Path | None:
    """Return where groups that count processor time can be created, if anywhere."""
    root = Path("/sys/fs/cgroup")
    for path in (root, *sorted(root.glob("*cpuacct*"))):
        if _counter(path).exists() and os.access(path, os.W_OK):
            return path
    return None


def _counter(group: Path) -> Path:
    """Return the file that counts: cgroup v1 has a hierarchy for it."""
    return group / ("cpuacct.usage" if "cpuacct" in str(group) else "cpu.stat")


def _usage(group: Path) -> float:
    counter = _counter(group)
    try:
        text = counter.read_text()
    except FileNotFoundError:  # the engine has not started a container there
        return 0.0
    if counter.name == "cpuacct.usage":
        return int(text) / 1e9
    return int(text.split()[1]) / 1e6  # its first line is usage_usec


def others(used: Mapping[str, float], seconds: float) -> float:
    """Return which part of the processors other programs used, from a `Cpu.since`."""
    return max(0.0, used["machine"] - used["all"]) / seconds / _CORES
