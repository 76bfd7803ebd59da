"""Running jobs and watching when each begins: the time from exec to the script's first line."""

import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BufferedReader
from typing import cast

from tests.bench.ways import FIRST, Start


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """One job: the seconds to its first byte and to its end; `failed` has the log if it did."""

    first: float
    ended: float
    failed: str = ""


def run(start: Start) -> Ran:
    """Run one job to its end."""
    began = time.monotonic()
    if start.hook is not None:
        hook = subprocess.run(start.hook, env=start.env, capture_output=True, check=False)
        if hook.returncode != 0:
            return _failed(began, hook.stdout + hook.stderr)
    with started(start) as process:
        assert process.stdout is not None
        printed: list[bytes] = []
        first = None
        for line in process.stdout:
            if first is None and line.startswith(FIRST):
                first = time.monotonic() - began
            printed.append(line)
    if first is None or process.returncode != 0:
        return _failed(began, b"".join(printed))
    return Ran(first=first, ended=time.monotonic() - began)


def started(start: Start) -> "subprocess.Popen[bytes]":
    """Start one job without its hook; its log is the process's output."""
    return subprocess.Popen(
        start.command, env=start.env, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def wait_for_first_byte(process: "subprocess.Popen[bytes]") -> BufferedReader:
    """Return the log behind the script's first line. Raises RuntimeError if it ends before."""
    assert process.stdout is not None
    printed = b""
    while not (line := process.stdout.readline()).startswith(FIRST):
        printed += line
        if not line:
            raise RuntimeError(printed.decode(errors="replace") or "the job printed nothing")
    return cast("BufferedReader", process.stdout)


def _failed(began: float, log: bytes) -> Ran:
    took = time.monotonic() - began
    return Ran(first=took, ended=took, failed=log.decode(errors="replace") or "no output")


def run_well(start: Start) -> Ran:
    """Run one job. Raises RuntimeError with its log if it fails."""
    ran = run(start)
    if ran.failed:
        raise RuntimeError(ran.failed)
    return ran


def run_at_once(starts: Sequence[Start]) -> list[Ran]:
    """Run all of them at the same time."""
    with ThreadPoolExecutor(len(starts)) as pool:
        return list(pool.map(run, starts))
