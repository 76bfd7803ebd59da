"""The grammar of `services`: the service containers of a rule's jobs (docs/services.md)."""

import re
import shlex
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from bootstrap.fields import ONE_OR_MANY, Variable
from bootstrap.forms import duration, form, image
from bootstrap.policy.limits_schema import LimitsNode
from bootstrap.policy.node import CONFIG
from bootstrap.policy.services import (
    CPUS,
    MEMORY,
    MOST,
    PIDS,
    READY_WITHIN,
    ServiceContainer,
    port_of,
    readiness,
)

_NAME = re.compile(r"(?!localhost$|airlock$)[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?", re.ASCII)
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}", re.ASCII)
# The engine's own mounts are below the first four; /airlock is what a job's container has there.
_TAKEN = ("airlock", "dev", "etc", "proc", "sys")
_PATH = re.compile(r"(?:/[A-Za-z0-9_.+-]{1,100}){1,20}", re.ASCII)


def _text(value: str) -> str:
    """The kernel ends an argument at the first NUL, and takes bytes that are UTF-8 here."""
    if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError("expected text without NUL and without halves of surrogate pairs")
    return value


def _command(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return shlex.split(value)
    except ValueError as unfinished:
        raise ValueError(
            f"expected a command with every quote closed, or a list of arguments ({unfinished})"
        ) from None


def _ready(value: str) -> str:
    readiness(value)
    return value


def _within(value: object) -> timedelta:
    seconds = duration(value)
    if not 1 <= seconds <= 1800:
        raise ValueError("expected between 1s and 30m")
    return timedelta(seconds=seconds)


def _directory(value: str) -> str:
    path = PurePosixPath(value)
    plain = _PATH.fullmatch(value) and not {".", ".."}.intersection(value.split("/"))
    if not plain or path.parts[1] in _TAKEN:
        raise ValueError(
            "expected the path of a directory such as /var/run/postgresql, without `.` and `..`, "
            f"outside of /{', /'.join(_TAKEN)}"
        )
    return value


Text = Annotated[str, Field(max_length=4096), AfterValidator(_text)]
Arguments = Annotated[
    list[Text],
    BeforeValidator(_command, json_schema_input_type=str | list[str]),
    Field(min_length=1, max_length=200),
]
Directory = Annotated[str, AfterValidator(_directory)]
Name = Annotated[
    str,
    AfterValidator(
        form(
            _NAME.pattern,
            "a service's name, a label of DNS such as postgres or search-1: lower-case letters, "
            "digits and hyphens, at most 32, and neither localhost nor airlock",
        )
    ),
]
User = Annotated[str, AfterValidator(form(_USER.pattern, "a user's name, such as postgres"))]


class ServiceNode(BaseModel):
    """One service container."""

    model_config = CONFIG

    image: Annotated[str, AfterValidator(image)]
    env: Annotated[dict[Variable, Text], Field(max_length=200)] = {}
    command: Arguments | None = None
    ready: Annotated[str, Field(min_length=1), AfterValidator(_ready)] | None = None
    ready_within: Annotated[timedelta, BeforeValidator(_within, json_schema_input_type=str)] = (
        READY_WITHIN
    )
    user: User | None = None
    tmpfs: Annotated[list[Directory], ONE_OR_MANY, Field(max_length=20)] = []
    limits: LimitsNode = LimitsNode()

    def made(self) -> ServiceContainer:
        """Return the value, with the defaults of what is left out."""
        limits = self.limits
        return ServiceContainer(
            image=self.image,
            env=self.env,
            command=None if self.command is None else tuple(self.command),
            ready=self.ready or "",
            ready_within=self.ready_within,
            user=self.user or "",
            tmpfs=tuple(dict.fromkeys(self.tmpfs)),
            memory=limits.memory or MEMORY,
            cpus=limits.cpus or CPUS,
            pids=limits.pids or PIDS,
        )


def _ports_once(services: dict[str, ServiceNode]) -> dict[str, ServiceNode]:
    """They share one network: the second of two cannot listen where the first does."""
    seen: dict[int, str] = {}
    for name, service in services.items():
        port = port_of(readiness(service.ready or ""))
        if port is not None and (first := seen.setdefault(port, name)) != name:
            raise ValueError(
                f"expected one service at a port, because all of a job share its network; {first} "
                f"and {name} wait for {port}"
            )
    return services


Services = Annotated[dict[Name, ServiceNode], Field(max_length=MOST), AfterValidator(_ports_once)]
