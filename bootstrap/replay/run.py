"""The steps of one replay in order; no other module determines this order."""

import os
import secrets
import time
from contextlib import ExitStack
from functools import partial

from bootstrap.log import JobLog
from bootstrap.policy.model import Grant
from bootstrap.replay import checkout, clearing, credentials, engine, network, sandbox, shell
from bootstrap.replay import supervise
from bootstrap.replay.agent_api import Serve
from bootstrap.replay.job import job_of
from bootstrap.replay.machine import Machine, settings
from bootstrap.replay.model import ReplayInput
from bootstrap.replay.options import Options, Shell
from bootstrap.replay.phases import Phases
from bootstrap.replay.result import Result
from bootstrap.sandbox.environment import sandbox_grace
from bootstrap.sandbox.supervision.signals import Cancellation
from bootstrap.sandbox.workspace import token_for
from bootstrap.secret import Secret


def replay(
    found: ReplayInput,
    options: Options,
    machine: Machine,
    serve: Serve,
    *,
    log: JobLog,
    cancellation: Cancellation,
    out: int,
) -> Result:
    """Run the job in a sandbox on this machine, its output to `out`, and return how it ended.

    `serve` serves the agent API at a listener. Raises an AirlockError if the job does not get as
    far as running, and CancelledEarly if the developer ends it before. Either way nothing stays.
    """
