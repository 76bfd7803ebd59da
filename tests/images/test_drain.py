"""agent-config/ec2/drain.py: the group ends an instance only when its job has ended."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from tests.fakes.metadata import Metadata
from tests.fakes.simulator import Call, Reply, Simulator, loopback
from tests.images.scripts import program
from tests.images.test_auto_scaling import EC2, KEYS


class Group(Simulator):
    """The API of EC2 Auto Scaling: notes its actions."""

    def __init__(self, refused: int = 0) -> None:
        super().__init__(loopback())
        self.actions: list[dict[str, str]] = []
        self.refused = refused

    def answer(self, call: Call) -> Reply:
        asked = dict(parse_qsl(call.body.decode()))
        with self.changed:
            self.actions.append(asked)
            self.changed.notify_all()
        if self.refused:
            self.refused -= 1
            return Reply(status=400, kind="text/xml", body=b"<ErrorResponse><Error><Code>"
                         b"ValidationError</Code></Error></ErrorResponse>")  # fmt: skip
        name = asked["Action"]
        body = f"<{name}Response><{name}Result/></{name}Response>"
        return Reply(kind="text/xml", body=body.encode())

    def done(self) -> list[str]:
        return [action["Action"] for action in self.actions]


class Instance(Metadata):
    """The metadata of an instance, which the group ends as soon as `ends` is set."""

    def __init__(self) -> None:
        super().__init__(loopback())
        self.ends = threading.Event()
        self.in_group = True
        self.asked = threading.Event()

    def answer(self, call: Call) -> Reply:
        if call.path == "/latest/meta-data/autoscaling/target-lifecycle-state":
            self.asked.set()
            state = b"Terminated" if self.ends.is_set() else b"InService"
            return Reply(body=state, kind="text/plain") if self.in_group else Reply(status=404)
        return super().answer(call)


def drain(tmp_path: Path, instance: Instance, group: Group) -> "subprocess.Popen[str]":
    """Start it on a host whose `systemctl` waits for the file `job-ended`."""
    program(
        tmp_path / "bin", "systemctl",
        f'echo "$*" >>{tmp_path}/stopped; until [ -e {tmp_path}/job-ended ]; do sleep 0.1; done; '
        f"exit $(cat {tmp_path}/job-ended)",
    )  # fmt: skip
    command = [sys.executable, "-I", str(EC2 / "drain.py"), "--group", "agents", "--hook", "drain",
               "--region", "eu-central-1", "--poll", "0.1", "--heartbeat", "0.2",
               "--metadata", instance.url.removeprefix("http://")]  # fmt: skip
    env = {**KEYS, "AWS_ENDPOINT_URL": group.url, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("refused", [0, 1])
def test_group_waits_until_the_job_has_ended(tmp_path: Path, refused: int) -> None:
    with Instance() as instance, Group(refused) as group:
        draining = drain(tmp_path, instance, group)
        assert instance.asked.wait(30)
        assert group.done() == []
        assert not (tmp_path / "stopped").exists()
        instance.ends.set()
        with group.changed:
            assert group.changed.wait_for(lambda: len(group.actions) >= 3, 30)
        assert set(group.done()) == {"RecordLifecycleActionHeartbeat"}
        assert draining.poll() is None
        (tmp_path / "job-ended").write_text("0")
        _, output = draining.communicate(timeout=30)
        assert draining.returncode == 0, output
        last = group.actions[-1]
    assert (tmp_path / "stopped").read_text() == "stop buildkite-agent.service\n"
    assert {name: last[name] for name in last if name != "Version"} == {
        "Action": "CompleteLifecycleAction", "LifecycleActionResult": "CONTINUE",
        "AutoScalingGroupName": "agents", "LifecycleHookName": "drain",
        "InstanceId": "i-0123456789abcdef0",
    }  # fmt: skip
    assert ("was not asked to wait longer" in output) is bool(refused)


def test_agent_that_could_not_be_stopped_is_not_given_up(tmp_path: Path) -> None:
    with Instance() as instance, Group() as group:
        instance.ends.set()
        (tmp_path / "job-ended").write_text("4")
        draining = drain(tmp_path, instance, group)
        _, output = draining.communicate(timeout=30)
        assert "CompleteLifecycleAction" not in group.done()
    assert draining.returncode == 1
    assert "systemctl stop ended with 4" in output


def test_instance_of_no_group_goes_on(tmp_path: Path) -> None:
    with Instance() as instance, Group() as group:
        instance.in_group = False
        draining = drain(tmp_path, instance, group)
        assert instance.asked.wait(30)
        instance.asked.clear()
        assert instance.asked.wait(30), "it asks again"
        assert draining.poll() is None
        draining.kill()
        _, output = draining.communicate(timeout=30)
    assert output == ""
    assert group.done() == []
