"""The steps of every pipeline, replayed by a developer with the offline agent API."""

import html
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.pipelines.calls import SECRET
from tests.e2e.pipelines.conftest import PIPELINES, Published, Site
from tests.e2e.pipelines.model import Expected, Pipeline, Ran
from tests.e2e.pipelines.surroundings import GONE_COMMIT
from tests.lab import world
from tests.lab.agent import binary
from tests.lab.developer import Developer
from tests.lab.engine import eventually

pytestmark = pytest.mark.lab
# The agent of a replay tries a checkout six times, in half a minute, before it gives up.
REPLAYED = tuple(one for one in PIPELINES if one is not GONE_COMMIT)


@dataclass(slots=True)
class Earlier:
    """What jobs of the build have left that were replayed before."""

    artifacts: Path
    meta_data: dict[str, str] = field(default_factory=dict)
    pipelines: dict[str, Path] = field(default_factory=dict)  # uploaded, by the step's key

    def options(self) -> Iterator[str]:
        if any(self.artifacts.iterdir()):
            yield from ("--artifacts", str(self.artifacts))
        for key, value in self.meta_data.items():
            yield from ("--meta-data", f"{key}={value}")

    def take(self, expected: Expected, output: Path) -> None:
        for name, content in expected.artifacts.items():
            target = self.artifacts / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        self.meta_data |= expected.meta_data
        for path in output.glob("*/pipelines/1.yml"):
            self.pipelines[expected.key] = path


def arguments(
    site: Site, published: Published, expected: Expected, earlier: Earlier, output: Path
) -> tuple[str, ...]:
    files = output.parent
    text = files / "pipeline.yml"
    text.write_text(published.text)
    given = {
        **published.env, "BUILDKITE_BRANCH": "main", "BUILDKITE_ORGANIZATION_SLUG": "acme",
    }  # fmt: skip
    source = earlier.pipelines[expected.uploaded_by] if expected.uploaded_by else text
    uploaded = ("--no-interpolation",) if expected.uploaded_by else ()
    return (
        "replay", str(source), *uploaded, "--step", expected.key, *expected.choice,
        *earlier.options(),
        "--image", site.fleet.lab.image, "--agent", str(binary()), "--dns", world.WORLD,
        "--output", str(output), "--oidc-stub",
        "--secret", f"STORE_KEY={SECRET}", "--env", f"DEPLOY_KEY={SECRET}",
        *(part for name, value in given.items() for part in ("--env", f"{name}={value}")),
    )  # fmt: skip


def annotations(page: Path) -> dict[str, str]:
    """Return the words of the page that a replay has written, by context."""
    if not page.exists():
        return {}
    found = re.findall(
        r'<h6 class="context">(.*?)</h6>(.*?)</section>', page.read_text(), re.DOTALL
    )
    return {
        html.unescape(context): " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())
        for context, body in found
    }


def replayed(
    developer: Developer, asked: tuple[str, ...], files: Path, seen: str
) -> tuple[int, str, str]:
    """Run a replay to its end, which begins with an interrupt once its job has printed `seen`."""
    paths = files / "out", files / "err"
    with (
        paths[0].open("wb") as out,
        paths[1].open("wb") as err,
        developer.start(
            developer.command(*asked), stdin=subprocess.DEVNULL, stdout=out, stderr=err
        ) as running,
    ):
        if seen:
            line = f"\n{seen}\r".encode()
            eventually(lambda: line in paths[0].read_bytes() or running.poll() is not None, seen)
            running.send_signal(signal.SIGINT)
        status = running.wait(120)
    return status, paths[0].read_text(), paths[1].read_text()


def ran(log: str, output: Path) -> Ran:
    # A replay removes the directory of a job that has left nothing.
    (job,) = [path for path in output.glob("*") if path.is_dir()] or [output]
    stored = job / "artifacts"
    uploads: list[Mapping[str, Any]] = [
        yaml.safe_load(path.read_text()) for path in sorted(job.glob("pipelines/*.yml"))
    ]
    return Ran(
        log=log,
        artifacts={
            str(path.relative_to(stored)): path.read_bytes()
            for path in stored.rglob("*")
            if path.is_file()
        },
        annotations=annotations(job / "annotations.html"),
        uploads=uploads,
    )


@pytest.mark.parametrize("pipeline", REPLAYED, ids=lambda one: one.name)
def test_pipeline(site: Site, pipeline: Pipeline, developer: Developer, files: Path) -> None:
    earlier = Earlier(files / "earlier")
    earlier.artifacts.mkdir()
    for number, expected in enumerate(pipeline.expected):
        output = files / str(number)
        asked = arguments(site, site.published[pipeline.name], expected, earlier, output)
        by = pipeline.interrupted
        seen = by.seen if by and by.key == expected.key else ""
        status, log, shown = replayed(developer, asked, files, seen)
        statuses = expected.replayed or (int(expected.ending[0]),)
        assert status in statuses, f"{status}\n{log[-4000:]}\n{shown[-4000:]}"
        ran(log, output).verify(expected, replayed=True)
        earlier.take(expected, output)
