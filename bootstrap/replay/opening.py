"""From a job and a place on this machine to an isolated sandbox at its start gate.

The steps, in order. Each needs those before it, and nothing of the image runs before the last.

1. The directories of checkout and plugins, with a copy of a working copy if that is asked for.
2. The session, if the job is to have one: nothing is made for a job that cannot have it.
3. The network, restricted and proven (network.py), with a listener for the agent API.
4. The agent API and the credential endpoint are served there.
5. The container joins that network, and is checked.

The caller opens the start gate.
"""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bootstrap.host.config import Sandbox
from bootstrap.job.model import Job
from bootstrap.log import JobLog
from bootstrap.replay import checkout, credentials, network, overlay, prompt, sandbox
from bootstrap.replay.agent_api import Serve
from bootstrap.replay.job import own_shell
from bootstrap.replay.machine import Machine
from bootstrap.replay.model import ReplayInput
from bootstrap.replay.options import Options, Shell
from bootstrap.replay.phases import Timings
from bootstrap.replay.place import Place
from bootstrap.sandbox.model import Image, Volume
from bootstrap.secret import Secret

if TYPE_CHECKING:
    from bootstrap.sandbox.engine_client import Client


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """What is known before anything is made. `token` is the one of the job's agent API."""

    found: ReplayInput
    options: Options
    machine: Machine
    job: Job
    token: Secret
    image: Image
    settings: Sandbox


@contextmanager
def opened(
    client: "Client", of: Prepared, place: Place, serve: Serve, *, log: JobLog, timings: Timings
) -> Iterator[sandbox.Opened]:
    """Take the steps. Raises CannotStart, WrongConfiguration, Refused."""
    job, options, region = of.job, of.options, of.machine.region
    with ExitStack() as held:
        volume = _prepared(client, of, place, log)
        timings.ended("directories", time.monotonic())
        session = held.enter_context(
            credentials.sessions(options.credentials, of.found, job.claims, of.machine, log)
        )
        timings.ended("session", time.monotonic())
        net = held.enter_context(
            network.opened(client, of.image, of.settings, place, credentials=session is not None)
        )
        timings.ended("network", time.monotonic())
        held.enter_context(serve(net.api, of.token))
        granted = held.enter_context(
            credentials.served(session, net.credentials, job.claims.env, region)
        )
        spec = replace(
            sandbox.specification(job, of.settings, place, of.image, of.machine.agent),
            terminal=options.shell is not Shell.NEVER,
            volumes=(volume,) if volume else (),
        )
        files = prompt.files(options.shell, own_shell(of.found), checkout.inside(job))
        box = held.enter_context(
            sandbox.opened(
                client, job, spec, of.settings, network=net, place=place, granted=granted,
                files=files,
            )
        )  # fmt: skip
        timings.ended("start", time.monotonic())
        yield box


def _prepared(client: "Client", of: Prepared, place: Place, log: JobLog) -> Volume | None:
    """Create the directories; return the volume with the developer's working copy, if it is one.

    It is copied where there is no overlay, or where the job's user is another than the developer.
    """
    named, uid = of.options.checkout, sandbox.job_uid(of.settings)
    source = checkout.of_developer(named) if named is not None else None
    volume = None
    if source is not None and uid == os.geteuid() and not of.options.keep:
        volume = overlay.opened(
            client, of.image, of.settings, place, lower=source, target=checkout.inside(of.job)
        )
    if source is not None and not volume:
        log.note(f"copying the working copy {source}")
    checkout.prepare(place.tree, of.job, None if volume else source, uid=uid)
    if volume:
        checkout.prepare_under_overlay(place.tree, of.job)
    return volume
