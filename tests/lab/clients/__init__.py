"""Real AWS clients, built for the image of the lab's jobs."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
_UNBUILT = {".md", ".pyc"}
PACKAGES = ("awscli", "nodejs", "openjdk-17-jre-headless", "python3-boto3", "ruby-aws-sdk-core")


def digest() -> bytes:
    """Return what changes when the clients do."""
    sources = sorted(
        path for path in HERE.rglob("*") if path.is_file() and path.suffix not in _UNBUILT
    )
    content = [path.read_bytes() for path in sources]
    return hashlib.sha256(b"".join((*content, str(bool(find_go())).encode()))).digest()


def install(target: Path) -> None:
    """Put every client into `target`, to be /opt/clients of the image."""
    shutil.copytree(HERE, target, ignore=shutil.ignore_patterns("__*", "*.md"))
    _python(target / "python")
    _javascript(target / "javascript")
    _java(target / "java")
    _go(target / "go")
    _go(target / "terraform")


def _python(home: Path) -> None:
    """What Debian has is older; this is the newest of AWS CLI v1 and of boto3."""
    packages = ("--only-binary", ":all:", "--python-version", "3.11", "--target", str(home / "lib"))
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes")
    _run(home, *pip, *packages, "-r", "requirements.txt")


def _javascript(home: Path) -> None:
    _run(home, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")


def _java(home: Path) -> None:
    maven = ("mvn", "--quiet", "--batch-mode", "--no-transfer-progress")
    _run(home, *maven, "dependency:copy-dependencies", "-DincludeScope=runtime",
         "-DoutputDirectory=lib")  # fmt: skip
    _run(home, "javac", "-cp", "lib/*", "-d", "lib", "Whoami.java")


def _go(home: Path) -> None:
    """Debian 12 has no Go that is new enough: the lab does without where there is none."""
    if go := find_go():
        _run(home, go, "build", "-trimpath", "-ldflags=-s -w", "-o", "whoami")


def find_go() -> str | None:
    """Return the go command of this machine, if there is one."""
    return shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")


def _run(home: Path, *command: str) -> None:
    env = {**os.environ, "CGO_ENABLED": "0"}
    subprocess.run(command, cwd=home, env=env, stdout=sys.stderr, check=True)
