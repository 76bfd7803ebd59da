"""The real agent's reading of a pipeline, to compare with."""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.lab.agent import binary
from tests.lab.engine import STATE


def uploader() -> Path:
    """Return the agent where there is one: building it takes minutes, which the lab may do."""
    built = sorted((STATE / "agent").glob("*/buildkite-agent"))
    if not built and "BUILDKITE_AGENT" not in os.environ:
        pytest.skip("needs a buildkite-agent: set BUILDKITE_AGENT, or run the lab's tests before")
    return built[-1] if built else binary()


def uploaded(text: str, env: Mapping[str, str]) -> Any:
    """Return what `buildkite-agent pipeline upload` would send, None if it refuses the text."""
    with tempfile.TemporaryDirectory(prefix="airlock-upload-") as name:
        path = Path(name) / "pipeline.yml"
        path.write_text(text)
        done = subprocess.run(
            [uploader(), "pipeline", "upload", "--dry-run", "--no-color",
             "--agent-access-token", "x", path],
            env=dict(env), capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    return json.loads(done.stdout) if done.returncode == 0 else None
