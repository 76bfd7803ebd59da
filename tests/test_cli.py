"""The command line with wrong input, without an engine, and without disk space."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from bootstrap import __version__
from tests.job.given import JOB_ID, agent_files, job_env, process_env
from tests.policy.given import HEAD

AIRLOCK = Path(sys.executable).with_name("airlock")
ROOT = Path(__file__).parents[1]
Done = subprocess.CompletedProcess[str]


def airlock(*arguments: str, env: Mapping[str, str] | None = None) -> Done:
    return subprocess.run(
        [str(AIRLOCK), *arguments],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], **(env or {})},
        timeout=60,
        check=False,
    )


def configured(tmp_path: Path, **settings: str) -> Path:
    """Write a host's configuration whose engine does not exist, and an admitting policy."""
    (tmp_path / "policies").mkdir(mode=0o755)
    (tmp_path / "policies/storefront.yaml").write_text(HEAD + "  - {name: all, allow: {}}\n")
    paths = {"records": f"{tmp_path}/records.jsonl", **settings}
    path = tmp_path / "airlock.toml"
    path.write_text(
        f'[policy]\nstore = "file:{tmp_path}/policies"\n'
        f'[sandbox]\nimage = "job:1"\ndocker = "unix://{tmp_path}/docker.sock"\n'
        f'[paths]\nruntime = "/dev/shm/airlock-test-{os.getpid()}"\nstate = "{tmp_path}/state"\n'
        f'records = "{paths["records"]}"\n'
    )
    return path


def as_agent(tmp_path: Path, **env: str) -> dict[str, str]:
    """Return the environment in which an agent starts Airlock."""
    return process_env(**agent_files(tmp_path, job_env(**env)))


def verbs() -> list[str]:
    """The verbs of `airlock policy`, as its help lists them."""
    found = re.findall(r"^    ([a-z-]+) ", airlock("policy", "--help").stdout, re.MULTILINE)
    assert len(found) == 15
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        (), ("bootstrap",), ("admit",), ("serve",), ("gc",), ("firewall",), ("doctor",),
        ("policy",), ("why",), ("record",), ("replay",), ("record", "export"), ("record", "list"),
    ],
)  # fmt: skip
def test_help_is_what_the_documents_show(arguments: tuple[str, ...]) -> None:
    shown = airlock(*arguments, "--help", env={"COLUMNS": "80"})
    assert shown.returncode == 0
    command = " ".join(("airlock", *arguments, "--help"))
    assert f"$ {command}\n{shown.stdout.rstrip()}\n```" in (ROOT / "docs/commands.md").read_text()


@pytest.mark.parametrize("module", ["bootstrap.cli", "bootstrap.command_line"])
def test_nothing_heavy_is_loaded_before_the_command_is_known(module: str) -> None:
    """Each of these takes longer than all else that is in front of a job."""
    program = f"import sys, {module}; print(*sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = set(shown.stdout.split())
    assert module in loaded
    assert not loaded & {"pydantic", "yaml", "docker", "botocore", "jwt", "structlog"}


def test_version_option_prints_the_version() -> None:
    assert airlock("--version").stdout == f"airlock {__version__}\n"
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", __version__)


@pytest.mark.parametrize("arguments", [(), ("bootstap",), ("bootstrap", "--confg", "x")])
def test_a_wrong_command_line_ends_with_2_and_a_hint(arguments: tuple[str, ...]) -> None:
    done = airlock(*arguments)
    assert done.returncode == 2
    assert "usage: airlock" in done.stderr
    assert "--help`.\n" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_configuration_ends_with_78(tmp_path: Path) -> None:
    for command in ("bootstrap", "gc"):
        done = airlock(command, "--config", str(tmp_path / "absent.toml"))
        assert done.returncode == 78
        assert "No such file or directory" in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr


def test_bootstrap_started_by_hand_names_the_agent(tmp_path: Path) -> None:
    done = airlock("bootstrap", "--config", str(configured(tmp_path)))
    assert done.returncode == 78
    assert "is started by buildkite-agent, as its bootstrap-script" in done.stdout


