"""A job, replayed by a user who has nothing but Docker's socket."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.git import publish
from tests.lab.developer import ROOT
from tests.lab.lab import REPOSITORY
from tests.replay.conftest import LIMITS, Replays
from tests.replay.unprotected import without

pytestmark = pytest.mark.lab


def test_output_and_status_are_the_jobs(replays: Replays) -> None:
    done = replays.run("echo received; cat README.md; id -u; exit 7")
    assert done.returncode == 7, done.stderr.decode()
    assert b"received" in done.stdout
    assert b"a storefront" in done.stdout
    assert f"\n{replays.developer.uid}\r\n".encode() in done.stdout
    assert b"exit status 7" in done.stderr
    assert replays.remains() == []


def test_output_is_byte_for_byte_what_the_job_prints(replays: Replays) -> None:
    script = r"""for i in $(seq 1000); do echo "line $i"; done; printf 'a\000b\377\tend'"""
    done = replays.run(script, env={"BUILDKITE_PTY": "false"})
    assert done.returncode == 0, done.stderr.decode()
    lines = "".join(f"line {number}\n" for number in range(1, 1001)).encode()
    assert lines + b"a\x00b\xff\tend" in done.stdout


def test_agent_api_is_offline_and_complete(replays: Replays) -> None:
    script = (
        "buildkite-agent meta-data set colour green && buildkite-agent meta-data get colour && "
        "echo made > made.txt && buildkite-agent artifact upload made.txt && "
        "buildkite-agent annotate 'all is well' --context done && "
        "! buildkite-agent oidc request-token"
    )
    done = replays.run(script)
    assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()
    assert b"green" in done.stdout
    assert len(replays.fleet.control.calls) == 0
    (artifacts,) = (replays.developer.home / "airlock-replay").glob("*/artifacts")
    assert [path.read_text() for path in artifacts.rglob("made.txt")] == ["made\n"]


def test_command_and_variables_are_replaced(replays: Replays) -> None:
    done = replays.run("exit 9", "--command", 'echo "colour=$COLOUR"', "--env", "COLOUR=blue")
    assert done.returncode == 0, done.stderr.decode()
    assert b"colour=blue" in done.stdout


def test_replay_ends_after_the_checkout(replays: Replays) -> None:
    done = replays.run("echo the command ran", "--until", "checkout", "--keep")
    assert done.returncode == 0, done.stderr.decode()
    assert b"\nthe command ran" not in done.stdout
    (kept,) = (replays.developer.home / "airlock-replay").glob("*/checkout")
    assert (kept / "README.md").read_text() == REPOSITORY["README.md"]
    assert replays.remains() == []


@pytest.mark.parametrize(("name", "kind"), [("mine", "overlayfs"), ("a,b", "ext2/ext3")])
def test_working_copy_is_used_and_not_changed(replays: Replays, name: str, kind: str) -> None:
    """Under an overlay, or copied where its path cannot be an option of one."""
    mine = replays.working_copy(name)
    (mine / "README.md").write_text("changed by the developer\n")
    (mine / "new").write_text("not committed\n")
    before = replays.fingerprint(mine)
    script = (
        "stat -f -c %T . && cat README.md new && git -c color.status=never status --short && "
        "rm -rf .git/hooks && git checkout -f -q . && "
        "git config user.name job && echo by the job > README.md && mkdir -p d && chmod 0 d"
    )
    done = replays.run(script, "--checkout", str(mine))
    assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()
    assert b"changed by the developer" in done.stdout
    assert b"?? new" in done.stdout
    assert f"\n{kind}\r\n".encode() in done.stdout, done.stdout.decode()
    is_copied = f"# copying the working copy {mine}\n".encode() in done.stderr
    assert is_copied == (kind != "overlayfs")
    assert replays.fingerprint(mine) == before
    assert replays.remains() == []


def test_job_has_no_credentials_and_no_token_of_buildkites(replays: Replays) -> None:
    """Not those either that a record has."""
    keys = {"AWS_ACCESS_KEY_ID": "AKIARECORDED", "AWS_SECRET_ACCESS_KEY": "x", "AWS_PROFILE": "p",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1/"}  # fmt: skip
    done = replays.run(
        "aws sts get-caller-identity || env | grep -e ^BUILDKITE_AGENT -e ^AWS_", env=keys
    )
    assert b"RECORDED" not in done.stdout
    assert not [name for name in keys if f"\n{name}=".encode() in done.stdout]
    assert b"Unable to locate credentials" in done.stdout
    assert b"BUILDKITE_AGENT_ENDPOINT=http://127.0.0.1:3139" in done.stdout


def test_recorded_run_and_its_replay_differ_in_the_image_alone(replays: Replays) -> None:
    job = replays.record("exit 3")
    same = replays.again(job, "--compare")
    assert b"different: nothing" in same.stderr, same.stderr.decode()
    document = json.loads(job.read_text())
    document["events"][0] |= {"image": "sha256:" + "0" * 64, "reference": "ci:old"}
    job.write_text(json.dumps(document))
    other = replays.again(job, "--compare", "--image", replays.fleet.lab.image)
    assert b"different: image" in other.stderr, other.stderr.decode()


def test_hooks_of_the_repository_run(replays: Replays) -> None:
    hook = "#!/bin/bash\nexport FROM_HOOK=yes\n"
    files = {**REPOSITORY, ".buildkite/hooks/pre-command": hook}
    commit = publish(replays.fleet.base / "git", "hooked", files)
    env = {"BUILDKITE_COMMIT": commit, "BUILDKITE_REPO": f"{replays.fleet.git.url}/hooked.git"}
    done = replays.run("echo hook=$FROM_HOOK", env=env)
    assert b"hook=yes" in done.stdout, done.stderr.decode()


def test_job_of_a_developer_who_is_root_is_not(replays: Replays, tmp_path: Path) -> None:
    job, env = (
        replays.record("id -u; touch made"),
        {**replays.developer.env(), "HOME": str(tmp_path)},
    )
    command = [sys.executable, "-I", "-m", "bootstrap", *replays.arguments(job)]
    done = subprocess.run(command, env=env, capture_output=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert b"\n61000\r\n" in done.stdout
    assert replays.remains() == []


# A mount of the developer's home, read-only, where nothing looks like it.
HOME_MOUNTED = """
import os
from pathlib import Path
from dataclasses import replace
from bootstrap.replay import sandbox
from bootstrap.sandbox.model import Mount
made, source = sandbox.specification, Path(os.environ["HOME"])
def specification(*of):
    spec = made(*of)
    home = Mount(source=source, target=Path("/elsewhere"))
    return replace(spec, mounts=(*spec.mounts, home))
