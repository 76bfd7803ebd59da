"""Promise 4: the sandbox has no credentials but the job's own, and these are not seen outside."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.attacker import Attacker, attacker, run
from tests.fakes.control_plane import REGISTRATION
from tests.lab.lab import ROLE, Lab, fleet

pytestmark = pytest.mark.lab

DEPLOY = f"  - name: deploy\n    when: {{branch: main}}\n    allow: {{role: '{ROLE}'}}\n"
MARK = "value-that-only-the-job-may-see"


@pytest.fixture(scope="module")
def sandbox(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacker]:
    with fleet(lab, tmp_path_factory.mktemp("attacks") / "fleet") as made:
        made.policy(DEPLOY)
        with attacker(made, MY_SECRET=MARK, NPM_TOKEN=MARK) as attacking:
            yield attacking


def secrets_of(sandbox: Attacker) -> dict[str, str]:
    """Return what must not be found: the session, as the job itself fetches it, and the tokens."""
    fetched = sandbox.tries(
        "curl -sf http://169.254.170.2$("
        "tr '\\0' '\\n' < /proc/$(pgrep -f 'sleep 300' | head -1)/environ |"
        " sed -n 's/^AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=//p')"
    )
    session = json.loads(fetched.stdout)
    return {
        "secret access key": session["SecretAccessKey"],
        "session token": session["Token"],
        "agent access token": sandbox.job.token,
        "job variable": MARK,
    }


def test_job_reads_its_own_session_and_variables(sandbox: Attacker) -> None:
    """The job's own user finds what the search below looks for."""
    assert secrets_of(sandbox)["secret access key"].startswith("jobsecret")
    own = sandbox.tries("cat /proc/$(pgrep -f 'sleep 300' | head -1)/environ")
    assert MARK in own.stdout


def test_inspect_argv_labels_events_and_records_have_no_secret(sandbox: Attacker) -> None:
    docker = ["docker", "-H", sandbox.fleet.lab.docker]
    places = {
        "docker inspect": run(*docker, "inspect", sandbox.container),
        "events": run(*docker, "events", "--since", "0", "--until", "0s", "--format", "{{json .}}"),
        "docker logs": subprocess.run(
            [*docker, "logs", sandbox.container], capture_output=True, text=True, check=False
        ).stdout,
        "argv": "\n".join(_read(path) for path in Path("/proc").glob("[0-9]*/cmdline")),
        "records": sandbox.fleet.records.read_text(),
        "job records": "".join(_read(p) for p in (sandbox.fleet.base / "state").rglob("*.json")),
        "job log": sandbox.job.log.decode(errors="replace"),
        "engine's files": _engine_files(sandbox),
    }
    for place in ("docker inspect", "records", "engine's files"):
        assert sandbox.job.id in places[place], f"{place} is not of this job"
    for name, secret in secrets_of(sandbox).items():
        for place, content in places.items():
            assert secret not in content, f"the {name} is in {place}"


def test_sandbox_has_no_agent_registration_token(sandbox: Attacker) -> None:
    """The same search finds the job's own token, which the sandbox does have."""
    places = "/airlock /home /tmp /run /etc /opt/airlock"
    search = (
        f"grep -rls '{{token}}' {places}; cat /proc/*/environ | tr '\\0' '\\n' | grep '{{token}}'"
    )
    assert "/airlock/env" in sandbox.tries(search.format(token=sandbox.job.token)).stdout
    assert sandbox.tries(search.format(token=REGISTRATION)).stdout == ""


def test_sandbox_has_no_host_credentials(sandbox: Attacker) -> None:
    script = "cat /proc/*/environ | tr '\\0' '\\n' | grep -c -e ASIAHOST -e host-secret"
    assert sandbox.tries(script).stdout.strip() == "0"


def test_sandbox_directory_is_readable_by_job_user_alone(sandbox: Attacker) -> None:
    """The job directory is root's, in the host's memory; inside, only the job's user reads it."""
    (directory,) = Path("/run/airlock/jobs").glob(f"{sandbox.job.id}-*")
    assert directory.stat().st_uid == 0
    assert Path("/run/airlock").stat().st_mode & 0o077 == 0
    assert (directory / "sandbox/env").stat().st_mode & 0o777 == 0o400
    kind = run("stat", "--file-system", "--format=%T", str(directory)).strip()
    assert kind == "tmpfs"
    assert sandbox.tries("echo x > /airlock/env").returncode != 0
    assert sandbox.tries("echo x > /airlock/marks/x").returncode != 0


def _engine_files(sandbox: Attacker) -> str:
    root = run("docker", "-H", sandbox.fleet.lab.docker, "info", "-f", "{{.DockerRootDir}}").strip()
    files = (path for path in Path(root, "containers").rglob("*") if path.is_file())
    return "".join(_read(path) for path in files)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""
