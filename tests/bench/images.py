"""A build of an image in the sandbox, beside the same one by root on the host."""

import os
import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.bench.bench import ROUNDS, Bench
from tests.bench.results import Findings, Table, milliseconds, spread
from tests.e2e.image_builds import PREPARE
from tests.lab import builder, launcher
from tests.lab.agent import binary
from tests.lab.engine import clear_control_groups, eventually
from tests.lab.lab import AIRLOCK, GATE, open_gate

BUILD = "buildx build --no-cache --quiet --secret id=s,src=secret --output type=tar,dest=out.tar ."
_PLUGIN = "docker-buildx"


def images(bench: Bench) -> Findings:
    """Build the same Dockerfile, of three steps and two stages, without a cache."""
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
    command = (
        f"{PREPARE}docker {BUILD}; echo prepared; {GATE}\n"
        f"for i in $(seq {ROUNDS}); do began=$(date +%s%N); docker {BUILD}\n"
        'echo "took $(( $(date +%s%N) - began ))."; done'
    )
    with made.agent(name="images", bootstrap_script=script):
        job = made.control.enqueue(
            made.env(command, BUILDKITE_AGENT_NAME="images", BUILDKITE_PIPELINE_SLUG="images")
        )
        made.control.wait(job, lambda j: b"\nprepared" in j.log or j.finish)
        (context,) = (made.base / "state/workspaces").glob("images-*/builds/**/app")
        with _plugin() as client:
            plain = _timed(client, ["-H", docker], context)
            with _unconfined(client):
                root = _timed(client, [], context)
        clear_control_groups()  # which the engine's BuildKit leaves
        open_gate(job)
        made.control.finished(job)
    inside = [int(taken) / 1e9 for taken in re.findall(rb"took (\d+)\.", job.log)]
    if len(inside) != ROUNDS:
        raise RuntimeError(job.log.decode(errors="replace"))
    return _found({
        "by the BuildKit in the host's engine": plain,
        "by the same BuildKit, as root on the host": root,
        "in the sandbox": inside,
    })  # fmt: skip


def _found(taken: Mapping[str, Sequence[float]]) -> Findings:
    found = {name: spread(values) for name, values in taken.items()}
    inside = found["in the sandbox"].median
    table = Table(
        title=f"A build of three steps without a cache, {ROUNDS} times each, ms (quartiles)",
        header=("", "median", "the sandbox's /"),
        rows=[[name, milliseconds(one), inside / one.median] for name, one in found.items()],
    )
    data = {name: {**one.json(), "ratio": inside / one.median} for name, one in found.items()}
    return Findings(tables=[table], data=data)


@contextmanager
def _plugin() -> Iterator[Path]:
    """Yield a directory of Docker's command line that has buildx."""
    with tempfile.TemporaryDirectory() as home:
        plugins = Path(home, "cli-plugins")
        plugins.mkdir()
        (plugins / _PLUGIN).symlink_to(builder.programs() / _PLUGIN)
        yield Path(home)


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
        create = ["docker", "buildx", "create", "--driver", "remote", "--use", address]
        subprocess.run(create, env=_environment(client), check=True, capture_output=True)
        yield
    finally:
        daemon.terminate()
        daemon.wait(30)


def _environment(client: Path) -> dict[str, str]:
    return {**os.environ, "DOCKER_CONFIG": str(client)}


def _timed(client: Path, flags: Sequence[str], context: Path) -> list[float]:
    """Return the seconds of each build, after one that is not counted."""
    build = BUILD.replace("out.tar", f"{client}/out.tar").split()
    taken = []
    for _ in range(ROUNDS + 1):
        began = time.monotonic()
        subprocess.run(
            ["docker", *flags, *build], cwd=context, env=_environment(client), check=True,
            capture_output=True,
        )  # fmt: skip
        taken.append(time.monotonic() - began)
    return taken[1:]
