"""Whole jobs that build images: by buildctl, buildx and compose, alone and with the service."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.image_builds import PREPARE, WITH_REGISTRY
from tests.fakes.control_plane import Job, JobOrder, JobResult
from tests.fakes.ssm import StrictSsm
from tests.lab import builder, launcher, world
from tests.lab.engine import eventually
from tests.lab.lab import Lab, fleet
from tests.lab.leftovers import leftovers
from tests.lab.remapped import remapped
from tests.lab.ways import ALONE, SERVICE, Host, Way, host

pytestmark = pytest.mark.lab

BUILDX = (
    "docker buildx build --progress=plain --secret id=s,src=secret --build-arg AGAIN={} "
    "--output type=oci,dest=out.tar . 2>&1\n"
)


RULES = """  - name: other
    when: {{step: other}}
    allow: {{builds: buildkit, image: '{0}'}}
  - name: fresh
    when: {{step: fresh}}
    allow: {{builds: buildkit, image: '{0}', workspace: fresh}}
  - name: without
    when: {{step: without}}
    allow: {{image: '{0}'}}
  - name: login
    when: {{step: login}}
    allow: {{builds: buildkit, image: '{0}', registries: {{'127.0.0.1:5000': 'ssm:/ci/registry'}}}}
  - name: images
    allow: {{builds: buildkit, image: '{0}'}}
