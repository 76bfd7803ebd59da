"""One container, opened as a job's is: it is proven to be isolated, and looks at its image."""

import secrets
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from bootstrap import packaged
from bootstrap.doctor.model import Failed, Read, Stage, Unread, known
from bootstrap.doctor.read.lookups import lookups
from bootstrap.doctor.read.reading import here
from bootstrap.doctor.snapshot import Engine, Machine, Network, Trial
from bootstrap.errors import CannotStart
from bootstrap.host.config import Host
from bootstrap.sandbox import engine, helper
from bootstrap.sandbox.container import bridged, created, opened
from bootstrap.sandbox.images import engine_images
from bootstrap.sandbox.leases import lease
from bootstrap.sandbox.model import Image
from bootstrap.sandbox.network import resolvers
from bootstrap.sandbox.plan import HOME
from bootstrap.sandbox.workspace import SandboxDirectory, prepare_host, start_gate

LIMIT = 20.0  # seconds for the script
CLEARING = 10.0
_WHAT = "the trial of airlock doctor"
_AGENTS_API = "agent.buildkite.com"


def image(host: Read[Host], docker: Read[Engine]) -> str | None:
    """Return the id of the default image, None if it is not on this host. Raises CannotStart."""
    return _id(known(host).sandbox.image, host, docker)


def builder_image(host: Read[Host], docker: Read[Engine]) -> str | None:
    """Return the same of the image of [builds], None too without this table."""
    builds = known(host).builds
    return _id(builds.image, host, docker) if builds else None


def _id(reference: str, host: Read[Host], docker: Read[Engine]) -> str | None:
    known(docker)
    with engine.connected(known(host).sandbox.docker, timeout=10) as client:
        return engine_images.known_id(client, reference)


def trial(
    host: Read[Host],
    *,
    stage: Stage,
    machine: Machine,
    network: Network,
    image: Read[str | None],
    agent: Read[Mapping[str, str]],
) -> Read[Trial]:
    """Return what the container found.

    It is not opened where that would correct what the checks find wrong: opening one loads a
    ruleset that differs, as a job would.
    """
    if isinstance(image, Unread):
        return image
    if why := _why_not(stage, machine, network, image):
        return Unread(why=f"no container was started: {why}")
    name = api_name(agent if isinstance(agent, Mapping) else {})
    return here(lambda: _trial(known(host), name))


def _why_not(stage: Stage, machine: Machine, network: Network, image: str | Failed | None) -> str:
    is_later = network.loaded == "" and stage is not Stage.RUN  # the first job would load it too
    reasons = (
        (machine.uid != 0, "this is not root"),
        (image is None, "the image is not on this host, see the check image"),
        (
            isinstance(image, Failed),
            "it is not known whether the image is on this host, see the check image",
        ),
        (
            not isinstance(network.ruleset, str),
            "this host does not take the ruleset, see the check nftables",
        ),
        (
            network.loaded != network.ruleset and not is_later,
            "the ruleset is not Airlock's, see the check ruleset",
        ),
        (
            network.missing_rules != () and not is_later,
            "the routing rules are not Airlock's, see the check routing-rules",
        ),
    )
    return next((why for is_so, why in reasons if is_so), "")


def api_name(agent: Mapping[str, str]) -> str:
    """Return the host name of the agent's API, that of Buildkite's own for an address."""
    host = urlsplit(agent.get("endpoint", "")).hostname or ""
    is_name = any(letter.isalpha() for letter in host) and ":" not in host
    return host if is_name else _AGENTS_API


def _trial(host: Host, name: str) -> Trial:
    prepare_host(host.paths.runtime, host.paths.state)
    token = f"doctor-{secrets.token_hex(8)}"
    nowhere = host.paths.state / "workspaces" / token
    with (
        lease.reaper(host, token),
        lease.acquire(
            host, token, tree=nowhere, agent="", alert=_silent, patience=lambda: CLEARING
        ) as ours,
        bridged(host) as bridge,
        engine.connected(host.sandbox.docker, timeout=30) as client,
        ExitStack() as held,
    ):
        entry = packaged.data("bootstrap.doctor", "trial.sh")
        directory = helper.directory(ours.directory / "doctor", ours.uid, entry)
        resolvers.write_into(directory, host.sandbox.dns)
        found = engine_images.known(client, host.sandbox.image)
        spec = helper.spec(host, ours, directory, _present(found), workdir=Path(HOME))
        gate = held.enter_context(start_gate(directory, ours.uid))
        made = held.enter_context(created(client, spec, bridge))
        container = held.enter_context(opened(client, made, host, ours, bridge, report=_silent))
        answers = lookups(container.running.pid, (directory / "resolv.conf").read_text(), name)
        sandbox = SandboxDirectory(directory, gate, ours.uid)
        status, output = helper.until_end(client, container, sandbox, limit=LIMIT, what=_WHAT)
        if status != 0:
            raise CannotStart(
                f"the trial's script ended with {status} in the image {host.sandbox.image}: "
                f"{output[-300:] or 'it printed nothing'}",
                hint="Does the image have /bin/sh and cat? Try `docker run --rm IMAGE /bin/sh -c "
                "true`.",
            )
        proof = tuple(f"{probe.target}: {probe.outcome}" for probe in container.probes)
        return Trial(proof=proof, contents=contents(output), lookups=answers)


def _present(found: Image | None) -> Image:
    if found is None:
        raise CannotStart("the image was removed meanwhile", hint="Run `airlock doctor` again.")
    return found


def _silent(_: str) -> None:
    """What is left to clear is cleared by the reaper, and by the next job."""


def contents(output: str) -> dict[str, str]:
    """Return what trial.sh printed, by name; lines of another form are left out."""
    lines = (line.strip().partition("=") for line in output.splitlines())
    return {name: path for name, equals, path in lines if equals}
