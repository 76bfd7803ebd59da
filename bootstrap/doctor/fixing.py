"""`airlock doctor --fix`: what is safe, and changes nothing that is as it should be.

Each is what the start of a job does too: the directories, the Docker network, the ruleset with the
routing rules, and the image. Everything else is left to the operator.
"""

from collections.abc import Callable, Iterator
from functools import partial

from bootstrap.doctor.model import Read, Stage
from bootstrap.errors import AirlockError
from bootstrap.host import config
from bootstrap.host.config import Host
from bootstrap.log import JobLog
from bootstrap.sandbox import engine, engine_network
from bootstrap.sandbox.images import engine_images
from bootstrap.sandbox.images.image import provided
from bootstrap.sandbox.network import firewall
from bootstrap.sandbox.workspace import prepare_host


def repair(host: Read[Host], stage: Stage) -> Iterator[str]:
    """Yield a line for each change, and for each that failed. Nothing if all is as it should be.

    In the build of a machine image nothing is loaded into the kernel, which would be lost.
    """
    if not isinstance(host, Host):
        yield "nothing was changed: airlock.toml has to be valid first"
        return
    parts: list[tuple[str, Callable[[], Iterator[str]]]] = [
        ("create the directories", partial(_directories, host))
    ]
    if stage.includes(Stage.START):
        parts += [
            ("create the Docker network", partial(_network, host)),
            ("load the ruleset", partial(_ruleset, host)),
        ]
    parts.append(("pull the image", partial(_image, host)))
    for what, part in parts:
        try:
            yield from part()
        except (AirlockError, OSError) as failed:
            yield f"could not {what}: {failed}"


def _directories(host: Host) -> Iterator[str]:
    config.require_root("Run `sudo airlock doctor --fix`.")
    missing = [p for p in (host.paths.runtime, host.paths.state) if not p.is_dir()]
    prepare_host(host.paths.runtime, host.paths.state)
    yield from (f"created {path}" for path in missing)


def _network(host: Host) -> Iterator[str]:
    with engine.connected(host.sandbox.docker) as client:
        before = engine_network.subnets(client)
        engine_network.ensure(client, host.sandbox.subnet, host.paths.runtime)
        after = engine_network.subnets(client)
    if before != after:
        yield f"created the Docker network airlock with the subnet {host.sandbox.subnet}"


def _ruleset(host: Host) -> Iterator[str]:
    """Not by `ensure_loaded` alone, which does not report that it has added a rule."""
    if firewall.restore_routing():
        yield "added the routing rules of airlock0"
    if firewall.ensure_loaded(host.paths.runtime).reloaded:
        yield "loaded table inet airlock"


def _image(host: Host) -> Iterator[str]:
    if host.sandbox.pull == "never":
        return
    with engine.connected(host.sandbox.docker) as client:
        if engine_images.known_id(client, host.sandbox.image) is None:
            provided(client, None, host, JobLog(lambda _: None))
            yield f"pulled {host.sandbox.image}"
