"""The service of the fleet under measurement, and the launcher that reaches it."""

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.lab.engine import eventually
from tests.lab.lab import AIRLOCK

ROOT = Path(__file__).parents[2]


class Service:
    """`airlock serve` in the foreground; it is started anew for a first job without warm caches."""

    def __init__(self, command: Sequence[str], socket: Path) -> None:
        self.socket = socket
        self._command = command
        self._process = self._started()

    @property
    def pid(self) -> int:
        return self._process.pid

    def restart(self) -> float:
        """Stop it and start it anew; return the seconds from its start until it answers."""
        self.close()
        began = time.monotonic()
        self._process = self._started()
        return time.monotonic() - began

    def close(self) -> None:
        """Stop it: its jobs have ended."""
        self._process.terminate()
        self._process.wait(60)

    def _started(self) -> "subprocess.Popen[bytes]":
        with suppress(FileNotFoundError):
            self.socket.unlink()
        process = subprocess.Popen(self._command, env={"PATH": "/usr/bin:/bin"})
        eventually(lambda: self.socket.exists() or process.poll() is not None, "the service starts")
        if process.poll() is not None:
            raise RuntimeError(f"the service ended at once with {process.returncode}")
        return process


@contextmanager
def service(config: Path, *, python: Sequence[str] = AIRLOCK) -> Iterator[Service]:
    """Serve this configuration until this closes; root is its only agent."""
    socket = config.with_name("airlock.sock")
    text = config.read_text()
    config.write_text(f'{text}\n[service]\nsocket = "{socket}"\nagents = ["root"]\n')
    running = Service([*python, "serve", "--foreground", "--config", str(config)], socket)
    try:
        yield running
    finally:
        running.close()
        config.write_text(text)


def launcher(base: Path) -> Path:
    """Build the launcher, as the wheel has it."""
    program = base / "airlock-launcher"
    subprocess.run([ROOT / "launcher/build", str(program)], check=True)
    return program
