"""agent-config/ec2: the group's template, its user data, and the agent's token."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.simulator import Call, Reply, Simulator, json_reply, loopback
from tests.images.scripts import program
from tests.test_docs import ROOT

EC2 = ROOT / "agent-config/ec2"
TEMPLATE = EC2 / "auto-scaling.yaml"
HOST_ROLE = "/opt/airlock/agent-config/ec2"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}
STACK = {
    "AWS::StackName": "agents", "AWS::Region": "eu-central-1", "TokenParameter": "/ci/agent-token",
}  # fmt: skip


class _Cloud(yaml.SafeLoader):
    """YAML with CloudFormation's short forms of functions, as their arguments."""


def _plain(loader: yaml.SafeLoader, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    return loader.construct_sequence(node, deep=True)  # type: ignore[arg-type]


_Cloud.add_multi_constructor("!", _plain)


def resources() -> dict[str, Any]:
    template: dict[str, Any] = yaml.load(TEMPLATE.read_text(), _Cloud)  # noqa: S506 - a SafeLoader
    return {name: one["Properties"] for name, one in template["Resources"].items()}


def user_data() -> str:
    """Return the user data of an instance, as CloudFormation would substitute it."""
    text: str = resources()["LaunchTemplate"]["LaunchTemplateData"]["UserData"]["Fn::Base64"]
    return re.sub(r"\$\{([\w:]+)\}", lambda found: STACK[found[1]], text)


def test_template_is_one_of_cloudformation() -> None:
    lint = [str(Path(sys.executable).with_name("cfn-lint")), "--non-zero-exit-code",
            "informational", "--regions", "us-east-1", "--", str(TEMPLATE)]  # fmt: skip
    done = subprocess.run(lint, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout


def test_metadata_and_instance_role_stay_on_the_host() -> None:
    data = resources()["LaunchTemplate"]["LaunchTemplateData"]
    assert data["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
    assert "SecurityGroupIngress" not in resources()["SecurityGroup"]
    (policy,) = resources()["Role"]["Policies"]
    allowed = {statement["Sid"]: statement for statement in policy["PolicyDocument"]["Statement"]}
    assert set(allowed) == {"JobRoles", "AgentToken", "Drain"}
    assert not [one for one in allowed.values() if one["Resource"] == "*"]


def test_hook_waits_longer_than_the_heartbeats_are_apart() -> None:
    (hook,) = resources()["Hosts"]["LifecycleHookSpecificationList"]
    assert hook["LifecycleTransition"] == "autoscaling:EC2_INSTANCE_TERMINATING"
    assert hook["LifecycleHookName"] == "drain"
    shown = subprocess.run(
        [sys.executable, "-I", str(EC2 / "drain.py"), "--help"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "--heartbeat SECONDS" in shown
    default = re.search(r'"--heartbeat", type=float, default=(\d+)', (EC2 / "drain.py").read_text())
    assert default
    assert int(default[1]) * 2 < hook["HeartbeatTimeout"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to write where user data does")
def test_user_data_starts_the_agent_last_and_only_with_its_token(tmp_path: Path) -> None:
    """The script itself, below another root, with the programs of a host in its PATH."""
    there = tmp_path / "host"
    for directory in ("etc/systemd/system", "etc/airlock", "bin"):
        (there / directory).mkdir(parents=True)
    program(there / "bin", "python3", f'echo "python3 $*" >>{there}/calls; exit ${{FAILS:-0}}')
    program(there / "bin", "systemctl", f'echo "systemctl $*" >>{there}/calls')
    script = (
        user_data()
        .replace("/opt/airlock/bin/python3", "python3")
        .replace(HOST_ROLE, str(EC2))
        .replace("/etc/", f"{there}/etc/")
    )
    env = {"PATH": f"{there}/bin:{os.environ['PATH']}"}
    subprocess.run(["bash", "-c", script], env=env, check=True, timeout=30)
    token = "--region eu-central-1 /ci/agent-token"
    assert (there / "calls").read_text().splitlines() == [
        f"python3 -I {EC2}/agent_token.py {token}",
        "systemctl daemon-reload",
        "systemctl enable --now airlock-drain.service buildkite-agent.service",
    ]
    settings = "GROUP=agents\nHOOK=drain\nREGION=eu-central-1\n"
    assert (there / "etc/airlock/drain").read_text() == settings
    unit = (there / "etc/systemd/system/airlock-drain.service").read_text()
    for name in re.findall(r"\$\{(\w+)\}", unit):
        assert f"{name}=" in settings
    (there / "calls").unlink()
    refused = subprocess.run(["bash", "-c", script], env={**env, "FAILS": "1"}, check=False)
    assert refused.returncode == 1
    assert "systemctl" not in (there / "calls").read_text()


def test_user_data_passes_shellcheck(tmp_path: Path) -> None:
    (tmp_path / "user-data").write_text(user_data())
    check = ["shellcheck", str(tmp_path / "user-data")]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_unit_is_valid_and_starts_the_program_with_its_arguments(tmp_path: Path) -> None:
    unit = (EC2 / "airlock-drain.service").read_text()
    (command,) = re.findall(r"^ExecStart=/opt/airlock/bin/python3 (.*)$", unit, re.MULTILINE)
    assert command.startswith(f"-I {HOST_ROLE}/drain.py ")
    target = tmp_path / "airlock-drain.service"
    target.write_text(unit.replace("/opt/airlock/bin/python3", sys.executable))
    verify = ["systemd-analyze", "verify", "--recursive-errors=no", "--man=no", str(target)]
    found = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")
    arguments = command.replace(HOST_ROLE, str(EC2)).replace("${", "").replace("}", "").split()
    subprocess.run([sys.executable, *arguments, "--help"], capture_output=True, check=True)


class Parameters(Simulator):
    """SSM with one parameter."""

    value = "bkct_0123456789"

    def answer(self, call: Call) -> Reply:
        if call.json() != {"Name": "/ci/agent-token", "WithDecryption": True}:
            return json_reply({"__type": "ParameterNotFound"}, 400)
        return json_reply({"Parameter": {"Name": "/ci/agent-token", "Value": self.value}})


@pytest.fixture
def ssm() -> Iterator[Parameters]:
    with Parameters(loopback()) as serving:
        yield serving


def written(cfg: Path, ssm: Parameters, name: str = "/ci/agent-token") -> "Done":
    command = [sys.executable, "-I", str(EC2 / "agent_token.py"), "--region", "eu-central-1",
               "--agent-config", str(cfg), name]  # fmt: skip
    env = {**KEYS, "AWS_ENDPOINT_URL": ssm.url, "AWS_EC2_METADATA_DISABLED": "true"}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)


Done = subprocess.CompletedProcess[str]


def test_token_replaces_that_of_the_package_and_the_file_stays_private(
    tmp_path: Path, ssm: Parameters
) -> None:
    cfg = tmp_path / "buildkite-agent.cfg"
    cfg.write_text('# token="of nobody"\ntoken="xxx"\nname="%hostname-%spawn"')
    cfg.chmod(0o640)
    done = written(cfg, ssm)
    assert done.returncode == 0, done.stderr
    expected = '# token="of nobody"\nname="%hostname-%spawn"\ntoken="bkct_0123456789"\n'
    assert cfg.read_text() == expected
    assert cfg.stat().st_mode & 0o777 == 0o640
    assert written(cfg, ssm).returncode == 0
    assert cfg.read_text() == expected
    assert [path.name for path in tmp_path.iterdir()] == [cfg.name]


@pytest.mark.parametrize("value", ["", 'x"\nbootstrap-script="/tmp/mine', "a b c d e f g h"])
def test_what_is_no_token_is_not_written(tmp_path: Path, ssm: Parameters, value: str) -> None:
    cfg = tmp_path / "buildkite-agent.cfg"
    cfg.write_text("name=a\n")
    ssm.value = value
    done = written(cfg, ssm)
    assert done.returncode == 1
    assert "expected a token" in done.stderr
    assert cfg.read_text() == "name=a\n"
    assert len(value) < 8 or value not in done.stderr


def test_parameter_that_is_not_there_is_named(tmp_path: Path, ssm: Parameters) -> None:
    cfg = tmp_path / "buildkite-agent.cfg"
    cfg.write_text("name=a\n")
    done = written(cfg, ssm, "/other")
    assert done.returncode == 1
    assert "/other could not be read: " in done.stderr


@given(st.text(alphabet='token="x:\n# ', max_size=60))
def test_any_configuration_has_one_token_afterwards(text: str) -> None:
    sys.path.insert(0, str(EC2))
    try:
        from agent_token import with_token  # type: ignore[import-not-found]  # noqa: PLC0415
    finally:
        sys.path.remove(str(EC2))
    result: str = with_token(text, "new-token")
    lines = [line for line in result.split("\n") if re.match(r"[ \t]*token[ \t]*[=:]", line)]
    assert lines == ['token="new-token"']
    assert with_token(result, "new-token") == result
