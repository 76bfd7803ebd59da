"""The hosts that keys are bound to, as OpenSSH's own programs read them."""

import os
import subprocess
from pathlib import Path

import pytest

from bootstrap import process
from bootstrap.errors import WrongConfiguration
from bootstrap.sandbox.ssh_agent import TRUSTED, destinations, known_hosts, ssh_agent
from bootstrap.secret import Secret

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAfuCHKVTjquxvt6CM6tdG4SLp1Btn/nOeHHE5UOzR{:02d}"
# Each has a key of its own; none of them could be looked up by one name.
PINS = (
    f"[git.example.com]:2222 {KEY.format(10)}",
    f"*.example.org,!bad.example.org {KEY.format(20)}",
    f"?.example.net,10.0.0.1 {KEY.format(30)}",
)
SHIPPED = 3


def found(path: Path, name: str) -> set[str]:
    """Ask ssh-keygen which keys a name has."""
    done = subprocess.run(
        ["ssh-keygen", "-F", name, "-f", str(path)], capture_output=True, text=True, check=False
    )
    return {line.split()[2] for line in done.stdout.splitlines() if line and line[0] != "#"}


def keygen(path: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path.read_text()


def test_every_pin_counts_however_it_names_its_host(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(destinations(known_hosts(PINS)))
    assert {pin.split()[2] for pin in PINS} < found(path, TRUSTED)
    assert len(found(path, TRUSTED)) == SHIPPED + len(PINS)


def test_hashed_names_count_too(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text(f"git.example.com {KEY.format(40)}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(plain)], check=True, capture_output=True)
    hashed = plain.read_text()
    assert hashed.startswith("|1|")
    path = tmp_path / "hosts"
    path.write_bytes(destinations(hashed.encode()))
    assert found(path, TRUSTED) == {KEY.format(40).split()[1]}


def test_comments_and_markers_are_no_hosts() -> None:
    lines = f"# a comment\n@revoked * {KEY.format(1)}\n@cert-authority * {KEY.format(2)}\n\n"
    assert destinations(lines.encode()) == b""


# What ssh-add before 8.9 does with -h, by its own text (openbsd-compat/getopt_long.c).
OLD = """#!/bin/sh
for argument; do
  case $argument in
    -h | -H) echo "unknown option -- ${argument#-}" >&2; exit 1 ;;
  esac
done
exec /usr/bin/ssh-add "$@"
"""


def test_the_text_of_an_unknown_option_is_openssh_s() -> None:
    done = subprocess.run(
        ["ssh-agent", "ssh-add", "-Z"], capture_output=True, text=True, check=False
    )
    assert "option -- Z" in done.stderr


@pytest.mark.lab
def test_an_old_openssh_is_named_and_holds_no_unbound_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ssh-add").write_text(OLD)
    (tmp_path / "bin/ssh-add").chmod(0o755)
    monkeypatch.setitem(process.ENVIRONMENT, "PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    keys = {"ssm:/key": Secret(keygen(tmp_path / "key"))}
    (tmp_path / "room").mkdir()
    how = {"uid": os.getuid(), "agent_uid": 1999}
    with (
        pytest.raises(WrongConfiguration, match=r"OpenSSH 8\.9"),
        ssh_agent(
            tmp_path / "room", tmp_path / "one", keys, known=known_hosts(()), used=print, **how
        ),
    ):
        raise AssertionError("it went on with a key that is not bound")
    with ssh_agent(tmp_path / "room", tmp_path / "two", keys, known=None, used=print, **how):
        env = {"SSH_AUTH_SOCK": str(tmp_path / "room/agent"), "PATH": "/usr/bin"}
        assert subprocess.run(["ssh-add", "-l"], env=env, check=False).returncode == 0
