"""What can be wrong with a machine or an image ends in one sentence and a documented status."""

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.registry import Registry
from tests.lab.developer import UID
from tests.replay.conftest import Replays

pytestmark = pytest.mark.lab
GONE = "127.0.0.1:1/ci/gone@sha256:" + "0" * 64


def test_without_docker(replays: Replays) -> None:
    done = replays.run("true", "--docker", "unix:///none.sock")
    assert done.returncode == 125
    assert b"there is no Docker Engine at /none.sock" in done.stderr


def test_without_permission_on_the_socket(replays: Replays) -> None:
    replays.developer = replace(replays.developer, in_group=False)
    done = replays.run("true")
    assert done.returncode == 78
    assert b"may not use Docker's socket" in done.stderr
    assert b"can become root on this machine" in done.stderr


def test_image_that_is_gone_from_a_registry_that_does_not_answer(replays: Replays) -> None:
    done = replays.run("true", "--image", GONE)
    assert done.returncode == 125
    assert b"is not on this machine" in done.stderr
    assert b"docker pull" in done.stderr
    assert done.stderr.count(b"Traceback") == 0
    assert replays.remains() == []


def test_image_of_a_registry_that_wants_a_login(replays: Replays) -> None:
    with Registry(socket.create_server(("127.0.0.1", 0)), {"ci": "secret"}) as registry:
        image = registry.push("ci/job", "1", {"file": b""})
        done = replays.run("true", "--image", image)
    assert done.returncode == 125
    assert f"`docker pull {image}` uses your own login".encode() in done.stderr
    assert replays.remains() == []


def test_without_an_agent(replays: Replays) -> None:
    job = replays.record("true")
    done = replays.developer.run("replay", str(job))
    assert done.returncode == 78
    assert b"there is no buildkite-agent on PATH" in done.stderr


@contextmanager
def mounted(path: Path, options: str) -> Iterator[Path]:
    """Mount a filesystem in memory, with the developer's files."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"uid={UID},mode=700,{options}", "tmpfs", str(path)]
    subprocess.run(mount, check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize("variable", ["XDG_STATE_HOME", "XDG_RUNTIME_DIR"])
def test_full_disk_of_its_own_files(replays: Replays, variable: str) -> None:
    with mounted(replays.developer.home / "small", "size=20k") as small:
        replays.developer = replace(replays.developer, more={variable: str(small)})
        done = replays.run("true")
        assert [path for path in small.rglob("*") if path.is_file()] == []
    assert done.returncode == 125, done.stderr.decode()
    problem, to_do = done.stderr.decode().splitlines()[-2:]
    assert problem.startswith("airlock: the replay's own files cannot be written: [Errno 28]")
    assert to_do.startswith("It needs some space there, or other places: XDG_RUNTIME_DIR")
    assert replays.remains() == []


def test_record_of_another_user(replays: Replays) -> None:
    job = replays.record("true")
    job.chmod(0o600)
    done = replays.again(job)
    assert (done.returncode, done.stdout) == (78, b"")
    problem, to_do = done.stderr.decode().splitlines()
    assert problem == f"airlock: {job} cannot be read: Permission denied"
    assert to_do.endswith("root's, who exports one with `airlock record export`.")


def test_directory_that_is_read_only(replays: Replays) -> None:
    with mounted(replays.developer.home / "small", "ro") as small:
        done = replays.run("true", "--output", str(small))
    assert done.returncode == 78
    problem, to_do = done.stderr.decode().splitlines()
    assert problem.startswith(f"airlock: the job's artifacts cannot go to {small}/")
    assert problem.endswith(": Read-only file system")
    assert to_do.startswith("Name another directory with --output")
    assert replays.remains() == []


def test_artifact_for_which_there_is_no_space(replays: Replays) -> None:
    script = "head -c 1000000 /dev/zero >f && timeout 4 buildkite-agent artifact upload f"
    with mounted(replays.developer.home / "small", "size=64k") as small:
        done = replays.run(script, "--output", str(small))
    assert done.returncode == 124  # the agent would try again for most of a minute
    assert b"what it sends cannot be written: No space left on device" in done.stderr


def test_working_copy_of_a_checkout_that_was_kept_before(replays: Replays) -> None:
    job = replays.record("echo begun")
    assert replays.again(job, "--keep").returncode == 0
    done = replays.again(job, "--keep")
    assert (done.returncode, done.stdout) == (78, b"")
    assert b"checkout exists, so that this checkout cannot be kept there" in done.stderr


def test_recorded_refusal_is_printed_and_the_job_runs(replays: Replays) -> None:
    job = replays.record("echo begun")
    document = json.loads(job.read_text())
    document["events"].append({"event": "denied", "problem": "no rule admits it"})
    job.write_text(json.dumps(document))
    done = replays.again(job)
    assert done.returncode == 0
    assert b"# this job was refused and never ran (no rule admits it); `airlock" in done.stderr


def test_image_without_a_shell_ends_at_once(replays: Replays, tmp_path: Path) -> None:
    image = replays.empty_image(tmp_path)
    done = replays.run("true", "--image", image)
    assert done.returncode == 125
    assert replays.remains() == []
