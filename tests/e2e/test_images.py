"""Images that Airlock pulled and no job uses are removed; all others stay."""

import fcntl
import os
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bootstrap.host import config
from bootstrap.host.builds_settings import Builds
from bootstrap.host.config import Host
from bootstrap.log import JobLog
from bootstrap.sandbox import engine
from bootstrap.sandbox.images import pulled_images
from bootstrap.sandbox.images.image import provided
from tests.credentials import given
from tests.fakes.metadata import ACCESS_KEY_ID
from tests.fakes.registry import Registry
from tests.fakes.secretsmanager import SecretsManager
from tests.fakes.simulator import loopback
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab

DAY = 86400.0


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry(loopback(), {"ci": "password"}) as made:
        yield made


@pytest.fixture
def host(lab: Lab, tmp_path: Path, registry: Registry) -> Iterator[Host]:
    given.write_credentials(tmp_path / "credentials", ACCESS_KEY_ID)
    with SecretsManager(loopback(), {"ci": "ci:password"}) as manager:
        yield config.parse(
            {
                "aws": {
                    "credentials": f"file:{tmp_path}/credentials",
                    "secretsmanager-endpoint": manager.url,
                },
                "registries": {registry.host: "secretsmanager:ci"},
                "sandbox": {"image": "unused", "docker": lab.docker},
                "paths": {"state": str(tmp_path), "runtime": str(tmp_path)},
            },
            tmp_path,
        )
    found = docker(host_of(lab), "images", "-q", "--filter", f"reference={registry.host}/*/*")
    for image in set(found.split()):
        subprocess.run(["docker", "-H", lab.docker, "rmi", "-f", image], check=True)


def host_of(lab: Lab) -> Host:
    return config.parse({"sandbox": {"image": "unused", "docker": lab.docker}}, Path("/"))


def docker(host: Host, *arguments: str) -> str:
    command = ["docker", "-H", host.sandbox.docker, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def provide(host: Host, reference: str) -> str:
    with engine.connected(host.sandbox.docker) as client:
        return provided(client, reference, host, JobLog(lambda _: None)).id


def collect(host: Host, days: float) -> list[str]:
    """Collect as `airlock gc` does, that many days from now; return what was done."""
    changes = pulled_images.unused(host, time.time() + days * DAY)
    return [str(change) for change in changes if change.apply() is not False]


def is_here(host: Host, image: str) -> bool:
    return image in docker(host, "images", "-aq", "--no-trunc").split()


def pushed(registry: Registry) -> str:
    return registry.push("ci/job", "1", {"version": uuid.uuid4().bytes})


def test_pulled_image_is_removed_when_no_job_used_it_for_long(
    host: Host, registry: Registry
) -> None:
    reference = pushed(registry)
    image = provide(host, reference)
    record = host.paths.state / "images" / image.removeprefix("sha256:")
    assert record.stat().st_mode & 0o777 == 0o600
    assert collect(host, 29) == []
    (done,) = collect(host, 31)
    assert done.startswith(f"image {reference} ({image[:19]}) (")
    assert "unused since" in done
    assert not is_here(host, image)
    assert not record.exists()
    assert provide(host, reference) == image


def test_an_image_that_airlock_toml_names_is_kept(host: Host, registry: Registry) -> None:
    default, of_builds, other = (pushed(registry) for _ in range(3))
    kept = {provide(host, default), provide(host, of_builds)}
    gone = provide(host, other)
    named = replace(
        host, sandbox=replace(host.sandbox, image=default), builds=Builds(image=of_builds)
    )
    (done,) = collect(named, 31)
    assert gone[:19] in done
    assert all(is_here(host, image) for image in kept)


def test_use_by_a_job_counts_without_a_pull(host: Host, registry: Registry) -> None:
    reference = pushed(registry)
    image = provide(host, reference)
    record = host.paths.state / "images" / image.removeprefix("sha256:")
    os.utime(record, (0, 0))
    assert provide(host, reference) == image
    assert time.time() - record.stat().st_mtime < 60
    assert collect(host, 29) == []


def test_age_of_zero_keeps_all(host: Host, registry: Registry) -> None:
    image = provide(host, pushed(registry))
    storage = host.storage.model_copy(update={"image_age": 0})
    assert collect(host.model_copy(update={"storage": storage}), 5000) == []
    assert is_here(host, image)


def test_image_that_airlock_toml_names_stays(host: Host, registry: Registry) -> None:
    reference = pushed(registry)
    image = provide(host, reference)
    sandbox = host.sandbox.model_copy(update={"image": reference})
    assert collect(host.model_copy(update={"sandbox": sandbox}), 31) == []
    assert is_here(host, image)


def test_image_of_a_container_stays_running_or_not(host: Host, registry: Registry) -> None:
    image = provide(host, pushed(registry))
    container = docker(host, "create", image, "true")
    try:
        assert collect(host, 31) == []
        assert is_here(host, image)
    finally:
        docker(host, "rm", container)
    assert len(collect(host, 31)) == 1


def test_image_that_was_here_before_stays(host: Host, registry: Registry) -> None:
    """As in a machine image: Airlock only confirms by a pull that it is the current one."""
    reference = pushed(registry)
    image = provide(host, reference)
    (host.paths.state / "images" / image.removeprefix("sha256:")).unlink()
    always = host.model_copy(update={"sandbox": host.sandbox.model_copy(update={"pull": "always"})})
    assert provide(always, reference) == image
    assert collect(host, 5000) == []
    assert is_here(host, image)


def test_image_that_somebody_named_stays(host: Host, registry: Registry) -> None:
    image = provide(host, pushed(registry))
    name = f"{registry.host}/kept/here:1"
    docker(host, "tag", image, name)
    assert collect(host, 31) == []
    assert is_here(host, image)


def test_record_of_an_image_that_is_gone_is_removed(host: Host, registry: Registry) -> None:
    image = provide(host, pushed(registry))
    docker(host, "rmi", "-f", image)
    assert ["is not on this host any more" in done for done in collect(host, 0)] == [True]
    assert list((host.paths.state / "images").iterdir()) == []


def test_job_that_starts_while_its_image_is_removed_pulls_it_again(
    host: Host, registry: Registry
) -> None:
    reference = pushed(registry)
    image = provide(host, reference)
    record = host.paths.state / "images" / image.removeprefix("sha256:")
    provided_now: list[str] = []
    with record.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as gc does
        job = threading.Thread(target=lambda: provided_now.append(provide(host, reference)))
        job.start()
        job.join(0.5)
        assert job.is_alive()
        docker(host, "rmi", "-f", image)
        record.unlink()
    job.join(30)
    assert provided_now == [image]
    assert is_here(host, image)
    assert record.exists()
