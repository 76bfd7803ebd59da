"""What the job's log and the audit trail say about a sandbox."""

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bootstrap.errors import CannotStart
from bootstrap.job.model import Job
from bootstrap.job.plugins import calling_an_engine
from bootstrap.log import JobLog
from bootstrap.record import Record
from bootstrap.sandbox.agent_settings import without_effect
from bootstrap.sandbox.container import Opened
from bootstrap.sandbox.model import SandboxSpec, described

if TYPE_CHECKING:
    from bootstrap.sandbox.builds.builder import Builder


@dataclass(frozen=True, kw_only=True, slots=True)
class Passed:
    """The job's variables that it gets, and the names of those that it does not."""

    variables: dict[str, str]
    chain: tuple[str, ...]  # of AWS clients
    steering: tuple[str, ...]  # of what a job runs


def routing(held: ExitStack, log: JobLog, record: Record) -> Callable[[str], None]:
    """Record at once what happens to the routing rules; print it when the job has ended.

    A line of Airlock's in the midst of the job's output would change that.
    """

    def report(text: str) -> None:
        held.callback(log.alert, text)
        with suppress(CannotStart):  # the log has it, and the job goes on
            record.routing(text)

    return report


def proven(
    log: JobLog,
    record: Record,
    engine: str,
    *,
    spec: SandboxSpec,
    container: Opened,
    passed: Passed,
    dropped: tuple[str, ...],
    job: Job,
    builder: "Builder | None" = None,
) -> None:
    """Report that the job starts, and what it does not get.

    `engine` is the version of the engine.
    """
    log.note(
        f"{spec.name}: image {spec.image.id[:19]}, {len(container.probes)} checks of its isolation "
        "passed"
    )
    log.note(", ".join(f"{step} {took:.2f} s" for step, took in record.timings.items()))
    if passed.chain:
        log.note(f"left out of the job's environment, its AWS chain: {', '.join(passed.chain)}")
    if passed.steering:
        log.note(
            f"left out of the job's environment: {', '.join(passed.steering)}. The rule grants "
            "something, and these change what a job runs; allow.env of the rule can list those it "
            "may bring"
        )
    if ignored := ", ".join(without_effect(job.agent.values)):
        log.note(f"settings of the agent that do nothing here: {ignored}. See docs/features.md")
    if called := ", ".join(calling_an_engine(job.claims.env.get("BUILDKITE_PLUGINS", ""))):
        log.note(
            f"plugins that call a Docker Engine, which no job has: {called}. "
            "docs/builds.md#why-there-is-no-docker-run has what takes their place"
        )
    record.sandbox(
        image=spec.image.id,
        reference=spec.image.reference,
        digests=list(spec.image.digests),
        spec=described(spec),
        versions={"kernel": os.uname().release, "engine": engine},
        address=container.running.address,
        container=spec.name,
        proof={probe.target: probe.outcome for probe in container.probes},
        firewall_reloaded=container.ruleset_reloaded,
        dropped=sorted({*passed.chain, *dropped}),
        **({"builder": builder.facts} if builder else {}),
    )
