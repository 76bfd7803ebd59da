"""A developer's working copy under an overlay: the job sees it whole, and writes beside it.

The engine mounts it, as a volume of its local driver. An engine, a kernel or a filesystem that
cannot is found out by a container that ends at once, before anything depends on it.
"""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bootstrap.errors import CannotStart
from bootstrap.host.config import Sandbox
from bootstrap.replay.holder_plan import holder_body
from bootstrap.replay.network import INSIDE, program
from bootstrap.replay.place import Place
from bootstrap.sandbox import confinement, engine
from bootstrap.sandbox.model import Image, Mount, Volume
from bootstrap.sandbox.plan import holder_spec

if TYPE_CHECKING:
    from bootstrap.sandbox.engine_client import Client

_SEPARATORS = frozenset(",:\\")  # of the options of an overlay, which have no way to quote them


def opened(
    client: "Client", image: Image, settings: Sandbox, place: Place, *, lower: Path, target: Path
) -> Volume | None:
    """Return a volume that shows `lower` at `target`; None if this machine cannot.

    What is written to it is below the replay's own directory. Whoever clears removes it.
    """
    changes = {name: place.tree / "overlay" / name for name in ("upper", "work")}
    if any(_SEPARATORS & set(str(path)) for path in (lower, *changes.values())):
        return None
    for path in changes.values():
        path.mkdir(parents=True)
    options = f"lowerdir={lower},upperdir={changes['upper']},workdir={changes['work']}"
    volume = Volume(name=place.name, target=target)
    with suppress(CannotStart):
        _create(client, place, options)
        _try(client, image, settings, place, volume)
        return volume
    with suppress(CannotStart), engine.explained("remove a volume"):
        client.delete(f"/volumes/{place.name}")
    return None


def _create(client: "Client", place: Place, options: str) -> None:
    with engine.explained("create a volume"):
        client.post(
            "/volumes/create",
            {
                "Name": place.name,
                "Driver": "local",
                "DriverOpts": {"type": "overlay", "device": "overlay", "o": options},
                "Labels": dict(place.labels),
            },
        )


def _try(client: "Client", image: Image, settings: Sandbox, place: Place, volume: Volume) -> None:
    """Start a container with the volume, whose only program ends at once. Raises CannotStart."""
    spec = replace(
        holder_spec(settings, token=place.token, image=image),
        name=f"{place.name}-overlay",
        labels=place.labels,
        mounts=(Mount(source=program(), target=INSIDE),),
        volumes=(volume,),
    )
    body = holder_body(
        spec, confinement.profile(), engine.apparmor(client), network="none",
        command=(str(INSIDE),),
    )  # fmt: skip
    container = engine.create_container(client, spec, body)
    with engine.explained("mount an overlay"):
        client.post(f"/containers/{container}/start")
    engine.remove(client, spec.name)
