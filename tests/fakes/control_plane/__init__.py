"""Buildkite's agent API as far as an agent and its jobs use it.

The calls: docs/agent-contract.md#the-agent-api
"""

from tests.fakes.control_plane.build import Build, Outcome
from tests.fakes.control_plane.environment import job_env
from tests.fakes.control_plane.job import Artifact, Job, JobOrder, JobResult, Timings
from tests.fakes.control_plane.log import IncompleteLogError
from tests.fakes.control_plane.plane import REGISTRATION, ControlPlane

__all__ = [
    "REGISTRATION",
    "Artifact",
    "Build",
    "ControlPlane",
    "IncompleteLogError",
    "Job",
    "JobOrder",
    "JobResult",
    "Outcome",
    "Timings",
    "job_env",
]
