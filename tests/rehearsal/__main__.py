"""`make rehearse`: a provisioned host, from its first boot to its first isolated job.

images/ami/provision makes a host of a Debian 12 in a directory, and QEMU boots it by software
emulation, with systemd as its process 1. The metadata service, STS, the control plane and a git
server are in the network namespace at the other end of its only link.
"""

import shutil
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

from tests.lab.engine import STATE
from tests.rehearsal import boots, given, steps
from tests.rehearsal.steps import CannotRehearse
from tests.rehearsal.world import world

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
INTERRUPTED = 130
# Of one run; the others are kept for the next one.
OF_A_RUN = ("input", "tree", "disk.img", "booted.img")
TAKES = "about 15 minutes on two cores, and 10 more the first time"
CONSOLES = ("first", "second", "upgrade", "masked")


def main() -> int:
    """Run the part that argv names; without, all of it in order. Returns 0 if it passed."""
    if sys.argv[1:] == ["run"]:
        return _boots(STATE)
    directory = STATE / "rehearsal"
    began = time.monotonic()
    try:
        with suppress(PermissionError):  # without root: `require` says so
            directory.mkdir(parents=True, exist_ok=True)
        steps.require(directory)
        with steps.alone(directory) as lock:
            return _rehearse(directory, lock, began)
    except CannotRehearse as cannot:
        print(f"make rehearse: {cannot}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nmake rehearse: interrupted; {directory} has what is kept", file=sys.stderr)
        return INTERRUPTED


def _rehearse(directory: Path, lock: int, began: float) -> int:
    print(f"Rehearsal of a machine image: {TAKES}", flush=True)
    _discard(directory)
    try:
        _build(directory, lock)
        isolated = [*steps.BOUND, str(ROOT / "tests/lab/isolated"), str(directory), sys.executable]
        failed = f"the rehearsal failed; see above, and the consoles {directory}/*.console"
        steps.run([*isolated, "-m", "tests.rehearsal", "run"], lock=lock, what=failed)
    finally:
        _discard(directory)
    print(f"\nThe rehearsal passed, in {(time.monotonic() - began) / 60:.0f} minutes.")
    return 0


def _discard(directory: Path) -> None:
    """Remove what only one run needs. Its mounts have ended with their namespace."""
    paths = [str(directory / name) for name in OF_A_RUN]
    subprocess.run(["rm", "-rf", "--one-file-system", *paths], check=True)


def _build(directory: Path, lock: int) -> None:
    """Make the disk image, as somebody who makes a machine image would."""
    release, wheels = directory / "airlock.tar.gz", directory / "wheels"
    print("\nA release, and a host of it:", flush=True)
    try:
        given.write(directory / "input")
    except RuntimeError as no_agent:  # tests/lab/agent.py says what to install
        raise CannotRehearse(str(no_agent)) from None
    locked = (ROOT / "requirements.lock").read_text()
    kept = wheels / ".lock"
    if not kept.exists() or kept.read_text() != locked:
        print("       now: the wheels of all dependencies (a minute, once)", flush=True)
        shutil.rmtree(wheels, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes",
               "--only-binary", ":all:", "--requirement", str(ROOT / "requirements.lock"),
               "--dest", str(wheels)]  # fmt: skip
        steps.run(pip, what="pip could not fetch the wheels; is there a network, or a mirror?")
        kept.write_text(locked)
    made = [str(ROOT / "images/ami/release"), "--python", sys.executable, "--wheels", str(wheels)]
    steps.run(
        [*made, "--output", str(release)], what="images/ami/release failed; see above", quiet=True
    )
    build = [*steps.BOUND, str(HERE / "build"), str(directory), str(release)]
    steps.run(build, lock=lock, what="the host was not built; see above")


def _boots(directory: Path) -> int:
    """Boot the host, in a namespace of its own (tests/lab/isolated)."""
    copy = ["cp", "--sparse=always", str(directory / "disk.img"), str(directory / "booted.img")]
    try:
        subprocess.run(copy, check=True)
        with world(directory) as around:
            print("\nFirst boot (three minutes):", flush=True)
            boots.jobs(directory, around, "first")
            print("\nSecond boot, and provisioned again while it runs:", flush=True)
            boots.jobs(directory, around, "second", kernel="rehearsal.again")
            print("\nUpgrade while a job runs (two minutes):", flush=True)
            boots.upgrade(directory, around)
            print("\nBoot with the firewall's unit masked (one minute):", flush=True)
            boots.masked(directory, around)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception:  # noqa: BLE001 - whichever: what the machine has printed is shown with it
        traceback.print_exc()
        _show_console(directory)
        return 1
    return 0


def _show_console(directory: Path) -> None:
    consoles = [path for name in CONSOLES if (path := directory / f"{name}.console").exists()]
    if consoles:
        last = max(consoles, key=lambda path: path.stat().st_mtime)
        lines = last.read_text(errors="replace").splitlines()[-15:]
        print(f"\nThe end of {last.name}:", *lines, sep="\n", file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
