"""A job's builder, where its rule has one; the others import nothing for it."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.host.config import Host
from bootstrap.log import JobLog
from bootstrap.policy.model import Grant
from bootstrap.sandbox.leases.lease import Lease
from bootstrap.sandbox.model import Image, Running
from bootstrap.sandbox.workspace import SandboxDirectory

if TYPE_CHECKING:
    from bootstrap.sandbox.builds.builder import Builder
    from bootstrap.sandbox.engine_client import Client


def image(client: "Client", grant: Grant, host: Host, log: JobLog) -> Image | None:
    """Return the builder's image, or None if the job has no builder. Raises as its `image_of`."""
    if grant.builds is None:
        return None
    from bootstrap.sandbox.builds import builder as builders  # noqa: PLC0415

    return builders.image_of(client, host, log)


def builder(
    client: "Client",
    host: Host,
    lease: Lease,
    *,
    image: Image | None,
    grant: Grant,
    running: Running,
    directory: SandboxDirectory,
    tree: Path,
    log: JobLog,
) -> "AbstractContextManager[Builder | None]":
    """Open the job's builder, if it has an image. Raises as `opened_builder`."""
    if image is None:
        return nullcontext()
    from bootstrap.sandbox.builds import builder as builders  # noqa: PLC0415

    return builders.opened_builder(
        client, host, lease, running=running, directory=directory, image=image,
        at_most=grant.at_most, tree=tree, log=log,
    )  # fmt: skip
