"""The image of a container, on this host."""

from functools import partial
from typing import TYPE_CHECKING

from bootstrap.aws import ecr
from bootstrap.host.config import Host
from bootstrap.log import JobLog
from bootstrap.sandbox import engine

if TYPE_CHECKING:
    from docker import APIClient


def provided(client: "APIClient", named: str | None, host: Host, log: JobLog) -> str:
    """Return the id of the named image, or of the host's default. Raises as `engine.image_id`."""
    reference = named or host.sandbox.image
    login = partial(ecr.for_image, reference, host, log)
    return engine.image_id(client, reference, host.sandbox.pull, login=login, progress=log.note)
