"""Promise 4: the room holds no credential but the job's own, and nobody else sees that."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.room import Attacker, attacker, run
from tests.fakes.control_plane import REGISTRATION
from tests.lab.lab import ROLE, Lab, fleet

pytestmark = pytest.mark.lab

DEPLOY = f"  - name: deploy\n    when: {{branch: main}}\n    allow: {{role: '{ROLE}'}}\n"
MARK = "value-that-only-the-job-may-see"


@pytest.fixture(scope="module")
def room(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacker]:
    with fleet(lab, tmp_path_factory.mktemp("attacks") / "fleet") as made:
        made.policy(DEPLOY)
        with attacker(made, MY_SECRET=MARK, NPM_TOKEN=MARK) as attacking:
            yield attacking


def secrets_of(room: Attacker) -> dict[str, str]:
    """What must not be found: the session (as the job itself would fetch it) and the tokens."""
    fetched = room.tries(
        "curl -sf http://169.254.170.2$("
        "tr '\\0' '\\n' < /proc/$(pgrep -f 'sleep 300' | head -1)/environ |"
        " sed -n 's/^AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=//p')"
    )
    session = json.loads(fetched.stdout)
    return {
        "secret access key": session["SecretAccessKey"],
        "session token": session["Token"],
        "agent access token": room.job.token,
        "job variable": MARK,
    }


def test_the_job_itself_can_fetch_its_session(room: Attacker) -> None:
    """The search below looks for the right thing: the job's own user finds it."""
    assert secrets_of(room)["secret access key"].startswith("jobsecret")
    own = room.tries("cat /proc/$(pgrep -f 'sleep 300' | head -1)/environ")
    assert MARK in own.stdout


def test_nothing_secret_is_in_inspect_argv_labels_events_or_records(room: Attacker) -> None:
    docker = ["docker", "-H", room.fleet.lab.docker]
    places = {
        "docker inspect": run(*docker, "inspect", room.container),
        "events": run(*docker, "events", "--since", "0", "--until", "0s", "--format", "{{json .}}"),
        "docker logs": subprocess.run(
            [*docker, "logs", room.container], capture_output=True, text=True, check=False
        ).stdout,
        "argv": "\n".join(_read(path) for path in Path("/proc").glob("[0-9]*/cmdline")),
        "records": room.fleet.records.read_text(),
        "job records": "".join(_read(p) for p in (room.fleet.base / "state").rglob("*.json")),
        "job log": room.job.log.decode(errors="replace"),
        "engine's files": _engine_files(room),
    }
    for name, secret in secrets_of(room).items():
        for place, content in places.items():
            assert secret not in content, f"the {name} is in {place}"


def test_the_agents_registration_token_is_nowhere_in_the_room(room: Attacker) -> None:
    """The same search finds the token that the room does hold, so it can find this one."""
    places = "/airlock /home /tmp /run /etc /opt/airlock"
    search = (
        f"grep -rls '{{token}}' {places}; cat /proc/*/environ | tr '\\0' '\\n' | grep '{{token}}'"
    )
    assert "/airlock/env" in room.tries(search.format(token=room.job.token)).stdout
    assert room.tries(search.format(token=REGISTRATION)).stdout == ""


def test_the_hosts_credentials_are_nowhere_in_the_room(room: Attacker) -> None:
    script = "cat /proc/*/environ | tr '\\0' '\\n' | grep -c -e ASIAHOST -e host-secret"
    assert room.tries(script).stdout.strip() == "0"


def test_what_the_room_is_handed_is_readable_by_the_job_alone(room: Attacker) -> None:
    """On the host the lease is in memory and root's; in the room only the job's user reads it."""
    (lease,) = Path("/run/airlock/jobs").glob(f"{room.job.id}-*")
    assert lease.stat().st_uid == 0
    assert Path("/run/airlock").stat().st_mode & 0o077 == 0
    assert (lease / "sandbox/env").stat().st_mode & 0o777 == 0o400
    kind = run("stat", "--file-system", "--format=%T", str(lease)).strip()
    assert kind == "tmpfs"
    assert room.tries("echo x > /airlock/env; echo x > /airlock/marks/x").returncode != 0


def _engine_files(room: Attacker) -> str:
    root = run("docker", "-H", room.fleet.lab.docker, "info", "-f", "{{.DockerRootDir}}").strip()
    files = (path for path in Path(root, "containers").rglob("*") if path.is_file())
    return "".join(_read(path) for path in files)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""
