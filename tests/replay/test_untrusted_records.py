"""A record from somebody else: what it may ask of the developer's machine."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.replay.conftest import LIMITS, Replays
from tests.replay.unprotected import without

pytestmark = pytest.mark.lab

NO_LIMITS = {"memory": 0, "pids": 0, "open_files": LIMITS["open_files"]}
ANY_LIMIT = "from bootstrap.replay import machine; machine._is_limit = lambda *_: True"
SHOWN = "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null; true"


def record(replays: Replays, command: str, spec: dict[str, Any], **env: str) -> Path:
    path = replays.record(command, **env)
    document = json.loads(path.read_text())
    document["events"][0]["spec"] = spec
    path.write_text(json.dumps(document))
    return path


def test_record_cannot_take_away_the_limits(replays: Replays) -> None:
    done = replays.again(record(replays, SHOWN, NO_LIMITS))
    assert done.returncode == 78
    assert b"limits memory to 0" in done.stderr
    assert b"\n4096" in replays.again(record(replays, SHOWN, dict(LIMITS))).stdout
    arguments = replays.arguments(record(replays, SHOWN, NO_LIMITS))
    unlimited = without(replays, ANY_LIMIT, arguments)
    assert b"\nmax" in unlimited.stdout, unlimited.stderr.decode()
