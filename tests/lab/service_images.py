"""The images of the lab's service containers: PostgreSQL and Redis, from Debian's packages.

They behave as the official ones of Docker Hub do towards whoever starts them: the same volumes, an
entry point of a script that runs without root too, nothing that the image itself grants.
"""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from tests.lab.engine import STATE

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent / "service_images"
_PACKAGES = "postgresql,redis-server,netcat-openbsd,python3-minimal"


def service_images(docker: str) -> dict[str, str]:
    """Return the references of `postgres` and `redis`, built on first use for their content."""
    parts = [ROOT / "images/job/build", ROOT / "images/job/Dockerfile", *sorted(HERE.iterdir())]
    content = b"".join(part.read_bytes() for part in parts) + _PACKAGES.encode()
    tag = hashlib.sha256(content).hexdigest()[:12]
    base = f"airlock-lab/services:{tag}"
    names = {name: f"airlock-lab/{name}:{tag}" for name in ("postgres", "redis")}
    if not _exists(docker, names["redis"]):
        print(f"lab: building the images of services {tag} (some minutes, once)", flush=True)
        _build(docker, base, names)
    return names


def _exists(docker: str, reference: str) -> bool:
    command = ["docker", "-H", docker, "image", "inspect", reference]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _build(docker: str, base: str, names: dict[str, str]) -> None:
    overlay = STATE / "services-overlay"
    shutil.rmtree(overlay, ignore_errors=True)
    (overlay / "usr/local/bin").mkdir(parents=True)
    entry = overlay / "usr/local/bin/postgres-entry"
    shutil.copy2(HERE / "postgres-entry", entry)
    entry.chmod(0o755)
    build = [str(ROOT / "images/job/build"), "--debootstrap", "--tag", base]
    _run([*build, "--include", _PACKAGES, "--overlay", str(overlay)], docker)
    for name, reference in names.items():
        dockerfile = ["-f", str(HERE / f"Dockerfile.{name}")]
        arguments = ["--build-arg", f"BASE={base}", *dockerfile, "-t", reference]
        _run(["docker", "build", *arguments, str(HERE)], docker)


def _run(command: list[str], docker: str) -> None:
    with (STATE / "services.log").open("ab") as log:
        env = {**os.environ, "DOCKER_HOST": docker, "DOCKER_BUILDKIT": "0"}
        subprocess.run(command, env=env, stdout=log, stderr=log, check=True)
