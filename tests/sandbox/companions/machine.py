"""A job and its services as processes, without containers."""

import os
import socket
import struct
import subprocess
import threading
from contextlib import ExitStack
from pathlib import Path

from bootstrap.sandbox.companions.output import Output
from bootstrap.sandbox.companions.watch import Started, Watch
from bootstrap.sandbox.limits import Limits, Used


class Machine:
    """Processes that stand for the job and its services, and the engine's end of their output."""

    def __init__(self, base: Path, held: ExitStack) -> None:
        self._base, self._held = base, held
        self.job = self.process()
        job = self.pidfd(self.job)
        held.callback(os.close, job)
        self.watch = Watch(job)
        self.ours: dict[str, socket.socket] = {}
        self.engines: dict[str, socket.socket] = {}
        self.outputs: dict[str, Output] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.asked: list[str] = []  # how which services ended

    def process(self) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(["sleep", "60"])
        self._held.callback(process.wait)
        self._held.callback(process.kill)
        return process

    def pidfd(self, process: "subprocess.Popen[bytes]") -> int:
        return os.pidfd_open(process.pid)

    def service(
        self,
        name: str,
        outcome: tuple[int, bool] | None = (3, False),
        answered: threading.Event | None = None,
        used: Used | None = None,
        directories: tuple[str, ...] = (),
        *,
        awaited: str = "",
    ) -> "subprocess.Popen[bytes]":
        process = self.processes[name] = self.process()
        self.ours[name], self.engines[name] = socket.socketpair()
        self._held.callback(self.engines[name].close)
        self.outputs[name] = Output(self._base, name, limit=10_000, awaited=awaited)

        def asked() -> tuple[int, bool] | None:
            self.asked.append(name)
            return outcome if answered is None or answered.wait(60) else None

        limits = Limits(process.pid, directories)
        if used:
            limits.used = lambda: used  # type: ignore[method-assign]
        self.watch.add(Started(
            name=name, process=self.pidfd(process), stream=self.ours[name],
            output=self.outputs[name], limits=limits, outcome=asked,
        ))  # fmt: skip
        return process

    def prints(self, name: str, text: bytes) -> None:
        self.engines[name].sendall(struct.pack("!BxxxI", 1, len(text)) + text)
