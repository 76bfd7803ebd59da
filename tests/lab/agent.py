"""The real buildkite-agent: its binary, and one running agent as the client of everything."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.fakes.control_plane import REGISTRATION, ControlPlane
from tests.lab import unit
from tests.lab.engine import STATE, eventually

_BUILD = Path(__file__).with_name("agent_build")


def binary() -> Path:
    """Return a buildkite-agent: $BUILDKITE_AGENT, the PATH's, or one built here with Go."""
    named = os.environ.get("BUILDKITE_AGENT") or shutil.which("buildkite-agent")
    if named:
        return Path(named).resolve()
    sources = sorted(path for path in _BUILD.rglob("*") if path.is_file())
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    target = STATE / "agent" / digest / "buildkite-agent"
    if not target.exists():
        _build(target)
    return target


def _build(target: Path) -> None:
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if not go:
        raise RuntimeError(
            "the lab needs a real buildkite-agent: set BUILDKITE_AGENT to its binary, put it on "
            "PATH, or install Go 1.26 so that the lab can build it"
        )
    print("lab: building buildkite-agent (two to five minutes, once)", flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_suffix(".new")
    module = "github.com/buildkite/agent/v3"
    done = subprocess.run(
        [go, "build", "-trimpath", "-ldflags=-s -w", "-o", str(fresh), module],
        cwd=_BUILD,
        env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=mod"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"buildkite-agent was not built: {done.stderr[-3000:]}")
    fresh.replace(target)


def known_flags(program: Path) -> frozenset[str]:
    """Return the flags of `buildkite-agent start`, as the program itself lists them."""
    asked = [str(program), "start", "--help"]
    shown = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=30).stdout
    return frozenset(re.findall(r"^ +(--[a-z0-9-]+)", shown, re.MULTILINE))


def spelled(flags: Iterable[str], known: frozenset[str]) -> list[str]:
    """Return the flags of an agent 3 as this agent spells them.

    Both spellings: docs/agent-contract.md#agent-3-and-agent-4. A flag that neither knows stays,
    and the agent itself refuses it.
    """
    result: list[str] = []
    given = iter(flags)
    for flag in given:
        match flag:
            case "--no-ansi-timestamps" if flag not in known:
                continue  # the control plane takes them out (control_plane/log.py)
            case "--cancel-grace-period" if flag not in known:
                result += ["--cancel-signal-timeout", f"{int(next(given)) - 1}s"]
            case _:
                result.append(flag)
    return result


@dataclass(frozen=True, kw_only=True, slots=True)
class Agent:
    """One running agent."""

    name: str
    pid: int
    log: Path
    builds: Path
    process: subprocess.Popen[bytes]

    def bootstrap_pid(self) -> int:
        """Return the process of Airlock that the agent started for its job, once there is one."""
        eventually(lambda: _wrappers(self.pid), "the agent starts its bootstrap-script")
        return _wrappers(self.pid)[0]


def _wrappers(pid: int) -> list[int]:
    """Return its children that run Airlock or its launcher; the agent has others for moments."""
    return [child for child in children(pid) if _is_ours(command(child))]


def _is_ours(arguments: bytes) -> bool:
    return b"\0-m\0bootstrap\0" in arguments or b"airlock-launcher\0" in arguments


def command(pid: int) -> bytes:
    """Return the arguments of a process, each ended by NUL; nothing if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def children(pid: int) -> list[int]:
    """Return the children of all threads: a Go program forks from any, and threads come and go."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):
            found += [int(child) for child in path.read_text().split()]
    return found


def reaper_of(wrapper: int) -> int:
    """Return the wrapper's reaper: its first child that runs the same program."""
    forked = map(int, Path(f"/proc/{wrapper}/task/{wrapper}/children").read_text().split())
    return next(child for child in forked if command(child) == command(wrapper))


def start_command(
    base: Path,
    *,
    name: str,
    control: ControlPlane,
    bootstrap_script: str,
    flags: tuple[str, ...] = (),
    as_unit: bool = False,
) -> list[str]:
    """Make an agent's directories below `base`, and return the command that starts it."""
    for directory in ("builds", "hooks", "plugins", "home", "sockets"):
        (base / directory).mkdir(parents=True, exist_ok=True)
        if as_unit:
            unit.give(base / directory, mode=0o750 if directory == "hooks" else 0o755)
    arguments = [
        "--token", REGISTRATION,
        "--endpoint", control.url,
        "--name", name,
        "--build-path", str(base / "builds"),
        "--hooks-path", str(base / "hooks"),
        "--plugins-path", str(base / "plugins"),
        "--sockets-path", str(base / "sockets"),
        "--bootstrap-script", bootstrap_script,
        "--ping-mode", "poll-only",
        "--no-color", "--no-ansi-timestamps",
        *flags,
    ]  # fmt: skip
    program = binary()
    return [str(program), "start", *spelled(arguments, known_flags(program))]


@contextmanager
def running_agent(
    base: Path,
    *,
    name: str,
    control: ControlPlane,
    bootstrap_script: str,
    flags: tuple[str, ...] = (),
    env: Mapping[str, str] | None = None,
    seconds: float = 20,
    as_unit: bool = False,
) -> Iterator[Agent]:
    """Run a real agent until this closes; it begins when the agent has registered.

    `as_unit`: as its own user, as the Elastic CI Stack's unit starts it. `base` has to be in a
    directory that this user can reach (unit.directory).
    Raises RuntimeError with the end of the agent's log if that is not within `seconds`.
    """
    program = start_command(
        base, name=name, control=control, bootstrap_script=bootstrap_script, flags=flags,
        as_unit=as_unit,
    )  # fmt: skip
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(base / "home"), **(env or {})}
    if as_unit:
        clean |= unit.environment(base / "home")
    log = base / "agent.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*(unit.command() if as_unit else ()), *program],
            env=clean, cwd=base, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    agent = Agent(name=name, pid=process.pid, log=log, builds=base / "builds", process=process)
    try:
        _await_registration(agent, control, seconds)
        yield agent
    finally:
        _stop(process)


def _await_registration(agent: Agent, control: ControlPlane, seconds: float) -> None:
    try:
        eventually(
            lambda: control.is_connected(agent.name) or agent.process.poll() is not None,
            "it registers",
            seconds,
        )
    except TimeoutError as late:
        raise _useless(agent, str(late)) from late
    if agent.process.poll() is not None:
        raise _useless(agent, f"it ended with {agent.process.returncode}")


def _useless(agent: Agent, why: str) -> RuntimeError:
    tail = agent.log.read_text(errors="replace")[-2000:]
    return RuntimeError(f"the agent {agent.name} cannot run jobs: {why}. Its log ends:\n{tail}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop it gracefully, then with a second signal, which ends the agent's job too."""
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            process.send_signal(number)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                continue
