"""The forms of settings that airlock.toml has and policies do not (see bootstrap/forms.py)."""

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from bootstrap.forms import REFERENCE, form


class Section(BaseModel):
    """One table of airlock.toml: its keys are spelled with hyphens, and unknown ones refused."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=lambda name: name.replace("_", "-"),
    )


def _absolute(path: Path) -> Path:
    if not path.is_absolute() or ".." in path.parts:
        raise ValueError("expected an absolute path without ..")
    return path


def _subnet(value: IPv4Network) -> IPv4Network:
    special = value.is_loopback or value.is_link_local or value.is_multicast or value.is_reserved
    if special or not 16 <= value.prefixlen <= 28:
        raise ValueError(
            "expected a network from /16 to /28 (13 jobs at once), neither loopback, link-local, "
            "multicast nor reserved"
        )
    return value


def _resolver(value: IPv4Address) -> IPv4Address:
    if value.is_loopback or value.is_link_local or value.is_multicast or value.is_unspecified:
        raise ValueError(
            "expected an address that a container can reach, neither loopback nor link-local"
        )
    return value


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Url = Annotated[str, AfterValidator(form(r"https?://\S+", "a URL, https://…"))]
Region = Annotated[
    str, AfterValidator(form(r"[a-z]{2}(-[a-z]+)+-\d", 'a region, such as "us-east-1"'))
]
Issuer = Annotated[str, AfterValidator(form(r"https?://[^/]+", "a URL without a path"))]
HostCredentials = Annotated[
    str, AfterValidator(form("instance-role|file:/.+", '"instance-role" or "file:/path"'))
]
DockerSocket = Annotated[
    str, AfterValidator(form("unix:///.+", 'a socket of this host, "unix:///path"'))
]
RegistryLogin = Annotated[
    str,
    AfterValidator(
        form(f"ecr|docker|{REFERENCE}", '"ecr", "docker", "ssm:/path" or "secretsmanager:name"')
    ),
]
Subnet = Annotated[IPv4Network, AfterValidator(_subnet)]
Resolver = Annotated[IPv4Address, AfterValidator(_resolver)]
