"""Running one function of a script of images/ami, as if it were sourced by an operator."""

import os
import subprocess
from pathlib import Path

from tests.test_docs import ROOT

AMI = ROOT / "images/ami"
SCRIPTS = ("provision", "upgrade", "release", "in-a-build")


def part(name: str, script: str, *, path: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Source images/ami/`name` and run `script`; programs in `path` come first."""
    first = f"{path}:" if path else ""
    return subprocess.run(
        ["bash", "-c", f"source {AMI / name}\n{script}"],
        capture_output=True, text=True, check=False, timeout=60,
        env={"PATH": f"{first}{os.environ['PATH']}"},
    )  # fmt: skip


def program(directory: Path, name: str, text: str) -> None:
    """Write an executable shell script."""
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(f"#!/bin/sh\n{text}\n")
    (directory / name).chmod(0o755)
