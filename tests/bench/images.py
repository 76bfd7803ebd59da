"""Builds of images in the sandbox, beside the same ones by Docker and by root on the host."""

import os
import re
import shlex
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.bench.bench import ROUNDS, Bench
from tests.bench.results import Findings, Table, milliseconds, spread
from tests.e2e.image_builds import PREPARE, WITH_REGISTRY
from tests.lab import builder, launcher
from tests.lab.agent import binary
from tests.lab.engine import clear_control_groups, eventually
from tests.lab.lab import AIRLOCK, GATE, open_gate

# What is built, and docker's arguments for it: a Dockerfile of three steps that run, with a cache
# mount, a secret and three stages, and the same as a service of compose that goes to a registry.
BUILDS = {
    "docker buildx build": "buildx build --no-cache --quiet --secret id=s,src=secret "
    "--output type=tar,dest=out.tar .",
    "docker compose build --push": "compose build --quiet --no-cache --push",
}
ENGINE, ROOT, INSIDE = (
    "by the BuildKit in the host's engine",
    "by the same BuildKit, as root on the host",
    "in the sandbox",
)
_PLUGINS = ("docker-buildx", "docker-compose")
Taken = Mapping[str, Sequence[float]]  # seconds of each build, by what is built


def images(bench: Bench) -> Findings:
    """Build the same without a cache: by the host's engine, by root on the host and in a job."""
    made = bench.made
    launcher.builder()
    docker = made.lab.docker
    clients = builder.clients_image(docker, made.lab.image)
    image = builder.builder_image(docker, made.lab.image)
    config = made.config.with_name("images.toml")  # the real agent, and a builder
    text = re.sub("^agent-binary = .*$", f'agent-binary = "{binary()}"', made.config.read_text(),
                  flags=re.MULTILINE)  # fmt: skip
    config.write_text(f'{text}\n[builds]\nimage = "{image}"\n')
    made.policy(f"  - {{name: images, allow: {{builds: buildkit, image: '{clients}'}}}}\n",
                pipeline="images")  # fmt: skip
    script = shlex.join([*AIRLOCK, "bootstrap", "--config", str(config)])
    rounds = "\n".join(f"took '{name}' {arguments}" for name, arguments in BUILDS.items())
    command = (
        f"{PREPARE}{WITH_REGISTRY}{_TOOK}{rounds}; echo prepared; {GATE}\n"
        f"for i in $(seq {ROUNDS}); do\n{rounds}\ndone"
    )
    with made.agent(name="images", bootstrap_script=script):
        job = made.control.enqueue(
            made.env(command, BUILDKITE_AGENT_NAME="images", BUILDKITE_PIPELINE_SLUG="images")
        )
        made.control.wait(job, lambda j: b"\nprepared" in j.log or j.finish)
        (context,) = (made.base / "state/workspaces").glob("images-*/builds/**/app")
        with _registry(context), _plugins() as client:
            taken = {ENGINE: _timed(client, context, DOCKER_HOST=docker)}
            with _unconfined(client):
                taken[ROOT] = _timed(client, context, BUILDX_BUILDER="root")
        clear_control_groups()  # which the engine's BuildKit leaves
        open_gate(job)
        made.control.finished(job)
    return _found({**taken, INSIDE: _inside(job.log.decode(errors="replace"))})


# A shell's function that runs docker and prints for how long.
_TOOK = """took() {
  local name=$1 began=$(date +%s%N); shift
  docker "$@"
  echo "took $(( $(date +%s%N) - began )) for $name."
}
"""


def _inside(log: str) -> Taken:
    """Return what the job printed, without the first build of each, which is not counted."""
    found = {
        name: [int(taken) / 1e9 for taken in re.findall(rf"took (\d+) for {name}\.", log)][1:]
        for name in BUILDS
    }
    if any(len(taken) != ROUNDS for taken in found.values()):
        raise RuntimeError(log)
    return found


def _found(taken: Mapping[str, Taken]) -> Findings:
    found = {built: {way: spread(of[built]) for way, of in taken.items()} for built in BUILDS}
    rows: list[list[str | float]] = [
        [built, way, milliseconds(one), ways[INSIDE].median / one.median]
        for built, ways in found.items()
        for way, one in ways.items()
    ]
    table = Table(
        title=f"A build of three steps without a cache, {ROUNDS} times each, ms (quartiles)",
        header=("", "", "median", "the sandbox's /"),
        rows=rows,
    )
    data = {
        built: {
            way: {**one.json(), "ratio": ways[INSIDE].median / one.median}
            for way, one in ways.items()
        }
        for built, ways in found.items()
    }
    return Findings(tables=[table], data=data)


@contextmanager
def _plugins() -> Iterator[Path]:
    """Yield a directory of Docker's command line that has buildx and compose."""
    with tempfile.TemporaryDirectory() as home:
        plugins = Path(home, "cli-plugins")
        plugins.mkdir()
        for name in _PLUGINS:
            (plugins / name).symlink_to(builder.programs() / name)
        yield Path(home)


@contextmanager
def _registry(context: Path) -> Iterator[None]:
    """Run the job's registry on this host's loopback too."""
    process = subprocess.Popen(["python3", context / "registry.py", ""], stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: _listens(5000), "the registry listens")
        yield
    finally:
        process.terminate()
        process.wait(30)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def _unconfined(client: Path) -> Iterator[None]:
    """Run the builder's program as root on this host, for the clients of this directory."""
    address = f"unix://{client}/buildkit.sock"
    programs = builder.programs()
    daemon = subprocess.Popen(
        [programs / "buildkitd", "--root", client / "root", "--addr", address,
         "--oci-worker-net=host", "--oci-worker-binary", programs / "runc",
         "--containerd-worker=false"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        eventually((client / "buildkit.sock").exists, "buildkitd listens")
        create = ["docker", "buildx", "create", "--driver", "remote", "--name", "root", address]
        subprocess.run(create, env=_environment(client), check=True, capture_output=True)
        yield
    finally:
        daemon.terminate()
        daemon.wait(30)


def _environment(client: Path, **env: str) -> dict[str, str]:
    return {**os.environ, "DOCKER_CONFIG": str(client), **env}


def _timed(client: Path, context: Path, **env: str) -> Taken:
    """Return the seconds of each build, after one of each that is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in BUILDS}
    for number in range(ROUNDS + 1):
        for name, arguments in BUILDS.items():
            command = arguments.replace("out.tar", f"{client}/out.tar").split()
            began = time.monotonic()
            subprocess.run(
                ["docker", *command], cwd=context, env=_environment(client, **env), check=True,
                capture_output=True,
            )  # fmt: skip
            if number:
                taken[name].append(time.monotonic() - began)
    return taken
