"""Images on this host's engine: which there are, how they get here, and how they go."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from bootstrap.errors import CannotStart, WrongConfiguration
from bootstrap.images import repository_of
from bootstrap.sandbox.engine import explained, suppress_status
from bootstrap.sandbox.images.pulling import PullProgress
from bootstrap.sandbox.model import Image

if TYPE_CHECKING:
    from collections.abc import Callable

    from bootstrap.logins import Login
    from bootstrap.sandbox.engine_client import Client


def image_of(
    client: "Client",
    reference: str,
    pull: str,
    *,
    login: "Callable[[], Login | None]",
    progress: "Callable[[str], None]",
    pulled: "Callable[[str], object]" = lambda _: None,
    named_by: str = "",
) -> Image:
    """Return the image, pulled if `pull` says so ("missing", "always", "never").

    `login` is called before a pull; None leaves it to root's Docker configuration. After a pull the
    image is that of the pulled digest, even if the tag has moved since; `pulled` is called with its
    id if this host lacked a layer. `named_by` is where the image is named, for errors.

    Raises WrongConfiguration if the image is missing and must not be pulled, CannotStart if the
    pull fails.
    """
    with explained(f"provide the image {reference}"):
        if pull != "always":
            with suppress_status(404):
                return _image(client, reference)
            if pull == "never":
                raise WrongConfiguration(
                    f"the image {reference} is not on this host, and sandbox.pull is {pull!r}",
                    hint=f"{_named(named_by)}Bake it into the AMI, or set sandbox.pull in "
                    "airlock.toml to missing.",
                )
        digest, downloaded = _pull(client, reference, login(), progress, named_by)
        found = replace(_image(client, digest), reference=reference)
        if downloaded:
            pulled(found.id)
        return found


def _named(by: str) -> str:
    return f"It is the {by}. " if by else ""


def _image(client: "Client", reference: str) -> Image:
    found = client.get(f"/images/{reference}/json")
    volumes = (found["Config"] or {}).get("Volumes") or ()
    return Image(
        id=str(found["Id"]),
        volumes=tuple(volumes),
        reference=reference,
        digests=tuple(found.get("RepoDigests") or ()),
    )


def _pull(
    client: "Client",
    reference: str,
    login: "Login | None",
    progress: "Callable[[str], None]",
    named_by: str,
) -> tuple[str, bool]:
    """Pull; return the digest reference, and whether a layer was downloaded.

    docker-py's high-level pull swallows errors.
    """
    progress(f"pulling {reference}")
    pulled = PullProgress(reference, time.monotonic())
    auth = {"username": login.username, "password": login.password.reveal()} if login else None
    with client.by_docker_py() as api:
        for event in api.pull(reference, stream=True, decode=True, auth_config=auth):
            if "error" in event:
                raise CannotStart(
                    f"pulling {reference} failed: {event['error']}",
                    hint=f"{_named(named_by)}Check that this host reaches the registry and is "
                    "logged in there: see [registries] in airlock.toml.",
                )
            if line := pulled.received(event, time.monotonic()):
                progress(line)
    progress(pulled.end(time.monotonic()))
    name = f"{repository_of(reference)}@{pulled.digest}" if pulled.digest else reference
    return name, pulled.downloaded


def remove_image(client: "Client", image: str) -> bool:
    """Remove an image; False if a container, another image or a name of its own still needs it.

    Succeeds if it is gone. Raises CannotStart.
    """
    with explained(f"remove the image {image}"), suppress_status(404):
        with suppress_status(409):  # never forced: whoever uses it, keeps it
            client.delete(f"/images/{image}")
            return True
        return False
    return True


def image_sizes(client: "Client") -> dict[str, int]:
    """Return the bytes of each image on this host, by its id, shared layers included."""
    with explained("list images"):
        return {str(image["Id"]): int(image["Size"]) for image in client.get("/images/json")}


def known_id(client: "Client", reference: str) -> str | None:
    """Return the id of an image if it is on this host. Raises CannotStart."""
    found = known(client, reference)
    return found.id if found else None


def known(client: "Client", reference: str) -> Image | None:
    """Return an image if it is on this host. Raises CannotStart."""
    with explained(f"look for the image {reference}"), suppress_status(404):
        return _image(client, reference)
    return None