def test_a_missing_environment_file_ends_with_125(tmp_path: Path) -> None:
    env = as_agent(tmp_path)
    Path(env["BUILDKITE_ENV_JSON_FILE"]).unlink()
    done = airlock("bootstrap", "--config", str(configured(tmp_path)), env=env)
    assert done.returncode == 125
    assert "cannot be read" in done.stdout


@pytest.mark.parametrize("content", [None, "{", "[" * 100_000])
def test_the_hook_refuses_a_file_that_it_cannot_read(tmp_path: Path, content: str | None) -> None:
    """It may contain loader variables: only a job that was read may be left to the script."""
    env = as_agent(tmp_path)
    file = Path(env["BUILDKITE_ENV_JSON_FILE"])
    file.unlink()
    if content is not None:
        file.write_text(content)
    done = airlock("admit", "--config", str(configured(tmp_path)), env=env)
    assert done.returncode == 125
    assert "environment file" in done.stdout


def test_the_hook_refuses_loader_variables_even_if_nothing_can_be_recorded(
    tmp_path: Path,
) -> None:
    config = configured(tmp_path, records="/dev/full")
    env = as_agent(tmp_path, LD_PRELOAD="/evil.so")
    assert airlock("admit", "--config", str(config), env=env).returncode == 77


def test_a_full_disk_below_the_audit_trail_ends_with_125(tmp_path: Path) -> None:
    config = configured(tmp_path, records="/dev/full")
    done = airlock("bootstrap", "--config", str(config), env=as_agent(tmp_path))
    assert done.returncode == 125
    assert "Airlock starts no job that it cannot record" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_a_refusal_is_recorded_and_explained(tmp_path: Path) -> None:
    env = as_agent(tmp_path, BUILDKITE_PULL_REQUEST="7")
    done = airlock("bootstrap", "--config", str(configured(tmp_path)), env=env)
    assert done.returncode == 77
    assert "rule 'all': pull-request: expected no, got fork" in done.stdout
    kinds = [
        json.loads(line)["event"] for line in (tmp_path / "records.jsonl").read_text().splitlines()
    ]
    assert kinds == ["denied", "failed"]
    assert (tmp_path / "state/records" / f"{JOB_ID}.0.json").exists()


@pytest.mark.parametrize("command", ["bootstrap", "admit"])
def test_the_agents_own_token_does_not_enter_a_sandbox(tmp_path: Path, command: str) -> None:
    env = {**as_agent(tmp_path), "BUILDKITE_AGENT_ACCESS_TOKEN": "bkat_of-the-whole-agent"}
    config = configured(tmp_path)
    done = airlock(command, "--config", str(config), env=env)
    assert done.returncode == 78
    assert "is not this job's alone" in done.stdout
    assert 'policy.agent-tokens = "any"' in done.stdout
    text = config.read_text().replace("[policy]", '[policy]\nagent-tokens = "any"')
    config.write_text(text)
    done = airlock(command, "--config", str(config), env=env)
    assert done.returncode == (125 if command == "bootstrap" else 0)
    assert "this job could take other jobs of the agent" in done.stdout
    assert "bkat_of" not in done.stdout + config.with_name("records.jsonl").read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="airlock bootstrap needs root")
def test_an_engine_that_does_not_answer_ends_with_125(tmp_path: Path) -> None:
    done = airlock("bootstrap", "--config", str(configured(tmp_path)), env=as_agent(tmp_path))
    assert done.returncode == 125, done.stdout
    assert f"Docker Engine does not answer at unix://{tmp_path}/docker.sock" in done.stdout
    assert "Is docker.service running" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="airlock gc needs root")
def test_gc_that_cannot_create_its_directories_says_so(tmp_path: Path) -> None:
    config = configured(tmp_path)
    config.write_text(config.read_text().replace(f"{tmp_path}/state", "/proc/nowhere/state"))
    done = airlock("gc", "--config", str(config))
    assert done.returncode == 125
    assert (
        "could not be created: [Errno 2] No such file or directory: '/proc/nowhere" in done.stderr
    )
    assert "Check paths.runtime and paths.state in airlock.toml" in done.stderr


