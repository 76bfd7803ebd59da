"""The hosts that keys are bound to, as OpenSSH's own programs read them."""

import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bootstrap import process
from bootstrap.errors import WrongConfiguration
from bootstrap.sandbox.ssh import confine
from bootstrap.sandbox.ssh.agent_filter import Usage
from bootstrap.sandbox.ssh.agent_seccomp import MACHINES
from bootstrap.sandbox.ssh.agent_seccomp import program as seccomp_program
from bootstrap.sandbox.ssh.ssh_agent import TRUSTED, destinations, known_hosts, ssh_agent
from bootstrap.secret import Secret

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAfuCHKVTjquxvt6CM6tdG4SLp1Btn/nOeHHE5UOzR{:02d}"
# Each has a key of its own; none of them could be looked up by one name.
PINS = (
    f"[git.example.com]:2222 {KEY.format(10)}",
    f"*.example.org,!bad.example.org {KEY.format(20)}",
    f"?.example.net,10.0.0.1 {KEY.format(30)}",
)
SHIPPED = 3
CONFINE = Path(confine.__file__)


def found(path: Path, name: str) -> set[str]:
    """Return the keys that ssh-keygen finds for a name."""
    done = subprocess.run(
        ["ssh-keygen", "-F", name, "-f", str(path)], capture_output=True, text=True, check=False
    )
    return {line.split()[2] for line in done.stdout.splitlines() if line and line[0] != "#"}


def keygen(path: Path, kind: str = "ed25519") -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(path)], check=True)
    return path.read_text()


def test_every_pinned_key_is_a_destination(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(destinations(known_hosts(PINS)))
    assert {pin.split()[2] for pin in PINS} < found(path, TRUSTED)
    assert len(found(path, TRUSTED)) == SHIPPED + len(PINS)


def test_hashed_host_is_a_destination(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text(f"git.example.com {KEY.format(40)}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(plain)], check=True, capture_output=True)
    hashed = plain.read_text()
    assert hashed.startswith("|1|")
    path = tmp_path / "hosts"
    path.write_bytes(destinations(hashed.encode()))
    assert found(path, TRUSTED) == {KEY.format(40).split()[1]}


def test_comments_and_markers_are_not_destinations() -> None:
    lines = f"# a comment\n@revoked * {KEY.format(1)}\n@cert-authority * {KEY.format(2)}\n\n"
    assert destinations(lines.encode()) == b""


@pytest.mark.lab
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_every_kind_of_key_signs_in_the_confined_agent(tmp_path: Path, kind: str) -> None:
    keys = {"ssm:/key": Secret(keygen(tmp_path / "key", kind))}
    used: list[Usage] = []
    (tmp_path / "sandbox").mkdir()
    with ssh_agent(
        tmp_path / "sandbox", tmp_path / "own", keys,
        uid=os.getuid(), agent_uid=1999, known=None, used=used.append,
    ):  # fmt: skip
        env = {"SSH_AUTH_SOCK": str(tmp_path / "sandbox/agent"), "PATH": "/usr/bin"}
        sign = ["ssh-add", "-T", str(tmp_path / "key.pub")]
        assert subprocess.run(sign, env=env, check=False).returncode == 0
    assert used == [Usage(signed=1, not_signed=0, refused={})]


@pytest.mark.lab
def test_confine_of_unsuitable_program_fails_with_reason(tmp_path: Path) -> None:
    """confine.py alone, with programs that are no agent."""
    for path in (tmp_path / "root", tmp_path / "socket"):
        path.mkdir()
    start = [sys.executable, "-I", "-S", str(CONFINE), str(os.getpid()), "1999", str(tmp_path)]
    lines = seccomp_program(MACHINES[platform.machine()]).hex()
    reasons = {
        ("/usr/bin/absent",): "No such file",
        ("/usr/bin/ssh-agent", "-D", "-a", "/absent/agent"): "cannot bind",
        ("/usr/bin/false",): "ended at once",
    }
    for argv, reason in reasons.items():
        done = subprocess.run(
            [*start, *argv], input=lines, capture_output=True, text=True, check=False, timeout=20
        )
        os.wait()  # the program becomes the caller's child
        assert (done.returncode, done.stdout) == (1, "")
        assert reason in done.stderr


# An ssh-add before 8.9: it rejects -h in these words (openbsd-compat/getopt_long.c).
OLD = """#!/bin/sh
for argument; do
  case $argument in
    -h | -H) echo "unknown option -- ${argument#-}" >&2; exit 1 ;;
  esac
done
exec /usr/bin/ssh-add "$@"
"""


def test_unknown_option_is_reported_in_the_expected_words() -> None:
    done = subprocess.run(["ssh-agent", "-Z"], capture_output=True, text=True, check=False)
    assert "option -- Z" in done.stderr


@pytest.mark.lab
def test_old_openssh_is_a_configuration_error_unless_destinations_are_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (tmp_path, *tmp_path.parents[:2]):
        if path != Path(tempfile.gettempdir()):  # with --basetemp it is one of them
            path.chmod(0o755)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ssh-add").write_text(OLD)
    (tmp_path / "bin/ssh-add").chmod(0o755)
    monkeypatch.setitem(process.ENVIRONMENT, "PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    keys = {"ssm:/key": Secret(keygen(tmp_path / "key"))}
    (tmp_path / "sandbox").mkdir()
    how = {"uid": os.getuid(), "agent_uid": 1999}
    with (
        pytest.raises(WrongConfiguration, match=r"OpenSSH 8\.9"),
        ssh_agent(
            tmp_path / "sandbox", tmp_path / "one", keys, known=known_hosts(()), used=print, **how
        ),
    ):
        raise AssertionError("the agent was opened with a key that is not bound")
    with ssh_agent(tmp_path / "sandbox", tmp_path / "two", keys, known=None, used=print, **how):
        env = {"SSH_AUTH_SOCK": str(tmp_path / "sandbox/agent"), "PATH": "/usr/bin"}
        assert subprocess.run(["ssh-add", "-l"], env=env, check=False).returncode == 0
