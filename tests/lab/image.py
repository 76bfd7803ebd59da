"""The image of the lab's jobs: the job image plus real AWS clients and attackers' tools."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from tests.lab import clients
from tests.lab.engine import STATE

ROOT = Path(__file__).parents[2]
_TOOLS = ("dnsutils", "iproute2", "netcat-openbsd", "procps", "python3", "skopeo")
_PACKAGES = ",".join((*_TOOLS, *clients.PACKAGES))


def lab_image(docker: str) -> str:
    """Return the lab image's reference, built on first use for its content's hash."""
    parts = [ROOT / "images/job/build", ROOT / "images/job/Dockerfile"]
    content = b"".join(part.read_bytes() for part in parts) + _PACKAGES.encode() + clients.digest()
    reference = f"airlock-lab/job:{hashlib.sha256(content).hexdigest()[:12]}"
    if not _exists(docker, reference):
        print(f"lab: building the image {reference} (one to three minutes, once)", flush=True)
        _build(docker, reference)
    return reference


def _exists(docker: str, reference: str) -> bool:
    done = subprocess.run(
        ["docker", "-H", docker, "image", "inspect", reference], capture_output=True, check=False
    )
    return done.returncode == 0


def _build(docker: str, reference: str) -> None:
    arguments = ["--debootstrap", "--tag", reference, "--include", _PACKAGES]
    with (STATE / "image.log").open("wb") as log:
        subprocess.run(
            [str(ROOT / "images/job/build"), *arguments, "--overlay", str(_overlay())],
            env={**os.environ, "DOCKER_HOST": docker},
            stdout=log,
            stderr=log,
            check=True,
        )


def _overlay() -> Path:
    overlay = STATE / "overlay"
    shutil.rmtree(overlay, ignore_errors=True)
    clients.install(overlay / "opt/clients")
    return overlay
