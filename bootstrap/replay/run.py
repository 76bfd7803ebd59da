"""The steps of one replay in order; no other module determines this order."""

import os
import secrets
import time
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from bootstrap.errors import CannotStart
from bootstrap.job.model import Job
from bootstrap.log import JobLog
from bootstrap.replay import (
    agent_api,
    checkout,
    clearing,
    engine,
    network,
    results,
    shell,
    supervise,
)
from bootstrap.replay.agent_api import Serve
from bootstrap.replay.interruption import Interruption
from bootstrap.replay.job import job_of
from bootstrap.replay.machine import Machine, settings
from bootstrap.replay.model import ReplayInput
from bootstrap.replay.opening import Prepared, opened
from bootstrap.replay.options import Options, Shell
from bootstrap.replay.phases import Phases, Timings
from bootstrap.replay.place import Place
from bootstrap.replay.result import Result
from bootstrap.sandbox.environment import sandbox_grace
from bootstrap.sandbox.model import described
from bootstrap.sandbox.workspace import token_for
from bootstrap.secret import Secret


def replay(
    found: ReplayInput,
    options: Options,
    machine: Machine,
    serve: Serve,
    *,
    log: JobLog,
    cancellation: Interruption,
    out: int,
) -> Result:
    """Run the job in a sandbox on this machine, its output to `out`, and return how it ended.

    `serve` serves the agent API at a listener. Raises an AirlockError if the job does not get as
    far as running, and CancelledEarly if the developer ends it before. Either way nothing stays.
    """
    token, timings = Secret(secrets.token_urlsafe(32)), Timings(time.monotonic())
    with ExitStack() as held:
        with cancellation.interrupting():
            job = job_of(found, options, endpoint=network.API_URL, token=token)
            held.enter_context(_results(found, options, job))
            wanted = engine.reference(found, options)
            client = held.enter_context(engine.connected(options.docker, cancellation))
            clearing.sweep(client, machine.places, options.docker, note=log.note)
            image = engine.image(client, wanted, note=log.note)
            prepared = Prepared(
                found=found, options=options, machine=machine, job=job, token=token, image=image,
                settings=settings(found, options, image.id),
            )  # fmt: skip
            versions = machine.versions(client) if options.compare else {}
            timings.ended("engine", time.monotonic())
        place = machine.places.place(token_for(job.claims.job_id, os.urandom(4).hex()))
        held.enter_context(clearing.held(place, options.docker, alert=log.alert))
        with cancellation.interrupting(), place.writing():
            box = held.enter_context(
                opened(client, prepared, place, serve, log=log, timings=timings)
            )
        log.note(f"{len(box.probes)} checks of the job's isolation passed")
        phases = Phases(time.monotonic())
        if options.shell is Shell.NEVER:
            ended = supervise.until_end(
                client, box, cancellation, sandbox_grace(job.grace), out=out,
                observe=phases.received, log=log,
            )  # fmt: skip
        else:
            ended = shell.until_end(client, box, cancellation, terminal=machine.terminal, out=out)
        kept = _kept(prepared, place, log) if options.keep else None
    return Result(
        ended=ended,
        image=wanted,
        image_id=image.id,
        versions=versions,
        spec=described(box.spec),
        env=tuple(sorted(job.claims.env)),
        timings=timings.seconds,
        phases=phases.until(time.monotonic()),
        digest=phases.digest() if options.shell is Shell.NEVER else None,
        kept=kept,
        results=agent_api.directory(found, options),
    )


def _results(found: ReplayInput, options: Options, job: Job) -> AbstractContextManager[None]:
    """Hold the directory of results. Raises WrongConfiguration if it cannot take them."""
    if options.keep:
        checkout.require_free(job, options.output)
    return results.directory(agent_api.directory(found, options))


def _kept(of: Prepared, place: Place, log: JobLog) -> Path | None:
    """Keep the checkout. Whatever fails then, how the job ended stays what it was."""
    try:
        return checkout.kept(place.tree, of.job, of.options.output)
    except CannotStart as failed:
        log.alert(f"the checkout was not kept: {failed}")
        return None
