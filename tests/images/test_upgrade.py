"""images/ami/upgrade: versions side by side, a check before each switch, and the way back."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.images.scripts import part, program

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files to root")
UNITS = ("airlock.socket", "airlock.service")


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """Directories in the place of a host's; nothing runs there, as while an image is built."""

    base: Path

    @property
    def current(self) -> Path:
        return self.base / "opt/airlock"

    def add(self, name: str, *, starts: bool = True) -> None:
        """Have a version there, of which `airlock serve --check` passes or fails."""
        version = self.base / "opt/airlock.d" / name
        (version / "agent-config/systemd").mkdir(parents=True)
        program(version / "bin", "airlock", f"echo {name} >>{self.base}/checked; exit {1 - starts}")
        program(version / "bin", "airlock-launcher", f"echo {name}")
        for unit in UNITS:
            (version / "agent-config/systemd" / unit).write_text(name)
        (version / "complete").touch()

    def run(self, arguments: str) -> tuple[int, str]:
        base = self.base
        script = (
            f"versions={base}/opt/airlock.d; current={base}/opt/airlock; units={base}/units\n"
            f"command={base}/usr/bin/airlock; launcher={base}/usr/libexec/launcher\n"
            f"config={base}/airlock.toml; live() {{ false; }}; main {arguments}"
        )
        done = part("upgrade", script)
        return done.returncode, done.stdout + done.stderr

    def in_use(self) -> set[str]:
        """Return the versions that anything of the host is of."""
        base = self.base
        texts = [(base / "units" / unit).read_text() for unit in UNITS]
        launcher = (base / "usr/libexec/launcher").read_text().split()[-1]
        command = (base / "usr/bin/airlock").resolve().parents[1].name
        return {*texts, launcher, command, self.current.resolve().name}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    for name in ("opt/airlock.d", "usr/bin", "usr/libexec", "units"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "airlock.toml").write_text('[sandbox]\nimage = "x"\n')
    made = Host(base=tmp_path)
    made.add("1")
    made.add("2")
    assert made.run("use 1") == (0, "airlock upgrade: 1 is used now, after none\n")
    return made


def test_switch_takes_everything_and_back_is_another_switch(host: Host) -> None:
    assert host.in_use() == {"1"}
    assert host.run("use 2") == (0, "airlock upgrade: 2 is used now, after 1\n")
    assert host.in_use() == {"2"}
    assert host.run("list") == (0, "- 1\n* 2\n")
    assert host.run("back") == (0, "airlock upgrade: 1 is used now, after 2\n")
    assert host.in_use() == {"1"}
    assert host.run("back")[0] == 0
    assert host.in_use() == {"2"}


def test_second_time_changes_nothing(host: Host) -> None:
    def times() -> dict[Path, int]:
        return {path: path.lstat().st_ctime_ns for path in host.base.rglob("*")}

    host.run("use 1")
    (host.base / "checked").unlink()
    before = times()
    assert host.run("use 1") == (0, "airlock upgrade: 1 is used already\n")
    (host.base / "checked").unlink()
    assert {path for path, at in times().items() if before.get(path) != at} <= {host.base}


def test_version_that_does_not_start_with_the_configuration_is_not_used(host: Host) -> None:
    host.add("3", starts=False)
    status, shown = host.run("use 3")
    assert status == 1
    assert "version 3 does not start with" in shown
    assert "nothing was changed" in shown
    assert host.in_use() == {"1"}
    assert host.run("list")[1] == "* 1\n  2\n  3\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("use 9", "there is no version 9"),
        ("back", "no other version was used on this host before"),
        ("use", "use needs the name of a version; `upgrade list` shows"),
        ("--nothing", "unknown argument '--nothing'"),
        ("lits", "unknown argument 'lits'"),
        ("2", "unknown argument '2'"),
        ("use 2 1", "unknown argument '1'"),
    ],
)
def test_mistake_is_named_and_changes_nothing(host: Host, arguments: str, expected: str) -> None:
    status, shown = host.run(arguments)
    assert status != 0
    assert expected in shown
    assert host.in_use() == {"1"}


def test_host_without_a_configuration_gets_no_version(host: Host) -> None:
    (host.base / "airlock.toml").unlink()
    status, shown = host.run("use 2")
    assert status == 1
    assert "airlock.toml does not exist" in shown
    assert host.in_use() == {"1"}


def test_installation_of_one_version_becomes_the_one_to_go_back_to(tmp_path: Path) -> None:
    """As docs/install.md has it: a virtual environment in /opt/airlock itself."""
    for name in ("opt/airlock.d", "usr/bin", "usr/libexec", "units"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "airlock.toml").touch()
    host = Host(base=tmp_path)
    host.add("2")
    (tmp_path / "opt/airlock").mkdir()
    for name in ("airlock", "airlock-launcher"):
        program(tmp_path / "opt/airlock/bin", name, ": unversioned")
    for unit in UNITS:
        (tmp_path / "units" / unit).write_text("unversioned")
    assert host.run("use 2")[0] == 0
    assert host.in_use() == {"2"}
    assert host.run("back") == (0, "airlock upgrade: unversioned is used now, after 2\n")
    assert host.in_use() == {"unversioned"}


def test_prune_keeps_what_is_used_and_what_was(host: Host) -> None:
    host.add("3")
    host.run("use 2")
    assert host.run("prune") == (0, "airlock upgrade: removed 3\n")
    assert host.run("list")[1] == "- 1\n* 2\n"


def test_two_upgrades_at_once_are_one(host: Host) -> None:
    lock = host.base / "opt/airlock.d/.lock"
    done = part("upgrade", f"exec 8>>{lock}; flock 8; versions={lock.parent}; main list")
    assert done.returncode == 1
    assert "another upgrade runs on this host" in done.stderr
