"""The image of the lab's jobs: the job image plus real AWS clients and attackers' tools."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

from tests.lab.engine import STATE

ROOT = Path(__file__).parents[2]
_NODE = Path(__file__).with_name("node")
_PACKAGES = "awscli,dnsutils,iproute2,netcat-openbsd,nodejs,procps,python3,python3-boto3"


def lab_image(docker: str) -> str:
    """Return the lab image's reference, built on first use for its content's hash."""
    parts = [ROOT / "images/job/build", ROOT / "images/job/Dockerfile", _NODE / "package-lock.json"]
    content = b"".join(part.read_bytes() for part in parts) + _PACKAGES.encode()
    reference = f"airlock-lab/job:{hashlib.sha256(content).hexdigest()[:12]}"
    if not _exists(docker, reference):
        print(f"lab: building the image {reference} (some minutes, once)", flush=True)
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
    """Install the JavaScript SDK, by npm where there is one; its tests say so if there is none."""
    overlay = STATE / "overlay"
    shutil.rmtree(overlay, ignore_errors=True)
    target = overlay / "opt/sdk"
    target.mkdir(parents=True)
    if npm := shutil.which("npm"):
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_NODE / name, target)
        subprocess.run(
            [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=target, check=True
        )
    (target / "built.json").write_text(json.dumps({"npm": bool(npm)}))
    return overlay
