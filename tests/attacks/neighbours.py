"""An attacker's job and its honest neighbour, each on an agent of its own."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.fakes.control_plane import Job, JobOrder
from tests.lab.agent import Agent
from tests.lab.lab import Fleet

DONE = ("0", "", "")
STATUS_125 = ("-1", "", "process_run_error")  # exit status 125, as the agent reports it


@contextmanager
def agents(made: Fleet, *names: str) -> Iterator[dict[str, Agent]]:
    with ExitStack() as held:
        yield {name: held.enter_context(made.agent(name=name)) for name in names}


def start_job(made: Fleet, agent: str, command: str, *, until: str = "", **env: str) -> Job:
    """Start a job on `agent`; with `until`, return when its log has a line that begins so."""
    sent = made.env(command, **{"BUILDKITE_AGENT_NAME": agent, **env})
    job = made.control.enqueue(JobOrder(env=sent, agent=agent))
    if until:
        made.control.wait(job, lambda j: f"\n{until}".encode() in j.log or j.finish)
        assert job.finish is None, job.log.decode()
    return job


def numbers(job: Job) -> list[str]:
    """Return the lines of a log that are nothing but a number: what `id -u` printed."""
    return [line for line in job.log.decode().splitlines() if line.isdigit()]