"""


@contextmanager
def building(lab: Lab, way: Way, base: Path, limits: str = "") -> Iterator[Host]:
    """Run an agent whose jobs may build. `limits` are lines of [builds]."""
    launcher.builder()
    image = builder.builder_image(lab.docker, lab.image)
    with StrictSsm(world.listen(world.WORLD, 0)) as ssm:
        ssm.put("/ci/registry", '{"username": "ci", "password": "hidden"}', kind="SecureString")
        with host(lab, way, base, settings=f'[builds]\nimage = "{image}"\n{limits}') as made:
            config = made.fleet.config
            endpoint = f'[aws]\nssm-endpoint = "{ssm.url}"'
            config.write_text(config.read_text().replace("[aws]", endpoint))
            made.fleet.policy(RULES.format(builder.clients_image(lab.docker, lab.image)))
            with made.working():
                yield made


@pytest.fixture(scope="module", params=[ALONE, SERVICE], ids=lambda way: way.name)
def here(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Host]:
    with building(lab, request.param, tmp_path_factory.mktemp("builds")) as made:
        yield made


def done(here: Host, command: str, **env: str) -> tuple[Job, JobResult]:
    return here.done(PREPARE + command, **env)


def test_a_dockerfile_with_stages_secrets_and_a_cache(here: Host) -> None:
    job, result = done(here, BUILDX.format("one") + "tar -tf out.tar | grep -c blobs/\n")
    log = result.log.decode()
    assert result.exit_status == "0", log
    assert "secret has 5 bytes" in log
    assert "last stage as 0, HUSH" in log
    event = here.fleet.event(job.id, "sandbox")
    assert event["builder"]["reference"] == builder.builder_image(
        here.fleet.lab.docker, here.fleet.lab.image
    )


def test_it_works_where_docker_maps_users(lab: Lab, tmp_path: Path) -> None:
    with remapped(lab) as other, building(other, SERVICE, tmp_path) as here:
        _, result = done(here, BUILDX.format("one"))
        assert result.exit_status == "0", result.log.decode()
        assert b"last stage as 0, HUSH" in result.log


def test_only_a_rule_with_a_login_reaches_a_private_registry(here: Host) -> None:
    push = WITH_REGISTRY.replace('""', '"ci:hidden"') + (
        "docker build -q --secret id=s,src=secret --push -t 127.0.0.1:5000/app:1 . 2>&1\n"
    )
    _, refused = done(here, push)
    assert refused.exit_status != "0"
    assert b"401" in refused.log or b"authorization" in refused.log
    _, result = done(here, push, BUILDKITE_STEP_KEY="login")
    assert result.exit_status == "0", result.log.decode()
    assert b"hidden" not in result.log.replace(b'"ci:hidden"', b"")


def test_a_step_that_takes_more_memory_than_buildkit_has_is_explained(
    lab: Lab, tmp_path: Path
) -> None:
    command = (
        "printf 'FROM scratch\\nADD rootfs.tar /\\nRUN cat /dev/zero | head -c -900M "
        "> /dev/null\\n' > Dockerfile\n"
        "docker buildx build --progress=plain --output type=cacheonly . 2>&1\n"
    )
    with building(lab, ALONE, tmp_path, 'memory = "384MiB"\n') as here:
        job, result = done(here, command)
        log = result.log.decode()
        assert result.exit_status != "0", log
        assert "the BuildKit of this job reached its limit of memory, 384MiB" in log, log
        event = here.fleet.event(job.id, "builder_ended")
        assert event["early"] is False
        assert event["used"]["killed"] >= 1


def test_a_cancelled_build_ends_and_leaves_nothing(here: Host) -> None:
    command = (
        "printf 'FROM scratch\\nADD rootfs.tar /\\nRUN echo begun; sleep 100\\n' > Dockerfile\n"
        "docker buildx build --progress=plain --output type=cacheonly . 2>&1\n"
    )
    sent = here.fleet.env(PREPARE + command, BUILDKITE_AGENT_NAME="agent-1")
    job = here.fleet.control.enqueue(JobOrder(env=sent, agent="agent-1"))
    here.fleet.control.wait(job, lambda j: re.search(rb"#\d+ [\d.]+ begun", j.log) or j.finish)
    assert job.finish is None, job.log.decode()
    here.fleet.control.cancel(job)
    assert here.fleet.control.finished(job)[0] != "0"
    eventually(lambda: not leftovers(here.fleet), "nothing is left")


def test_the_cache_is_there_for_the_next_job_of_the_rule_only(here: Host) -> None:
    def lines(number: str, step: str) -> str:
        _, result = done(here, BUILDX.format(number), BUILDKITE_STEP_KEY=step)
        log = result.log.decode()
        assert result.exit_status == "0", log
        (found,) = re.findall(r"cache has (\d+) lines", log)
        return str(found)

    first = int(lines("two", "deploy"))
    assert int(lines("three", "deploy")) == first + 1
    assert lines("four", "other") == "1"
    assert [lines(number, "fresh") for number in ("five", "six")] == ["1", "1"]


def test_images_go_to_a_registry_and_come_from_there(here: Host) -> None:
    _, result = done(
        here,
        WITH_REGISTRY
        + "docker build -q --secret id=s,src=secret --push -t 127.0.0.1:5000/app:1 . >&2\n"
        "printf 'FROM 127.0.0.1:5000/app:1\\nRUN cat /shout; echo from it\\n' > Dockerfile\n"
        "buildctl build --progress=plain --frontend dockerfile.v0 --local context=. "
        "--local dockerfile=. 2>&1\n",
    )
    assert result.exit_status == "0", result.log.decode()
    assert b"from it" in result.log


def test_compose_builds_and_pushes(here: Host) -> None:
    _, result = done(
        here,
        WITH_REGISTRY + "docker compose --progress plain build --push 2>&1\n"
        "curl -fs 127.0.0.1:5000/v2/web/manifests/1\n"
        "docker buildx bake --progress plain -f compose.yaml --allow=fs.read=. 2>&1\n",
    )
    assert result.exit_status == "0", result.log.decode()
    assert b"last stage as 0, HUSH" in result.log


def test_other_jobs_have_no_builder(here: Host) -> None:
    _, result = done(
        here,
        "ls /airlock/buildkit.sock || buildctl debug workers ||"
        " echo builder=${BUILDX_BUILDER:-}.\n",
        BUILDKITE_STEP_KEY="without",
    )
    assert result.exit_status == "0"
    assert b"builder=.\r" in result.log


@pytest.fixture
def failing(lab: Lab, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[JobResult]:
    """Run a job on a host with these settings, whose builder cannot build."""
    settings = str(request.param).format(image=lab.image)
    with fleet(lab, tmp_path / "fleet", settings=settings) as made:
        made.policy("  - {name: images, allow: {builds: buildkit}}\n")
        with made.agent():
            command = "sleep 1; [ -S /airlock/buildkit.sock ]; exit 3"
            job = made.control.enqueue(JobOrder(env=made.env(command)))
            yield made.control.completed(job)
        assert leftovers(made) == []


@pytest.mark.parametrize("failing", ['[builds]\nimage = "{image}"\n'], indirect=True)
def test_a_builder_that_ends_early_is_named_and_changes_no_result(failing: JobResult) -> None:
    assert failing.exit_status == "3"
    assert b"BuildKit of this job ended before the job did" in failing.log
    assert b"buildkitd: not found" in failing.log


def test_a_builder_that_uses_up_its_memory_is_named_with_its_limit(
    lab: Lab, tmp_path: Path
) -> None:
    """Not a step of it: BuildKit itself, which prints nothing then."""
    launcher.builder()
    (tmp_path / "buildkitd").write_text("#!/bin/sh\nexec tail /dev/zero\n")
    (tmp_path / "buildkitd").chmod(0o755)
    recipe = f"FROM {lab.image}\nUSER 0\nCOPY buildkitd /usr/local/bin/\n"
    image = builder.image(lab.docker, "hungry", recipe, tmp_path)
    settings = f'[builds]\nimage = "{image}"\nmemory = "64MiB"\n'
    with fleet(lab, tmp_path / "fleet", settings=settings) as made:
        made.policy("  - {name: images, allow: {builds: buildkit}}\n")
        with made.agent():
            job = made.control.enqueue(JobOrder(env=made.env("sleep 3; exit 3")))
            result = made.control.completed(job)
        events = made.events(job.id)
    log = result.log.decode()
    assert result.exit_status == "3", log
    assert "the kernel killed the BuildKit of this job at its limit of memory, 64MiB" in log, log
    assert "`memory` of [builds] in airlock.toml" in log
    (event,) = [one for one in events if one["event"] == "builder_ended"]
    assert event["early"] is True
    assert event["used"]["killed"] >= 1


@pytest.mark.parametrize("failing", [""], indirect=True)
def test_a_host_without_an_image_of_buildkit_says_what_to_do(failing: JobResult) -> None:
    assert failing.exit_status == "78"
    assert b"Set `image` in the table [builds] of airlock.toml" in failing.log


@pytest.mark.parametrize(
    "failing", ['[builds]\nimage = "{image}"\nfirst-uid = 100000\n'], indirect=True
)
def test_users_that_others_may_have_are_refused(failing: JobResult) -> None:
    assert failing.exit_status == "78"
    assert b"Set builds.first-uid in airlock.toml" in failing.log
