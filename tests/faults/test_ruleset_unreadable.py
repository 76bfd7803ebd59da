"""A ruleset that cannot be read for a moment is no breach; one that stays unreadable is.

`nft` is replaced for one agent's wrappers, in a mount namespace of their own.
"""

import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.attacks.attacker import run
from tests.fakes.control_plane import Job
from tests.lab.engine import eventually
from tests.lab.lab import AIRLOCK, GATE, Fleet, open_gate

pytestmark = pytest.mark.lab

# Does what the file `mode` says each time a table is listed: one line per listing in `listings`.
FAKE = """#!/bin/sh
cd {base}
case "$*" in
  *"list table inet airlock"*)
    if [ -e mode ]; then
      echo listing >>listings
      . ./mode
    fi ;;
esac
exec ./nft-real "$@"
"""
FAILS_TWICE = "[ $(wc -l <listings) -gt 2 ] || exit 1"
FAILS = "echo 'Error: cannot allocate memory' >&2; exit 1"
IS_SLOW = "sleep 1.8"
HANGS = "sleep 60"
TRAP = "trap 'echo the trap ran; exit 3' TERM; echo running; sleep 60 & wait"


@contextmanager
def agent_with_fake_nft(fleet: Fleet) -> Iterator[Path]:
    """Run an agent whose wrappers have the fake; yield the directory with `mode`."""
    base = fleet.base / "nft"
    base.mkdir()
    real = Path(shutil.which("nft", path="/usr/sbin:/usr/bin:/sbin:/bin") or "").resolve()
    shutil.copy(real, base / "nft-real")
    fake = base / "nft"
    fake.write_text(FAKE.format(base=base))
    fake.chmod(0o755)
    # Mounts the tmpfs of paths.runtime, which the private namespace then inherits.
    subprocess.run([*AIRLOCK, "gc", "--config", str(fleet.config)], check=True, capture_output=True)
    script = base / "bootstrap"
    mount = f"mount --bind {fake} {real} && exec {fleet.bootstrap_script}"
    private = shlex.join(["unshare", "--mount", "--propagation", "private", "sh", "-c", mount])
    script.write_text(f"#!/bin/sh\nexec {private}\n")
    script.chmod(0o755)
    with fleet.agent(bootstrap_script=script):
        yield base


def running(fleet: Fleet, command: str) -> Job:
    job = fleet.control.enqueue(fleet.env(command))
    fleet.control.wait(job, lambda j: b"\nrunning" in j.log)
    return job


def change_something_else(base: Path, mode: str) -> None:
    """Change nftables outside of Airlock's table, so that it is read again."""
    (base / "mode").write_text(mode)
    run("nft", "add table ip elsewhere; delete table ip elsewhere")
    eventually((base / "listings").exists, "the ruleset is read")


def test_listing_that_fails_twice_does_not_end_the_job(fleet: Fleet) -> None:
    with agent_with_fake_nft(fleet) as base:
        job = running(fleet, f"echo running; {GATE}; exit 4")
        change_something_else(base, FAILS_TWICE)
        listings = base / "listings"
        eventually(lambda: len(listings.read_text().splitlines()) > 2, "it is read again")
        open_gate(job)
        assert fleet.control.finished(job) == ("4", "", ""), job.log.decode()


def test_ruleset_that_stays_unreadable_ends_the_job_and_the_log_says_so(fleet: Fleet) -> None:
    with agent_with_fake_nft(fleet) as base:
        job = running(fleet, "echo running; sleep 60")
        change_something_else(base, FAILS)
        assert fleet.control.finished(job, 30) == ("-1", "", "process_run_error")
    assert b"table inet airlock could not be read for 5 s while the job ran" in job.log
    assert b"cannot allocate memory" in job.log
    assert b"was changed or removed" not in job.log


@pytest.mark.parametrize("mode", [IS_SLOW, HANGS])
def test_cancellation_while_the_ruleset_is_read_is_a_cancellation(fleet: Fleet, mode: str) -> None:
    """The agent's signal goes to the whole process group of its bootstrap-script."""
    with agent_with_fake_nft(fleet) as base:
        job = running(fleet, TRAP)
        change_something_else(base, mode)
        fleet.control.cancel(job)
        assert fleet.control.finished(job) == ("-1", "SIGTERM", "cancel"), job.log.decode()
    assert b"\nthe trap ran" in job.log
    assert b"the job was stopped" not in job.log


def test_killed_helper_does_not_end_the_job(fleet: Fleet) -> None:
    """Another program kills nft as it lists the table."""
    with agent_with_fake_nft(fleet) as base:
        job = running(fleet, f"echo running; {GATE}; exit 5")
        change_something_else(base, "[ $(wc -l <listings) -gt 1 ] || kill -9 $$")
        listings = base / "listings"
        eventually(lambda: len(listings.read_text().splitlines()) > 1, "it is read again")
        open_gate(job)
        assert fleet.control.finished(job) == ("5", "", ""), job.log.decode()
