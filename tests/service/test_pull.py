"""Images are pulled ahead of jobs, with the host's login, and do not count as used by that."""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bootstrap.host.builds_settings import Builds
from bootstrap.host.config import Host
from bootstrap.sandbox.images.pulled_images import recent
from bootstrap.service import housekeeping
from bootstrap.service.journal import Journal
from tests.e2e.test_images import docker, host, is_here, provide, pushed, registry
from tests.fakes.registry import Registry

pytestmark = pytest.mark.lab
__all__ = ["host", "registry"]  # fixtures

DAY = 86400.0


def pull(host: Host, **sandbox: Any) -> tuple[int, list[str]]:
    """Run the chore with other settings of the sandbox; return its status and its lines."""
    lines: list[str] = []
    changed = replace(host, sandbox=replace(host.sandbox, **sandbox))
    status = housekeeping.pull(changed, Journal(lambda line: lines.append(line.decode())))
    return status, lines


def record_of(host: Host, image: str) -> Path:
    return host.paths.state / "images" / image.removeprefix("sha256:")


def test_default_image_is_pulled_with_the_hosts_login(
    host: Host,
    registry: Registry,
) -> None:
    reference = pushed(registry)
    assert pull(host, image=reference) == (
        0, [f"airlock: pulled {reference} ahead of jobs\n"],
    )  # fmt: skip
    image = docker(host, "image", "inspect", "--format", "{{.Id}}", reference)
    assert record_of(host, image).exists()
    assert pull(host, image=reference) == (0, [])


def test_the_image_of_builds_is_pulled_too(host: Host, registry: Registry) -> None:
    default, of_builds = pushed(registry), pushed(registry)
    status, lines = pull(replace(host, builds=Builds(image=of_builds)), image=default)
    assert status == 0
    assert [line.split()[2] for line in lines] == [default, of_builds]


def test_images_that_jobs_used_lately_are_kept_here_without_counting_as_used(
    host: Host,
    registry: Registry,
) -> None:
    default, lately, long_ago = (pushed(registry) for _ in range(3))
    provide(host, default)
    images = {}
    for reference, days in ((lately, 2), (long_ago, 20)):
        images[reference] = provide(host, reference)
        used = time.time() - days * DAY
        os.utime(record_of(host, images[reference]), (used, used))
        docker(host, "rmi", reference)  # as `docker image prune` does
    assert pull(host, image=default)[0] == 0
    assert is_here(host, images[lately])
    assert not is_here(host, images[long_ago])
    assert recent(host.paths.state, 0)[lately] == pytest.approx(time.time() - 2 * DAY, abs=60)


def test_image_that_cannot_be_pulled_keeps_no_other_from_it_and_fails_the_chore(
    host: Host,
    registry: Registry,
) -> None:
    lately = pushed(registry)
    image = provide(host, lately)
    docker(host, "rmi", lately)
    status, lines = pull(host, image=f"{registry.host}/ci/absent:1")
    assert status == 125
    assert f"{registry.host}/ci/absent:1 could not be pulled ahead of jobs" in lines[0]
    assert is_here(host, image)


def test_nothing_is_pulled_where_nothing_may_be(
    host: Host,
    registry: Registry,
) -> None:
    reference = pushed(registry)
    assert pull(host, image=reference, pull="never") == (0, [])
    assert docker(host, "images", "-q", reference) == ""
