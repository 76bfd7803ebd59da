"""The steps of one replay in order; no other module determines this order."""

import os
import secrets
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from socket import socket

from bootstrap.credentials import environment as aws_environment
from bootstrap.log import JobLog
from bootstrap.policy.model import Grant
from bootstrap.replay import clearing, engine, network, sandbox, supervise
from bootstrap.replay.job import job_of
from bootstrap.replay.machine import Machine, settings
from bootstrap.replay.model import ReplayInput
from bootstrap.replay.options import Options, Shell
from bootstrap.replay.phases import Phases
from bootstrap.replay.supervise import Ended
from bootstrap.sandbox.environment import sandbox_grace
from bootstrap.sandbox.supervision.signals import Cancellation
from bootstrap.sandbox.workspace import token_for
from bootstrap.secret import Secret

Serve = Callable[[socket, Secret], AbstractContextManager[None]]


def replay(
    found: ReplayInput,
    options: Options,
    machine: Machine,
    serve: Serve,
    *,
    log: JobLog,
    cancellation: Cancellation,
    out: int,
) -> Ended:
    """Run the job in a sandbox on this machine, its output to `out`, and return how it ended.

    `serve` serves the agent API at a listener. Raises an AirlockError if the job does not get as
    far as running, and CancelledEarly if the developer ends it before. Either way nothing stays.
    """
    token = Secret(secrets.token_urlsafe(32))
    with ExitStack() as held:
        with cancellation.interrupting():
            job = job_of(found, options, endpoint=network.API_URL, token=token)
            client = held.enter_context(engine.connected(options.docker))
            for dead in clearing.sweep(client, machine.places, options.docker):
                log.note(f"cleared after the replay {dead}, which was killed")
            image = engine.image(client, engine.reference(found, options), note=log.note)
            chosen = settings(found, options, image.id)
        name = token_for(job.claims.job_id, os.urandom(4).hex())
        held.enter_context(clearing.held(machine.places, options.docker, name))
        directory, tree = machine.places.directory(name), machine.places.workspace(name)
        with cancellation.interrupting():
            sandbox.prepared_tree(tree, sandbox.job_uid(chosen))
            labels = network.labels(name, os.geteuid())
            made = held.enter_context(
                network.opened(client, image, chosen, directory, of=labels, credentials=False)
            )
            held.enter_context(serve(made.api, token))
            spec = sandbox.specification(
                job, Grant(), chosen, labels=labels, token=name, image=image, directory=directory,
                tree=tree, agent=machine.agent, terminal=options.shell is not Shell.NEVER,
            )  # fmt: skip
            granted = aws_environment.region_only(machine.region)
            opened = held.enter_context(
                sandbox.opened(
                    client, job, spec, chosen, made, directory, granted=granted, files={}
                )
            )
        phases = Phases(time.monotonic())
        observe = lambda piece: phases.received(piece, time.monotonic())
        return supervise.until_end(
            client, opened, cancellation, sandbox_grace(job.grace), out=out, observe=observe
        )
