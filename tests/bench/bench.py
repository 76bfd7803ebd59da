"""What every subject is given: a fleet, its service, the ways of starting a job, and counters."""

import os
from dataclasses import dataclass

from tests.bench.machine import Cpu
from tests.bench.ways import Ways
from tests.lab import prepared
from tests.lab.lab import Fleet
from tests.lab.service import Serving

AHEAD = int(os.environ.get("AHEAD", "2"))  # service.networks-ahead
ROUNDS = int(os.environ.get("ROUNDS", "12"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """One fleet on one machine, for all subjects."""

    made: Fleet
    ways: Ways
    cpu: Cpu
    service: Serving

    def settle(self) -> None:
        """Wait until as many networks are prepared as before the last job.

        Preparing them again is work for that job, and must slow down no other way.
        """
        prepared.wait_for(AHEAD)
