"""What is known of a replay when it has ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

from bootstrap.replay.phases import Phase


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a replayed job ended: its status, and the signal that ended it early, if one did."""

    code: int
    out_of_memory: bool
    cancelled: Signals | None
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """One replay: how it ended, and what it ran in.

    `image` is a reference by which others find it, `image_id` this engine's. `versions` and
    `spec` have the names of the event `sandbox` (docs/audit.md#events), and so have `timings`, in
    seconds by step. `digest` is that of the
    output (phases.py), None where a prompt was a part of it. `results` is where its artifacts are.
    """

    ended: Ended
    image: str
    image_id: str
    versions: Mapping[str, str]
    spec: Mapping[str, object]
    env: tuple[str, ...]
    timings: Mapping[str, float]
    phases: tuple[Phase, ...]
    digest: str | None
    kept: Path | None
    results: Path
