"""What every subject is given: a fleet, the ways of starting a job, and the counters."""

import os
from dataclasses import dataclass

from tests.bench.machine import Cpu
from tests.bench.service import Service
from tests.bench.ways import Ways
from tests.lab.lab import Fleet

ROUNDS = int(os.environ.get("ROUNDS", "12"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """One fleet on one machine, for all subjects."""

    made: Fleet
    ways: Ways
    cpu: Cpu
    service: Service | None
