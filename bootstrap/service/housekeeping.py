"""What the chores do: prepare the host for the first job, pull images ahead of jobs, collect."""

import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.commands.gc import gc
from bootstrap.errors import AirlockError, CannotStart
from bootstrap.host import config
from bootstrap.host.config import Host
from bootstrap.log import to_descriptor
from bootstrap.metrics import catalogue
from bootstrap.metrics.report import report, to
from bootstrap.sandbox import engine
from bootstrap.sandbox import engine_network as network
from bootstrap.sandbox.ahead import holder, making
from bootstrap.sandbox.images import engine_images, pulled_images
from bootstrap.sandbox.images.image import login_for
from bootstrap.sandbox.leases import lease
from bootstrap.sandbox.network import firewall
from bootstrap.sandbox.workspace import prepare_host
from bootstrap.service.journal import Journal

if TYPE_CHECKING:
    from bootstrap.sandbox.engine_client import Client

SWEEPING = 60.0  # seconds for clearing what dead jobs left
LATELY = 7 * 86400.0  # seconds since its last job for which an image is pulled ahead


def prepare(host: Host, journal: Journal) -> int:
    """Clear what dead jobs left, and load the ruleset, so that the first job need not.

    The ruleset is left alone while a job runs: if it is not what it should be, that job is stopped,
    and must be. Raises CannotStart and WrongConfiguration.
    """
    to(host.paths.runtime)
    prepare_host(host.paths.runtime, host.paths.state)
    swept = lease.sweep(host, patience=SWEEPING)
    for token in swept.cleared:
        journal.note(f"cleared what the dead job {token} had left")
    if problem := swept.problem():
        journal.alert(problem)
    if not any((host.paths.runtime / "jobs").iterdir()):
        with engine.connected(host.sandbox.docker) as client:
            network.ensure(client, host.sandbox.subnet, host.paths.runtime)
        if firewall.ensure_loaded(host.paths.runtime).reloaded:
            report(catalogue.RULESET_LOADS)
            journal.note("loaded the ruleset")
    return CannotStart.exit_code if swept.left else 0


def pull(host: Host, journal: Journal) -> int:
    """Pull the images that airlock.toml names, and those that jobs have used lately.

    As sandbox.pull says. One that cannot be pulled does not keep the others from it. Raises
    CannotStart.
    """
    to(host.paths.runtime)
    if host.sandbox.pull == "never":
        return 0
    lately = pulled_images.recent(host.paths.state, time.time() - LATELY)
    wanted = {**dict.fromkeys(pulled_images.configured(host)), **lately}
    failed = 0
    with engine.connected(host.sandbox.docker) as client:
        for reference, last in wanted.items():
            try:
                result = "pulled" if _provide(client, host, reference, last, journal) else "present"
            except (AirlockError, OSError) as problem:
                journal.alert(f"{reference} could not be pulled ahead of jobs: {problem}")
                result, failed = "failed", failed + 1
            report(catalogue.IMAGE_PULLS, result=result)
    return CannotStart.exit_code if failed else 0


def _provide(
    client: "Client", host: Host, reference: str, last: float | None, journal: Journal
) -> bool:
    """Return whether anything was downloaded. When a job used it last stays as it is: see gc."""
    downloaded: list[str] = []
    engine_images.image_of(
        client,
        reference,
        host.sandbox.pull,
        login=partial(login_for, reference, host, journal),
        progress=lambda _: None,
        pulled=downloaded.append,
    )
    for image in downloaded:
        pulled_images.pulled(host.paths.state, reference, image, last=last)
        journal.note(f"pulled {reference} ahead of jobs")
    return bool(downloaded)


def networks(config_path: Path, journal: Journal) -> int:
    """Have as many prepared networks ready as service.networks-ahead says.

    Those that no job can use any more are removed. Without the image of [sandbox] on this host
    there are none yet. Raises CannotStart and WrongConfiguration.
    """
    host = config.load(config_path)  # as it is now, because jobs go by that
    runtime = host.paths.runtime
    to(runtime)
    prepare_host(runtime, host.paths.state)
    with ExitStack() as held:
        client = held.enter_context(engine.connected(host.sandbox.docker))
        # Before the lock, because it waits for that if the network has to be made anew.
        network.ensure(client, host.sandbox.subnet, runtime)
        if not held.enter_context(making.locked(runtime)):
            return 0
        making.serve(runtime)
        image = engine_images.known(client, host.sandbox.image)
        for change in making.useless(host, image=image.id if image else None):
            if change.apply() is not False:
                journal.note(f"removed {change}")
        if image is None:
            return 0
        present = len(holder.entries(holder.ready(runtime)))
        for number in range(present, host.service.networks_ahead):
            if number > present and making.a_job_starts(runtime):
                break  # it comes first, and the chore runs again after it
            making.make(client, host, image)
    return 0


def collect(config_path: Path, host: Host) -> int:
    """Do what `airlock gc` does; its lines are the service's."""
    to(host.paths.runtime)
    return gc(config_path=config_path, dry_run=False, write=to_descriptor(2))
