"""What an agent that is not root may have mounted into containers."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bootstrap.errors import WrongConfiguration
from bootstrap.host.config import Sandbox
from bootstrap.job.model import Agent
from bootstrap.sandbox.agent_paths import HOOKS, binary, checked, mountable
from bootstrap.sandbox.agent_settings import MORE_HOOKS
from bootstrap.secret import Secret

AGENT = 2000
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")


@pytest.fixture
def below() -> Iterator[Path]:
    """A directory of root's, with root's directories above it; pytest's are not open to all."""
    path = Path("/var/lib/airlock-test-paths")
    path.mkdir(mode=0o755)
    yield path
    shutil.rmtree(path)


def hooks(path: Path, mode: int = 0o755, uid: int = AGENT) -> Path:
    path.mkdir()
    path.chmod(mode)
    os.chown(path, uid, uid)
    return path


def test_hooks_of_the_agent_below_roots_directories_are_mounted(below: Path) -> None:
    """As in the Elastic CI Stack: nobody but root can put another directory in their place."""
    path = hooks(below / "hooks")
    assert mountable(path, "hooks-path", agent_uid=AGENT) == path


def test_what_is_mounted_is_where_links_lead(below: Path) -> None:
    path = hooks(below / "hooks")
    (below / "link").symlink_to(path)
    assert mountable(below / "link", "hooks-path", agent_uid=AGENT) == path


@pytest.mark.parametrize("uid", [0, AGENT])
@pytest.mark.parametrize("mode", [0o750, 0o700, 0o751, 0o754])
def test_hooks_that_jobs_cannot_read_are_an_error_and_not_ignored(
    below: Path, mode: int, uid: int
) -> None:
    path = hooks(below / "hooks", mode)
    with pytest.raises(WrongConfiguration, match=f"its mode is 0{mode:o}"):
        mountable(path, "hooks-path", agent_uid=uid)


def test_hooks_are_checked_only_if_they_are_for_jobs(below: Path) -> None:
    path = hooks(below / "hooks", 0o750)
    agent = Agent(values={HOOKS: str(path)}, token=Secret("bkaj_x"), own_token=True, uid=AGENT)
    assert checked(agent, Sandbox(image="any")) == agent
    with pytest.raises(WrongConfiguration, match="its mode is 0750"):
        checked(agent, Sandbox(image="any", hooks=True))
    path.chmod(0o755)
    (below / "link").symlink_to(path)
    linked = replace(agent, values={HOOKS: str(below / "link")})
    assert checked(linked, Sandbox(image="any", hooks=True)) == agent
    assert checked(replace(agent, values={}), Sandbox(image="any", hooks=True)).values == {}


def test_agents_binary_is_the_hosts_unless_airlock_toml_names_one(below: Path) -> None:
    own = hooks(below / "own")
    (own / "buildkite-agent").write_text("")
    (own / "buildkite-agent").chmod(0o755)
    values = {"BUILDKITE_BIN_PATH": str(own)}
    agent = Agent(values=values, token=Secret("bkaj_x"), own_token=True, uid=AGENT)
    assert binary(replace(agent, uid=0), Sandbox(image="any")) == own / "buildkite-agent"
    with pytest.raises(WrongConfiguration, match=f"{own} belongs to uid {AGENT}"):
        binary(agent, Sandbox(image="any"))
    named = Sandbox.model_validate({"image": "any", "agent-binary": str(own / "buildkite-agent")})
    assert binary(agent, named) == own / "buildkite-agent"
    with pytest.raises(WrongConfiguration, match="there is no buildkite-agent at"):
        binary(replace(agent, values={"BUILDKITE_BIN_PATH": "/nowhere"}), Sandbox(image="any"))


def test_path_that_does_not_exist_is_an_error(below: Path) -> None:
    with pytest.raises(WrongConfiguration, match=r"hooks-path is .*: No such file or directory"):
        mountable(below / "none", "hooks-path", agent_uid=AGENT)


@pytest.mark.parametrize(("uid", "mode"), [(AGENT, 0o755), (0, 0o777), (0, 0o700), (0, 0o1777)])
def test_path_that_the_agent_can_exchange_or_not_reach_is_no_path_of_root(
    below: Path, uid: int, mode: int
) -> None:
    """Root would mount a directory that the agent's user cannot read itself."""
    above = hooks(below / "above", mode, uid)
    (above / "hooks").mkdir(mode=0o755)
    with pytest.raises(WrongConfiguration, match=f"{above} belongs to uid {uid} with mode"):
        mountable(above / "hooks", "hooks-path", agent_uid=AGENT)
    assert mountable(above / "hooks", "hooks-path", agent_uid=0) == above / "hooks"


@pytest.mark.parametrize("path", ["/", "/run", "/run/lock", "/proc", "/proc/1", "/sys", "/dev"])
def test_no_job_sees_sockets_or_processes_of_the_host_as_hooks(path: str) -> None:
    """With /run it could connect to the system's bus, for instance."""
    with pytest.raises(WrongConfiguration, match=r"in it are /dev, /proc, /run, /sys|its mode is"):
        mountable(Path(path), "hooks-path", agent_uid=AGENT)


def test_hooks_that_anybody_may_write_are_not_for_jobs(below: Path) -> None:
    path = below / "hooks"
    path.mkdir()
    path.chmod(0o777)
    with pytest.raises(WrongConfiguration, match="anybody may write to it: its mode is 0777"):
        mountable(path, "hooks-path", agent_uid=AGENT)


def test_link_of_the_agent_to_what_it_cannot_read_is_no_way_there(below: Path) -> None:
    secret = below / "secret"
    secret.mkdir(mode=0o700)
    (secret / "open").mkdir(mode=0o755)
    own = hooks(below / "own")
    (own / "hooks").symlink_to(secret / "open")
    with pytest.raises(WrongConfiguration, match=f"{secret} belongs to uid 0 with mode 0700"):
        mountable(own / "hooks", "hooks-path", agent_uid=AGENT)


def test_additional_hooks_are_checked_as_hooks_are(below: Path) -> None:
    listed = [hooks(below / name) for name in ("first", "second")]
    (below / "link").symlink_to(listed[1])
    agent = Agent(
        values={MORE_HOOKS: f"{listed[0]},{below}/link,"}, token=Secret("t"), own_token=True
    )
    found = checked(agent, Sandbox(image="any", hooks=True))
    assert found.values[MORE_HOOKS] == ",".join(map(str, listed))
    assert MORE_HOOKS not in checked(agent, Sandbox(image="any")).values, "none is mounted"
    listed[1].chmod(0o750)
    with pytest.raises(WrongConfiguration, match="additional-hooks-paths is"):
        checked(agent, Sandbox(image="any", hooks=True))
