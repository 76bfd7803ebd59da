"""Promise 4: one rule that grants everything, and a search for every secret, everywhere."""

import base64
import json
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.attacks import search
from tests.attacks.attacker import Attacker, attacker, run
from tests.fakes.control_plane import REGISTRATION
from tests.fakes.ssm import StrictSsm
from tests.fakes.sts import Trust
from tests.lab import world
from tests.lab.lab import ROLE, Fleet, Lab, fleet

pytestmark = pytest.mark.lab

AUDIT = "arn:aws:iam::444455556666:role/storefront-audit"
EVERYTHING = f"""  - name: everything
    when: {{branch: main}}
    allow:
      role: {ROLE}
      roles: {{audit: "{AUDIT}"}}
      secrets: {{API: "ssm:/storefront/variable"}}
      secret-files: {{license: "ssm:/storefront/file"}}
      ssh-keys: ["ssm:/storefront/key"]
      git-tokens: {{"https://git.example.com/acme/": "ssm:/storefront/git"}}
      registries: {{registry.example.com: "ssm:/storefront/registry"}}
"""
ENVIRONMENT = {"/airlock/env", "/proc/*/environ"}

# The only places of each secret in the sandbox. What a rule grants, its job reads.
GRANTED: search.Found = {
    "variable": ENVIRONMENT,
    "agent access token": ENVIRONMENT,
    "file": {"/airlock/secrets/license"},
    "git token": {"/airlock/git-credentials"},
    "registry login": {"/airlock/registries/config.json"},
    "profile's key": {"/airlock/profiles/audit.json"},
    "profile's token": {"/airlock/profiles/audit.json"},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SecretSearch:
    """A job with every kind of grant, a job of another pipeline beside it, and every secret."""

    fleet: Fleet
    victim: Attacker
    stranger: Attacker
    secrets: dict[str, str]
    began: Path  # a file from before the first secret

    @property
    def ours(self) -> dict[str, str]:
        """The secrets that Airlock delivers; the agent keeps its own tokens elsewhere."""
        return {name: text for name, text in self.secrets.items() if not name.startswith("agent")}


def stored() -> dict[str, str]:
    """Return a random value for each parameter, which no file of the image has by chance."""
    names = ("variable", "file", "git", "registry", "of another pipeline")
    return {name: f"{name.split()[0]}-{uuid.uuid4().hex}" for name in names}


def private_key(directory: Path) -> str:
    path = directory / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    text = path.read_text()
    path.unlink()
    return text


@pytest.fixture(scope="module")
def searched(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecretSearch]:
    base = tmp_path_factory.mktemp("secrets")
    (began := base / "began").touch()
    values, key = stored(), private_key(base)
    with fleet(lab, base / "fleet") as made, StrictSsm(world.listen(world.WORLD, 0)) as ssm:
        for name in ("variable", "file", "git", "of another pipeline"):
            ssm.put(f"/storefront/{name.split()[0]}", values[name], kind="SecureString")
        ssm.put("/storefront/registry", f"ci:{values['registry']}", kind="SecureString")
        ssm.put("/storefront/key", key, kind="SecureString")
        made.sts.roles[AUDIT] = Trust()
        endpoint = f'[aws]\nssm-endpoint = "{ssm.url}"'
        made.config.write_text(made.config.read_text().replace("[aws]", endpoint))
        made.policy(EVERYTHING)
        made.policy("  - {name: nothing, allow: {}}\n", pipeline="web")
        with attacker(made) as victim, attacker(made, BUILDKITE_PIPELINE_SLUG="web") as stranger:
            secrets = every_secret(made, victim, values, key)
            yield SecretSearch(
                fleet=made, victim=victim, stranger=stranger, secrets=secrets, began=began
            )


def every_secret(made: Fleet, victim: Attacker, values: dict[str, str], key: str) -> dict[str, str]:
    sessions = {session.arn.split("/")[1]: session for session in made.sts.issued.values()}
    deploy, audit = sessions["storefront-deploy"], sessions["storefront-audit"]
    return {
        "variable": values["variable"],
        "file": values["file"],
        "git token": values["git"],
        "registry login": base64.b64encode(f"ci:{values['registry']}".encode()).decode(),
        "registry password": values["registry"],
        "ssh key": key.splitlines()[2],
        "session's key": deploy.secret,
        "session's token": deploy.token,
        "profile's key": audit.secret,
        "profile's token": audit.token,
        "agent access token": victim.job.token,
        "agent registration token": REGISTRATION,
        "of the host": made.lab.metadata.secret,
        "of another pipeline": values["of another pipeline"],
    }


def test_sandbox_has_exactly_the_granted_secrets_in_place(searched: SecretSearch) -> None:
    assert search.in_sandbox(searched.victim, searched.secrets) == GRANTED


def test_sandbox_of_other_pipeline_has_no_secret(searched: SecretSearch) -> None:
    assert search.in_sandbox(searched.stranger, searched.secrets) == {}
    look = searched.stranger.tries(
        "ls -A /airlock/ssh /airlock/profiles /airlock/registries /airlock/secrets; "
        "tr '\\0' '\\n' </proc/$(pgrep -f 'sleep 300' | head -1)/environ | "
        "grep -E '^(SSH_AUTH_SOCK|GIT_CONFIG|DOCKER_CONFIG|AWS_(CONFIG|CONTAINER))' || echo none"
    )
    listed = [line for line in look.stdout.splitlines() if line and not line.endswith(":")]
    assert listed == ["none"]


def test_searches_find_planted_secret(searched: SecretSearch, tmp_path: Path) -> None:
    """A key planted in a file of the sandbox, and in a file and an environment of the host."""
    key = {"ssh key": searched.secrets["ssh key"]}
    searched.stranger.tries(f"echo {key['ssh key']} >/tmp/.planted")
    assert search.in_sandbox(searched.stranger, key) == {"ssh key": {"/tmp/.planted"}}
    searched.stranger.tries("rm /tmp/.planted")
    (tmp_path / "planted").write_text(key["ssh key"])
    found = search.in_directories([tmp_path], key, since=searched.began)
    assert found == {"ssh key": {str(tmp_path / "planted")}}
    (tmp_path / "planted").unlink()
    planted = subprocess.Popen(["sleep", "60"], env={"PLANTED": key["ssh key"]})
    try:
        found = search.in_processes(key, outside_of=searched.victim)
    finally:
        planted.kill()
        planted.wait()
    assert found == {"ssh key": {f"/proc/{planted.pid}"}}


def test_host_processes_have_no_secret(searched: SecretSearch) -> None:
    assert search.in_processes(searched.ours, outside_of=searched.victim) == {}


def test_host_disks_have_no_secret(searched: SecretSearch) -> None:
    """Search temporary directories, Airlock's files and records, and the engine's files.

    Only files that changed after the first secret was made.
    """
    docker = ["docker", "-H", searched.fleet.lab.docker]
    engine = Path(run(*docker, "info", "-f", "{{.DockerRootDir}}").strip())
    places = [Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"), searched.fleet.base]
    found = search.in_directories(
        [*places, engine / "containers"], searched.ours, since=searched.began
    )
    assert found == {}


def test_engine_output_records_and_logs_have_no_secret(searched: SecretSearch) -> None:
    docker = ["docker", "-H", searched.fleet.lab.docker]
    containers = run(*docker, "ps", "-aq").split()
    log = searched.victim.job.log.decode(errors="replace")
    output = {
        "inspect": run(*docker, "inspect", *containers),
        "events": run(*docker, "events", "--since", "0", "--until", "0s", "--format", "{{json .}}"),
        "network": run(*docker, "network", "inspect", "airlock"),
        "records": searched.fleet.records.read_text(),
        "job log": log,
    }
    assert search.in_texts(output, searched.secrets) == {}
    (fetched,) = [
        e for e in searched.fleet.events(searched.victim.job.id) if e["event"] == "secrets"
    ]
    assert "ssm:/storefront/variable" in json.dumps(fetched), "these are not the records of the job"


def test_secrets_in_host_memory_are_readable_by_root_alone(searched: SecretSearch) -> None:
    """The files of the sandbox are on a tmpfs of the host, below a directory of root's."""
    runtime = Path("/run/airlock")
    assert runtime.stat().st_uid == 0
    assert runtime.stat().st_mode & 0o077 == 0
    found = search.in_directories([runtime], searched.ours)
    granted = {name for name in GRANTED if not name.startswith("agent")}
    assert set(found) == granted
    for place in set[str]().union(*found.values()):
        assert Path(place).stat().st_mode & 0o777 == 0o400, place