def by_another_user(command: str, config: Path) -> "subprocess.CompletedProcess[str]":
    pretend = (
        f"import os, sys; os.geteuid = lambda: 2000; sys.argv = ['airlock', {command!r}, "
        f"'--config', {str(config)!r}]; from bootstrap.cli import main; sys.exit(main())"
    )
    return subprocess.run(
        [sys.executable, "-c", pretend], capture_output=True, text=True, check=False, timeout=60
    )


def test_gc_by_another_user_than_root_names_how_to_run_it(tmp_path: Path) -> None:
    done = by_another_user("gc", configured(tmp_path))
    assert done.returncode == 78
    assert done.stderr.startswith("airlock: Airlock runs as uid 2000, expected root\nRun it with")


def test_bootstrap_by_another_user_than_root_names_the_launcher(tmp_path: Path) -> None:
    """Also where that user cannot read airlock.toml, as a proxy's password demands."""
    done = by_another_user("bootstrap", tmp_path / "not-there")
    assert done.returncode == 78
    assert "Airlock runs as uid 2000, expected root" in done.stdout
    assert 'bootstrap-script="/usr/libexec/airlock-launcher"' in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_the_environment_of_a_job_configures_nothing(tmp_path: Path) -> None:
    """What is in the process environment is data; none of it configures a library."""
    hostile = {
        "DOCKER_HOST": "tcp://127.0.0.1:1",
        "AWS_PROFILE": "absent",
        "SSL_CERT_FILE": "/absent",
        "PYDANTIC_DISABLE_PLUGINS": "__all__",
        "TZ": "Mars/Olympus",
    }
    env = {**as_agent(tmp_path, BUILDKITE_PULL_REQUEST="7"), **hostile}
    done = airlock("bootstrap", "--config", str(configured(tmp_path)), env=env)
    assert done.returncode == 77


CLEARED = """import json, os
from bootstrap.cli import cleared
print(json.dumps([cleared(), len(os.environ)]))"""


def test_environment_in_a_legacy_locale_is_decoded_as_utf_8() -> None:
    """Else a job's own value would differ from the agent's file, and count as the agent's."""
    env = {"LC_ALL": "POSIX", "BUILDKITE_SECRETS_CONFIG": "é"}
    legacy = [sys.executable, "-I", "-X", "utf8=0", "-c"]
    done = subprocess.run([*legacy, CLEARED], env=env, capture_output=True, check=True)
    assert json.loads(done.stdout) == [env, 0]
    naive = "import json, os; print(json.dumps(os.environ['BUILDKITE_SECRETS_CONFIG']))"
    done = subprocess.run([*legacy, naive], env=env, capture_output=True, check=True)
    assert json.loads(done.stdout) != "é", "the locale changes nothing: the test proves nothing"


def test_variable_without_a_name_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    env = {**as_agent(tmp_path), "": "x"}
    done = airlock("bootstrap", "--config", str(configured(tmp_path)), env=env)
    assert done.returncode == 77
    assert "a variable without a name" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_on_a_host_without_anything_is_no_bug(tmp_path: Path) -> None:
    """It is for hosts on which little works: nothing that is missing ends it."""
    path = configured(tmp_path)
    path.write_text(path.read_text() + '[aws]\ncredentials = "file:/nowhere"\n')
    done = airlock("doctor", "--config", str(path), "--agent-config", "/nowhere", "--at", "image")
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert re.search(r"^FAIL     engine +Docker Engine does not answer", done.stdout, re.MULTILINE)
    assert re.search(r"^\d+ checks: \d+ ok, ", done.stdout.splitlines()[-1])
    assert "\x1b" not in done.stdout


def test_doctor_without_a_configuration_says_so(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent.toml")
    done = airlock("doctor", "--config", absent, "--at", "image", "--json")
    found = {one["check"]: one for one in json.loads(done.stdout)["findings"]}
    assert found["configuration"]["status"] == "fail"
    assert absent in found["configuration"]["seen"]


def test_doctor_names_the_checks_if_one_does_not_exist() -> None:
    done = airlock("doctor", "--skip", "kernle")
    assert done.returncode == 78
    assert "--skip kernle: there is no such check" in done.stderr
    assert " kernel, " in done.stderr
