"""Units under systemd itself, where it is the init process (tests/lab/with_systemd)."""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fakes.control_plane import ControlPlane
from tests.lab import launcher, unit, users
from tests.lab.engine import eventually
from tests.lab.fleet import RealAgent
from tests.lab.lab import Fleet

UNITS = Path("/run/labunits")
SERVICE = "airlock.service"
# -1000 and -900, as in the units, where the machine allows a protection. Else scores that anybody
# may set: they are inherited in the same way, so they show whose a process has.
AGENTS_SCORE, SERVICES_SCORE = (-1000, -900) if unit.can_protect() else (120, 110)


def systemctl(*arguments: str) -> str:
    command = ["systemctl", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def shown(name: str, what: str) -> str:
    """Return a property of a unit."""
    return systemctl("show", name, f"--property={what}", "--value").strip()


def main_pid(name: str = SERVICE) -> int:
    return int(shown(name, "MainPID"))


@contextmanager
def airlock(fleet: Fleet, agents: str = "root") -> Iterator[None]:
    """Have the socket and the service of Airlock, for the agents of one user.

    The units have paths of the lab, the user's group, and a short watchdog; nothing else of them
    is changed, but for the protection from the OOM killer where the machine allows none.
    """
    text = fleet.config.read_text().partition("\n[service]\n")[0]
    table = f'agents = ["{agents}"]\npre-pull = false\nnetworks-ahead = 0\n'
    fleet.config.write_text(f"{text}\n[service]\n{table}")
    command = shlex.join([sys.executable, "-I", "-m", "bootstrap", "serve", "--config",
                          str(fleet.config)])  # fmt: skip
    (UNITS / "airlock.service.d" / "lab.conf").write_text(
        f"[Service]\nExecStart=\nExecStart={command}\nWatchdogSec=3\n"
        f"StandardError=append:{fleet.base}/service.log\nOOMScoreAdjust={SERVICES_SCORE}\n"
    )
    (UNITS / "airlock.socket.d" / "lab.conf").write_text(f"[Socket]\nSocketGroup={agents}\n")
    systemctl("daemon-reload")
    systemctl("start", "airlock.socket")
    try:
        yield
    finally:
        systemctl("stop", "airlock.socket", SERVICE)


def copied_launcher(directory: Path) -> Path:
    """Return a launcher that an agent's user can reach; it uses the socket of airlock.socket."""
    return Path(shutil.copy(launcher.binary(), directory / "airlock-launcher"))


@contextmanager
def agent_unit(agent: RealAgent, control: ControlPlane, base: Path) -> Iterator[str]:
    """Run a real agent as a unit of its own, with the settings of the Elastic CI Stack's.

    `base` has to be in a directory that its user can reach (unit.directory). Yields the unit's
    name when the agent has registered. At the end its job, if it has one, is cancelled.
    """
    name = f"{agent.name}.service"
    (UNITS / name).write_text(_agents_unit(agent, control, base))
    systemctl("daemon-reload")
    systemctl("start", name)
    try:
        eventually(lambda: control.is_connected(agent.name), "the unit's agent registers")
        yield name
    finally:
        systemctl("kill", "--kill-whom=main", name) if main_pid(name) else None
        systemctl("stop", name)
        (UNITS / name).unlink()


def _agents_unit(agent: RealAgent, control: ControlPlane, base: Path) -> str:
    command = shlex.join(agent.command(control, base))
    environment = unit.environment(base / "home").items()
    return "\n".join(
        (
            "[Unit]\nDefaultDependencies=no\n[Service]\nType=simple",
            f"User={users.NAME}",
            *(f"Environment={name}={value}" for name, value in environment),
            f"ExecStart={command.replace('%', '%%')}",
            f"StandardOutput=append:{base}/agent.log\nStandardError=inherit",
            f"KillMode=process\nTimeoutStopSec=0\nOOMScoreAdjust={AGENTS_SCORE}\n",
        )
    )
