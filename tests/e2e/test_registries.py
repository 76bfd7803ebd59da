"""Pulls with a login, by the host's real engine and by the job's own tool."""

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.errors import AirlockError, CannotStart, WrongConfiguration
from bootstrap.host import config
from bootstrap.host.config import Host
from bootstrap.log import JobLog
from bootstrap.sandbox import engine
from bootstrap.sandbox.images.image import provided
from tests.credentials import given
from tests.fakes.metadata import ACCESS_KEY_ID
from tests.fakes.registry import Ecr, Registry
from tests.fakes.secretsmanager import SecretsManager
from tests.fakes.simulator import loopback
from tests.lab import world
from tests.lab.lab import ROLE, Fleet, Lab

pytestmark = pytest.mark.lab

STORED = '{"username": "ci", "password": "the registry password"}'


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry(loopback(), {"ci": "the registry password"}) as made:
        made.push("ci/job", "1", {"version": b"one"})
        yield made


@pytest.fixture
def ecr(registry: Registry) -> Iterator[Ecr]:
    with Ecr(loopback(), registry) as made:
        yield made


@pytest.fixture
def manager() -> Iterator[SecretsManager]:
    with SecretsManager(loopback(), {"ci/registry": STORED, "ci/wrong": "ci:wrong"}) as made:
        yield made


class Pull:
    """One job's way to its image, and its log."""

    def __init__(self, host: Host, image: str) -> None:
        self.host, self.image = host, image
        self.log = ""

    def __call__(self, named: str | None = None) -> str:
        with engine.connected(self.host.sandbox.docker) as client:
            return provided(client, named or self.image, self.host, JobLog(self._write)).id

    def _write(self, line: bytes) -> None:
        self.log += line.decode()
        self.on_line(line.decode())

    def on_line(self, line: str) -> None:
        """Receive every line of the log as it is written."""