sandbox.specification = specification
"""


def test_developers_files_are_not_in_the_sandbox(replays: Replays) -> None:
    """Wherever they might be mounted; what a replay keeps below the home is its own."""
    secret = replays.developer.home / "secret"
    secret.write_text("of the developer")
    job = replays.record(
        "for m in $(cut -d' ' -f5 /proc/self/mountinfo); do cat $m/secret 2>/dev/null || true; "
        f"done; cat {secret} || echo searched"
    )
    done = replays.again(job)
    assert b"\nsearched" in done.stdout
    assert b"of the developer" not in done.stdout
    mounted = without(replays, HOME_MOUNTED, replays.arguments(job))
    assert b"of the developer" in mounted.stdout, mounted.stdout.decode() + mounted.stderr.decode()


def test_example_runs(replays: Replays) -> None:
    example = json.loads((ROOT / "agent-config/examples/job.json").read_text())
    example["events"][1]["spec"] = LIMITS
    job = replays.developer.home / "job.json"
    job.write_text(json.dumps(example))
    done = replays.again(job, "--image", replays.fleet.lab.image)
    assert done.returncode == 0, done.stderr.decode() + done.stdout.decode()
    assert b"hello from the offline agent API" in done.stdout
    assert b"the metadata service cannot be reached from here" in done.stdout
