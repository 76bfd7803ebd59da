"""The types of airlock.toml's settings for pydantic, beside those of bootstrap/fields.py."""

import os
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, PlainValidator, TypeAdapter

from bootstrap import fields
from bootstrap.forms import REFERENCE, form
from bootstrap.host import proxy

SHORTEST_PAUSE = 60  # seconds: each time all trees and records of this host are listed
_LONGEST_SOCKET = 107  # bytes in a struct sockaddr_un, beside the NUL


def _absolute(path: Path) -> Path:
    if not path.is_absolute() or ".." in path.parts:
        raise ValueError("expected an absolute path without ..")
    return path


def _socket(path: Path) -> Path:
    size = len(os.fsencode(path))
    if size > _LONGEST_SOCKET:
        raise ValueError(f"expected a path of at most {_LONGEST_SOCKET} bytes, not of {size}")
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


def _pause(seconds: int) -> int:
    if 0 < seconds < SHORTEST_PAUSE:
        raise ValueError('expected "0s", which is never, or "1m" or more')
    return seconds


def _not_empty(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise ValueError("expected the name of at least one user")
    return names


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
SocketPath = Annotated[AbsolutePath, AfterValidator(_socket)]
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
ProxyUrl = Annotated[proxy.Proxy, PlainValidator(proxy.proxy)]
NoProxy = Annotated[str, AfterValidator(proxy.exception)]
Pause = Annotated[fields.Duration, AfterValidator(_pause)]
UserName = Annotated[
    str, AfterValidator(form(r"[a-z_][a-z0-9_.-]{0,31}", "the name of a user of this host"))
]
UserNames = Annotated[tuple[UserName, ...], AfterValidator(_not_empty)]
Textfile = Annotated[
    str, AfterValidator(form(r"(/[^/]+)+\.prom|", 'an absolute path that ends in .prom, or ""'))
]

T = TypeVar("T")


def adapter(table: type[T]) -> TypeAdapter[T]:
    """Return what checks a table: its annotations are of names in these two modules."""
    names: dict[str, Any] = {**vars(fields), **globals(), "Field": Field}
    checker = TypeAdapter(table)
    checker.rebuild(force=True, _types_namespace=names)
    return checker
