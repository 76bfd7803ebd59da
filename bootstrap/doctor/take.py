"""Takes the snapshot: every reading once, what needs the others last."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from bootstrap.commands.policy import lint
from bootstrap.doctor.model import Failed, Read, Stage, Unread, known
from bootstrap.doctor.read import agent as agents
from bootstrap.doctor.read import aws, machine, network, service, storage, trial, units
from bootstrap.doctor.read import engine as docker
from bootstrap.doctor.read.places import Places
from bootstrap.doctor.read.reading import read
from bootstrap.doctor.snapshot import Policies, Snapshot
from bootstrap.host import config
from bootstrap.host.config import Host
from bootstrap.policy.findings import Severity
from bootstrap.policy.lint import linted
from bootstrap.service import configuration

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

T = TypeVar("T")

_LATER = Unread(why="that is for later: see --at")


def snapshot(config_path: "Path", stage: Stage, places: Places) -> Snapshot:
    """Read this host. What cannot be read is in the snapshot as that: nothing is raised.

    It changes nothing but what the start of a job changes (`read.trial`).
    """
    loaded = read(partial(config.load, config_path))
    host = _for_others(loaded, "configuration")
    engine = read(partial(docker.engine, host, places))
    found = _for_others(engine, "engine")
    here = Snapshot(
        stage=stage,
        host=loaded,
        machine=machine.machine(host, places),
        agents=read(partial(_agents, host)),
        policies=_LATER,
        engine=engine,
        network=network.network(host, found, places),
        metadata=_LATER,
        aws=aws.later(),
        agent=agents.agent(host, places),
        units=read(lambda: known(units.units())),
        service=_LATER,
        storage=storage.storage(host, found),
        image=read(partial(trial.image, host, found)),
        builder_image=read(partial(trial.builder_image, host, found)),
        trial=_LATER,
    )
    here = _of_instance(here, host) if stage.includes(Stage.START) else here
    tried = trial.trial(
        host, stage=stage, machine=here.machine, network=here.network, image=here.image,
        agent=here.agent.settings,
    )  # fmt: skip
    return replace(here, trial=tried)


def _for_others(value: Read[T], check: str) -> Read[T]:
    """Return a value for the readings that need it: they are unknown if it failed."""
    return Unread(why=f"see the check {check}") if isinstance(value, Failed) else value


def _of_instance(here: Snapshot, host: Read[Host]) -> Snapshot:
    """Add what only an instance has, and no build of an image."""
    settings: Read[Mapping[str, str]] = here.agent.settings
    serves = here.stage.includes(Stage.RUN)
    return replace(
        here,
        policies=read(partial(_policies, host)),
        metadata=aws.metadata(host),
        aws=aws.aws(host),
        service=read(partial(service.service, host, settings)) if serves else _LATER,
    )


def _agents(host: Read[Host]) -> None:
    configuration.agents(known(host).service.agents)


def _policies(host: Read[Host]) -> Policies:
    catalogue, others = lint.documents(known(host))
    found = (*linted(catalogue, signed=known(host).policy.identity == "signed").findings, *others)
    errors = [one for one in found if one.severity is Severity.ERROR]
    return Policies(
        number=len(catalogue.policies),
        errors=tuple(f"{one.origin}:{one.line}: [{one.id}] {one.text}" for one in errors),
        warnings=len(found) - len(errors),
    )
