"""A developer's working copy under an overlay: the job sees it whole, and writes beside it.

The engine mounts it, as a volume of its local driver. An engine, a kernel or a filesystem that
cannot is found out by a container that ends at once, before anything depends on it.
"""

import os
from collections.abc import Mapping
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

_CHANGES = Path("/changes")
_SEPARATORS = frozenset(",:\\")  # of the options of an overlay, which have no way to quote them


def opened(
    client: "Client", image: Image, settings: Sandbox, place: Place, *, lower: Path, target: Path
) -> Volume | None:
    """Return a volume that shows `lower` at `target`; None if this machine cannot.

    What is written to it is in another volume, because the kernel leaves files of root's there.
    Whoever clears removes both.
    """
    changes = Volume(name=f"{place.name}-changes", target=_CHANGES)
    volume = Volume(name=place.name, target=target)
    with suppress(CannotStart):
        where = Path(_create(client, place, changes, {}))
        if _SEPARATORS & {*str(lower), *str(where)}:
            return None
        owner = (str(os.geteuid()), str(os.getegid()))
        paths = [str(_CHANGES / name) for name in ("upper", "work")]
        _run(client, image, settings, place, changes, arguments=("directories", *owner, *paths))
        options = f"lowerdir={lower},upperdir={where / 'upper'},workdir={where / 'work'}"
        _create(client, place, volume, {"type": "overlay", "device": "overlay", "o": options})
        _run(client, image, settings, place, volume)
        return volume
    return None


def _create(client: "Client", place: Place, volume: Volume, options: Mapping[str, str]) -> str:
    """Create a volume, and return where it is on this machine. Raises CannotStart."""
    with engine.explained("create a volume"):
        made = client.post(
            "/volumes/create",
            {
                "Name": volume.name,
                "Driver": "local",
                "DriverOpts": dict(options),
                "Labels": dict(place.labels),
            },
        )
    return str(made["Mountpoint"])


def _run(
    client: "Client",
    image: Image,
    settings: Sandbox,
    place: Place,
    volume: Volume,
    *,
    arguments: tuple[str, ...] = (),
) -> None:
    """Run the holder's program with the volume, to its end. Raises CannotStart if it fails."""
    spec = replace(
        holder_spec(settings, token=place.token, image=image),
        name=f"{place.name}-overlay",
        labels=place.labels,
        mounts=(Mount(source=program(), target=INSIDE),),
        volumes=(volume,),
    )
    body = holder_body(
        spec, confinement.profile(), engine.apparmor(client), network="none",
        command=(str(INSIDE), *arguments), capabilities=("CHOWN",),
    )  # fmt: skip
    container = engine.create_container(client, spec, body)
    with engine.explained("mount an overlay"):
        client.post(f"/containers/{container}/start")
        ended = client.post(f"/containers/{container}/wait")
    engine.remove(client, spec.name)
    if ended["StatusCode"] != 0:
        raise CannotStart(
            "the directories of an overlay could not be made", hint="It is not used then."
        )
