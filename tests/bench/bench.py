"""What every subject is given: a fleet, its service, the ways of starting a job, and counters."""

import os
from dataclasses import dataclass

from tests.bench.machine import Cpu
from tests.bench.ways import Ways
from tests.lab.lab import Fleet
from tests.lab.service import Serving

ROUNDS = int(os.environ.get("ROUNDS", "12"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """One fleet on one machine, for all subjects."""

    made: Fleet
    ways: Ways
    cpu: Cpu
    service: Serving