@pytest.fixture
def pull(
    lab: Lab, tmp_path: Path, registry: Registry, ecr: Ecr, manager: SecretsManager
) -> Iterator[Pull]:
    given.write_credentials(tmp_path / "credentials", ACCESS_KEY_ID)
    document = {
        "aws": {
            "credentials": f"file:{tmp_path}/credentials",
            "secretsmanager-endpoint": manager.url,
            "ecr-endpoint": ecr.url,
        },
        "registries": {registry.host: "secretsmanager:ci/registry"},
        "sandbox": {"image": "unused", "docker": lab.docker, "pull": "always"},
        "paths": {"state": str(tmp_path), "runtime": str(tmp_path)},
    }
    yield Pull(config.parse(document, tmp_path), f"{registry.host}/ci/job:1")
    everything = f"reference={registry.host}/*/*"
    command = ["docker", "-H", lab.docker, "image"]
    listed = subprocess.run(
        [*command, "ls", "-q", "--no-trunc", "--filter", everything],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    images = set(listed.stdout.split())
    subprocess.run([*command, "rm", "-f", *images], capture_output=True, check=False)


def with_login(pull: Pull, how: str | None, policy: str = "always") -> Pull:
    registry = pull.image.split("/", maxsplit=1)[0]
    changed = {
        "registries": {registry: how} if how else {},
        "sandbox": pull.host.sandbox.model_copy(update={"pull": policy}),
    }
    return Pull(pull.host.model_copy(update=changed), pull.image)


@pytest.mark.parametrize("how", ["secretsmanager:ci/registry", "ecr"])
def test_host_pull_uses_configured_login(pull: Pull, how: str) -> None:
    pull = with_login(pull, how)
    assert pull().startswith("sha256:")
    assert f"pulling {pull.image}" in pull.log
    assert "layers" not in pull.log, "a quick pull needs no progress"
    assert ": sha256:" in pull.log
    assert "password" not in pull.log


@pytest.mark.parametrize(
    ("how", "message"),
    [(None, "could not provide .*no basic auth credentials"),
     ("docker", "could not provide .*no basic auth credentials"),
     ("secretsmanager:ci/wrong", "could not provide .*unauthorized"),
     ("secretsmanager:ci/absent", "does not exist")],
)  # fmt: skip
def test_host_pull_without_valid_login_fails(pull: Pull, how: str | None, message: str) -> None:
    with pytest.raises(AirlockError, match=message):
        with_login(pull, how)()


def test_host_pull_without_ecr_permission_prints_statement(pull: Pull, ecr: Ecr) -> None:
    ecr.forbidden = True
    with pytest.raises(CannotStart, match="ECR issued no login") as caught:
        with_login(pull, "ecr")()
    assert '"ecr:GetAuthorizationToken"' in caught.value.details[0]


def test_pull_policies_decide_when_registry_is_called(pull: Pull, registry: Registry) -> None:
    never, missing = with_login(pull, "ecr", "never"), with_login(pull, "ecr", "missing")
    with pytest.raises(WrongConfiguration, match="not on this host"):
        never()
    assert registry.calls == []
    first = missing()
    asked = len(registry.calls)
    assert never() == missing() == first
    assert len(registry.calls) == asked
    registry.push("ci/job", "1", {"version": b"two"})
    assert missing() == first
    assert with_login(pull, "ecr")() != first


def test_pulled_image_is_used_when_tag_moves_meanwhile(pull: Pull, registry: Registry) -> None:
    """Another job pulls the moved tag between our pull and our look at the pulled image's id."""
    one = registry.push("ci/job", "1", {"version": b"one"})
    other = Pull(pull.host, pull.image)
    moved: list[str] = []

    def move_tag(line: str) -> None:
        if "# pulled" in line and not moved:
            registry.push("ci/job", "1", {"version": b"two"})
            moved.append(other())

    pull.on_line = move_tag  # type: ignore[method-assign]
    ours = pull()
    assert moved
    assert ours != moved[0]
    assert ours == pull(one)


def test_pulls_of_job_use_login_of_role_and_granted_secret(fleet: Fleet, ecr: Ecr) -> None:
    with (
        Registry(world.listen(world.WORLD, 0), {}) as role_registry,
        Registry(world.listen(world.WORLD, 0), {"ci": "the registry password"}) as other,
        Ecr(world.listen(world.WORLD, 0), role_registry) as job_ecr,
        SecretsManager(world.listen(world.WORLD, 0), {"ci/registry": STORED}) as manager,
    ):
        endpoints = f'ecr-endpoint = "{job_ecr.url}"\nsecretsmanager-endpoint = "{manager.url}"'
        fleet.config.write_text(fleet.config.read_text().replace("[aws]", f"[aws]\n{endpoints}"))
        logins = f"'{role_registry.host}': role, '{other.host}': 'secretsmanager:ci/registry'"
        fleet.policy(
            f"  - {{name: own, when: {{branch: main}}, allow: {{role: '{ROLE}', "
            f"registries: {{{logins}}}}}}}\n"
            "  - {name: none, when: {branch: '*'}, allow: {}}\n"
        )
        images = [
            r.push("tools/lint", "1", {"x": uuid.uuid4().bytes}) for r in (role_registry, other)
        ]
        copies = (f"skopeo copy --src-tls-verify=false docker://{i} dir:/tmp/{n}"
                  for n, i in enumerate(images))  # fmt: skip
        command = "set -e\n" + "\n".join(copies)
        with fleet.agent():
            job = fleet.control.enqueue(fleet.env(f"{command}\ncat $DOCKER_CONFIG/config.json"))
            assert fleet.control.finished(job) == ("0", "", ""), job.log.decode()
            stranger = fleet.control.enqueue(fleet.env(command, BUILDKITE_BRANCH="other"))
            assert fleet.control.finished(stranger)[0] != "0"
    assert b"authentication required" in stranger.log or b"unauthorized" in stranger.log
    (key,) = job_ecr.access_keys()
    assert "/storefront-deploy" not in key
    assert fleet.sts.issued[key].arn.split("/")[1] == "storefront-deploy"
    assert "the registry password" not in fleet.records.read_text()
    (event,) = [event for event in fleet.events(job.id) if event["event"] == "secrets"]
    assert {each["reference"] for each in event["secrets"]} == {
        "role",
        "secretsmanager:ci/registry",
    }
