"""What the service tells its service manager, by sd_notify(3): a datagram, and no library."""

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress

_EARLY = 3  # times per interval of the watchdog that the loop shows that it runs


class Notify:
    """Has no effect where the service manager named no socket. No method waits or raises."""

    def __init__(self, address: str | None, *, watchdog: float | None = None) -> None:
        self._address = address
        self._watchdog = watchdog
        self._last: float | None = None

    @classmethod
    def of(cls, env: Mapping[str, str], pid: int) -> "Notify":
        """Return the one that the service manager's environment names for this process."""
        watched = env.get("WATCHDOG_PID", str(pid)) == str(pid)
        microseconds = env.get("WATCHDOG_USEC", "") if watched else ""
        watchdog = int(microseconds) / 1e6 if microseconds.isdecimal() else 0.0
        return cls(env.get("NOTIFY_SOCKET") or None, watchdog=watchdog or None)

    def ready(self, status: str) -> None:
        """The service accepts connections, at its start or after a reload."""
        self._send("READY=1", f"MAINPID={os.getpid()}", _status(status))

    def reloading(self) -> None:
        """The configuration is read again; ends with `ready`."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={now}", "STATUS=reloading")

    def stopping(self, status: str) -> None:
        """The service ends; jobs that run go on without it."""
        self._send("STOPPING=1", _status(status))

    def status(self, text: str) -> None:
        """Set the line that `systemctl status` shows."""
        self._send(_status(text))

    def alive(self, now: float) -> None:
        """Show that the loop runs. Call it in every turn: most calls send nothing."""
        if self._watchdog and (self._last is None or now - self._last >= self._pause):
            self._last = now
            self._send("WATCHDOG=1")

    def patience(self) -> float | None:
        """Return how many seconds a turn of the loop may wait; None if nothing watches it."""
        return self._pause if self._watchdog else None

    @property
    def _pause(self) -> float:
        return (self._watchdog or 0.0) / _EARLY

    def _send(self, *lines: str) -> None:
        if self._address is None:
            return
        # An abstract name begins with a zero byte, which an environment variable cannot have.
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        with suppress(OSError), socket.socket(socket.AF_UNIX, kind) as manager:
            manager.sendto("\n".join(lines).encode(), address)


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())[:200]}"
