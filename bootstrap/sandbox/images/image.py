"""The image of a container, on this host."""

from functools import partial
from typing import TYPE_CHECKING

from bootstrap import images, logins
from bootstrap.host.config import Host
from bootstrap.log import JobLog
from bootstrap.logins import Login
from bootstrap.sandbox.images import engine_images, pulled_images
from bootstrap.sandbox.model import Image

if TYPE_CHECKING:
    from bootstrap.sandbox.engine_client import Client


def provided(
    client: "Client", named: str | None, host: Host, log: JobLog, *, key: str = "image of the rule"
) -> Image:
    """Return the named image, or the default. Raises as `engine_images.image_of`.

    `key` is where it is named, for errors.
    """
    reference = named or host.sandbox.image
    place = key if named else "sandbox.image of airlock.toml"
    login = partial(login_for, reference, host, log)
    pulled = partial(_pulled, host, reference, log)
    while True:
        found = engine_images.image_of(
            client, reference, host.sandbox.pull,
            login=login, progress=log.note, pulled=pulled, named_by=place,
        )  # fmt: skip
        if pulled_images.used(host.paths.state, found.id):
            return found


def _pulled(host: Host, reference: str, log: JobLog, image: str) -> None:
    try:
        pulled_images.pulled(host.paths.state, reference, image)
    except OSError as failed:
        log.note(f"`airlock gc` will keep the image {reference}: its record failed: {failed}")


def login_for(image: str, host: Host, log: JobLog) -> Login | None:
    """Return how the host logs in for the image; None: as root's Docker configuration says.

    Raises as `ecr.login`, `secrets.fetch` and `logins.login`.
    """
    registry = images.registry_of(image)
    way = host.registries.get(registry)
    if way is None and images.ecr_region(registry):
        way = logins.ECR
    if way is None or way == logins.DOCKER:
        return None
    from bootstrap.aws import ecr  # noqa: PLC0415 - of images that have to be pulled
    from bootstrap.aws.client import Caller  # noqa: PLC0415
    from bootstrap.credentials import secrets  # noqa: PLC0415

    if way == logins.ECR:
        found = ecr.login(host.aws, registry, Caller.HOST)
    else:
        found = logins.login(registry, secrets.fetch(host.aws, {registry: way})[registry])
    log.mask(*logins.shown(found))
    return found
