"""What Docker's clients do in a job with a builder, where there is no engine.

The commands are those by which the plugins docker-compose v5.14.0 and docker v5.13.0 call them.
"""

from collections.abc import Mapping

import pytest

from tests.e2e.image_builds import PREPARE, WITH_REGISTRY
from tests.e2e.test_builds import building
from tests.fakes.control_plane import JobOrder
from tests.lab.lab import Lab
from tests.lab.ways import SERVICE

pytestmark = pytest.mark.lab

COMPOSE = "docker compose -f compose.yaml -p buildkite0123"
BAKE = "docker buildx bake -f compose.yaml"
# Of the docker-compose plugin, `build: web` is the first, `push: web` the next three and `run: web`
# those with `up` and `run`. Tools such as testcontainers begin with `docker info`.
ENGINE = {
    "compose-build": f"{COMPOSE} build --pull web",
    "image-inspect": "docker image inspect 127.0.0.1:5000/web:1",
    "tag": "docker tag 127.0.0.1:5000/web:1 127.0.0.1:5000/web:2",
    "compose-push": f"{COMPOSE} push web",
    "compose-up": f"{COMPOSE} up -d --scale web=0 web",
    "compose-run": f"{COMPOSE} run --name buildkite0123_web_1 --rm web true",
    "docker-run": "docker run --rm --init --workdir /workdir 127.0.0.1:5000/web:1 true",
    "info": "docker info",
    "load": "docker build --secret id=s,src=secret --load .",
    "classic": "env DOCKER_BUILDKIT=0 docker build .",
}
# The first is what the plugin asks for before it builds.
NO_ENGINE = {
    "inspect": "docker buildx inspect",
    "compose-build-push": f"{COMPOSE} build --pull --push web",
    "pushed": "curl -fs 127.0.0.1:5000/v2/web/manifests/1",
    "compose-build-of-two-platforms": f"{COMPOSE} build --pull two",
    "bake": f"{BAKE} web",
    "bake-into-nothing": f"{BAKE} --set *.output=type=cacheonly web",
    "bake-into-a-file": f"{BAKE} --set *.output=type=oci,dest=web.tar web",
    "file": "tar -tf web.tar index.json",
    "compose-config": f"{COMPOSE} config",
}
_COMMANDS = "".join(f"try {name} {command}\n" for name, command in {**NO_ENGINE, **ENGINE}.items())
SCRIPT = f"""{PREPARE}
cat > compose.yaml <<'END'
services:
  web: {{image: "127.0.0.1:5000/web:1", build: {{context: ., secrets: [s]}}}}
  two:
    build:
      dockerfile_inline: "FROM scratch\\nCOPY secret /"
      platforms: [linux/amd64, linux/arm64]
secrets: {{s: {{file: ./secret}}}}
END
{WITH_REGISTRY}
try() {{
  local name=$1 status=0 found; shift
  "$@" >output 2>&1 </dev/null || status=$?
  found=$(grep -oiEm1 'docker (api|daemon) at [^ ;]*' output || tail -n 1 output)
  echo "tried $name: $status, $found"
}}
{_COMMANDS}"""


@pytest.fixture(scope="module")
def tried(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Return the status and the last line of each command, which one job has run."""
    with building(lab, SERVICE, tmp_path_factory.mktemp("without-engine")) as here:
        sent = here.fleet.env(SCRIPT, BUILDKITE_AGENT_NAME="agent-1")
        job = here.fleet.control.enqueue(JobOrder(env=sent, agent="agent-1"))
        log = here.fleet.control.completed(job).log.decode()
    lines = (line.strip().partition(": ") for line in log.splitlines())
    return {
        name.removeprefix("tried "): rest for name, _, rest in lines if name.startswith("tried ")
    }


@pytest.mark.parametrize("name", ENGINE)
def test_what_needs_an_engine_fails_and_says_so(tried: Mapping[str, str], name: str) -> None:
    status, _, last = tried[name].partition(", ")
    assert status != "0", last
    assert "/docker.sock" in last, last


@pytest.mark.parametrize("name", NO_ENGINE)
def test_what_needs_none_works(tried: Mapping[str, str], name: str) -> None:
    assert tried[name].startswith("0, "), tried[name]
