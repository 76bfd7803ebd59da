"""BuildKit and its clients, built here with Go, and the images in which the lab has them.

The builder's image is that of airlock.toml's [builds]. The clients' is the image of jobs with
buildctl, Docker's command line, buildx and compose.
"""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from tests.lab.engine import STATE

_BUILD = Path(__file__).with_name("builder_build")
PROGRAMS = {
    "buildkitd": "github.com/moby/buildkit/cmd/buildkitd",
    "buildctl": "github.com/moby/buildkit/cmd/buildctl",
    "docker-buildx": "github.com/docker/buildx/cmd/buildx",
    "docker-compose": "github.com/docker/compose/v5/cmd",
}
# compose asks buildx for its version, which a release's build sets.
_FLAGS = "-s -w -X github.com/docker/buildx/version.Version=v0.38.2"
_PLUGINS = "/usr/local/lib/docker/cli-plugins/"


def builder_image(docker: str, base: str) -> str:
    """Return the image of BuildKit's daemon, which is `base` with it and runc."""
    steps = "COPY buildkitd runc /usr/local/bin/\n"
    return image(docker, "buildkit", f"FROM {base}\nUSER 0\n{steps}", programs())


def clients_image(docker: str, base: str) -> str:
    """Return the image of jobs, `base`, with the clients of a builder."""
    steps = f"COPY docker buildctl /usr/local/bin/\nCOPY docker-buildx docker-compose {_PLUGINS}\n"
    return image(docker, "clients", f"FROM {base}\nUSER 0\n{steps}", programs())


def image(docker: str, name: str, recipe: str, context: Path) -> str:
    """Return the image of this recipe, built first unless there is one of the same content."""
    content = b"".join(path.read_bytes() for path in sorted(context.iterdir()))
    digest = hashlib.sha256(content + recipe.encode()).hexdigest()[:12]
    reference = f"airlock-lab/{name}:{digest}"
    inspect = ["docker", "-H", docker, "image", "inspect", reference]
    if subprocess.run(inspect, capture_output=True, check=False).returncode:
        # The builder that every engine has: buildx would need one of those that are tested.
        subprocess.run(
            ["docker", "-H", docker, "build", "--tag", reference, "--file", "-", str(context)],
            env={**os.environ, "DOCKER_BUILDKIT": "0"},
            input=recipe.encode(),
            capture_output=True,
            check=True,
        )
    return reference


def programs() -> Path:
    """Return the directory that has the programs, built first if need be (a minute or two)."""
    sources = sorted(path for path in _BUILD.iterdir() if path.is_file())
    content = b"".join(path.read_bytes() for path in sources) + _FLAGS.encode()
    digest = hashlib.sha256(content).hexdigest()[:12]
    target = STATE / "builder" / digest
    for name, package in PROGRAMS.items():
        if not (target / name).exists():
            _compile(package, target / name)
    for name in ("docker", "runc"):
        found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        assert found, f"the lab's engine needs {name}"
        if not (target / name).exists():
            shutil.copy(found, target / name)
    return target


def _compile(package: str, target: Path) -> None:
    print(f"lab: building {target.name} (a minute or two, once)", flush=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_suffix(".new")
    subprocess.run(
        ["go", "build", "-trimpath", f"-ldflags={_FLAGS}", "-o", str(fresh), package],
        cwd=_BUILD,
        env={
            **os.environ,
            "PATH": f"{os.environ.get('PATH', '')}:/usr/local/go/bin",
            "CGO_ENABLED": "0",
            "GOFLAGS": "-mod=readonly",
        },
        check=True,
    )
    fresh.replace(target)
