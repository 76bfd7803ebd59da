"""A virtual machine by software emulation, and its only network: one link into this namespace.

NETWORK RULE: `tests/lab/isolated` gives this process a network namespace with nothing but a
loopback. The machine's link ends there, so no packet of it can leave.
"""

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.engine import eventually
from tests.lab.world import METADATA_V4, METADATA_V6, ip

LINK = "vm0"
HOST, MACHINE = "10.88.0.1", "10.88.0.2"
MAC = "52:54:00:88:00:02"
# As on EC2, where the metadata service answers on the link of the instance.
NETWORK = f"""[Match]
MACAddress={MAC}
[Network]
Address={MACHINE}/24
Gateway={HOST}
[Route]
Destination={METADATA_V4}/32
Scope=link
"""


def assert_alone() -> None:
    """Fail unless this network namespace has no way out of this machine."""
    links = json.loads(ip("-json", "link", "show"))
    assert {link["ifname"] for link in links} <= {"lo", LINK}, f"not isolated: {links}"
    assert ip("-4", "route", "show", "default") == ""


@contextmanager
def link() -> Iterator[None]:
    """Create the link, with the addresses of everything that the machine may talk to."""
    assert_alone()
    ip("tuntap", "add", LINK, "mode", "tap")
    ip("addr", "add", f"{HOST}/24", "dev", LINK)
    ip("addr", "add", f"{METADATA_V4}/32", "dev", LINK)
    ip("-6", "addr", "add", f"{METADATA_V6}/128", "dev", LINK, "nodad")
    ip("link", "set", LINK, "up")
    try:
        yield
    finally:
        ip("link", "del", LINK)


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """One boot of the machine. `console` and `report` are what its serial ports have printed."""

    process: subprocess.Popen[bytes]
    monitor: Path
    console: Path
    report: Path

    def shown(self) -> str:
        return self.console.read_text(errors="replace") if self.console.exists() else ""

    def reported(self) -> dict[str, list[str]]:
        """Wait for the report of this boot, and return its lines by section."""
        eventually(self._is_reported, "the machine reports about its boot", 600)
        sections: dict[str, list[str]] = {}
        for line in self.report.read_text(errors="replace").splitlines():
            if line.startswith("== "):
                sections[line[3:]] = []
            elif line:
                sections[list(sections)[-1]].append(line)
        return sections

    def _is_reported(self) -> bool:
        assert self.process.poll() is None, f"the machine ended:\n{self.shown()[-3000:]}"
        return self.report.exists() and "== end" in self.report.read_text(errors="replace")

    def power_off(self) -> None:
        """Press its power button, and wait until it is off."""
        with socket.socket(socket.AF_UNIX) as connected, connected.makefile("rw") as monitor:
            connected.connect(str(self.monitor))
            for command in ("qmp_capabilities", "system_powerdown"):
                monitor.write(json.dumps({"execute": command}) + "\n")
                monitor.flush()
            self.process.wait(300)


@contextmanager
def booted(directory: Path, name: str, *, kernel: str = "") -> Iterator[Machine]:
    """Boot booted.img of `directory`; `kernel` are further words of the kernel's command line."""
    console, report, monitor = (directory / f"{name}.{end}" for end in ("console", "report", "qmp"))
    for old in (console, report, monitor):
        old.unlink(missing_ok=True)
    command = [
        "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "2048",
        "-smp", "2", "-display", "none", "-no-reboot",
        "-kernel", str(directory / "vmlinuz"), "-initrd", str(directory / "initrd"),
        "-append", f"root=/dev/vda rw console=ttyS0 systemd.show_status=1 {kernel}",
        "-drive", f"file={directory / 'booted.img'},if=virtio,format=raw",
        "-serial", f"file:{console}", "-serial", f"file:{report}",
        "-qmp", f"unix:{monitor},server=on,wait=off",
        "-netdev", f"tap,id=net,ifname={LINK},script=no,downscript=no",
        "-device", f"virtio-net-pci,netdev=net,mac={MAC}",
        "-device", "virtio-rng-pci",
    ]  # fmt: skip
    log = directory / f"{name}.qemu"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield Machine(process=process, monitor=monitor, console=console, report=report)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
