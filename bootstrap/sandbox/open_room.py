"""From a job with its session to a sealed room that waits for the word: every step in order."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.credentials.environment import strip
from bootstrap.credentials.obtain import Issued
from bootstrap.errors import WrongConfiguration
from bootstrap.host.config import Host
from bootstrap.job.model import Job
from bootstrap.log import JobLog
from bootstrap.policy.model import Admitted
from bootstrap.record import Record
from bootstrap.sandbox import engine, firewall, workspace
from bootstrap.sandbox.environment import room_environment, room_grace
from bootstrap.sandbox.lease import Lease, sweep
from bootstrap.sandbox.model import Running, SandboxSpec
from bootstrap.sandbox.plan import HOME, plan, workspace_key
from bootstrap.sandbox.proof import Probe, prove
from bootstrap.sandbox.pump import Pump
from bootstrap.sandbox.supervise import Supervision

if TYPE_CHECKING:
    from docker import APIClient


@dataclass(frozen=True, kw_only=True, slots=True)
class SealedRoom:
    """A room that is shown to be sealed; its entry waits."""

    supervision: Supervision
    pump: Pump
