"""The pipelines' repositories, hosts with two agents, and a developer who replays."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.e2e.pipelines import calls, endings, surroundings, work
from tests.e2e.pipelines.model import GIT, PIPELINE, Pipeline
from tests.e2e.pipelines.plugins import publish_all
from tests.fakes.git import publish
from tests.lab import developer as developers
from tests.lab.developer import Developer
from tests.lab.lab import Fleet, Lab
from tests.lab.ways import SERVICE, host

PIPELINES = (*work.PIPELINES, *surroundings.PIPELINES, *calls.PIPELINES, *endings.PIPELINES)
RULES = f"""  - name: trusted
    when: {{step: "!open"}}
    allow:
      agent-api:
        calls: [meta-data, artifacts, annotations, pipeline-upload, steps, cancel]
        secrets: STORE_KEY
        oidc-audiences: {calls.AUDIENCE}
  - {{name: without a gateway, allow: {{}}}}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """A pipeline whose repository can be checked out; `text` has the lab's addresses."""

    pipeline: Pipeline
    slug: str
    url: str
    commit: str
    text: str

    @property
    def env(self) -> dict[str, str]:
        """What Buildkite sends with every job of a build of it."""
        return {
            "BUILDKITE_PIPELINE_SLUG": self.slug,
            "BUILDKITE_REPO": self.url,
            "BUILDKITE_COMMIT": self.commit,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """A fleet whose agents run, with every pipeline by its name."""

    fleet: Fleet
    published: dict[str, Published]


@pytest.fixture(scope="module")
def site(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    base = tmp_path_factory.mktemp("pipelines")
    with ExitStack() as held:
        made = held.enter_context(host(lab, SERVICE, base))
        publish_all(made.fleet.git.root)
        published = {one.name: _published(made.fleet, one) for one in PIPELINES}
        made.fleet.control.secrets["STORE_KEY"] = calls.SECRET
        for name in ("agent-1", "agent-2"):
            agent = replace(made.agent, name=name, flags=("--checkout-attempts", "1"))
            held.enter_context(agent.running(made.fleet.control, made.base / name))
        yield Site(fleet=made.fleet, published=published)


def _published(fleet: Fleet, pipeline: Pipeline) -> Published:
    root, name = fleet.git.root, pipeline.name.replace(" ", "-").replace("'", "")
    text = pipeline.text.replace(GIT, fleet.git.url)
    commit = publish(root, name, {**pipeline.files, PIPELINE: text})
    if pipeline.prepare:
        commit = pipeline.prepare(root, name)
    url = f"{fleet.git.url}/{name}.git"
    slug = name.lower()
    fleet.policy(RULES, pipeline=slug, repository=url)
    return Published(
        pipeline=pipeline, slug=slug, url=url, commit=pipeline.commit or commit, text=text
    )


@pytest.fixture(scope="module")
def developer(lab: Lab) -> Iterator[Developer]:
    with developers.developer(lab) as made:
        yield made


@pytest.fixture
def files(developer: Developer, request: pytest.FixtureRequest) -> Path:
    """A directory of this developer's for one test."""
    path: Path = developer.home / request.node.name.replace("/", "-")
    path.mkdir()
    path.chmod(0o777)
    return path
