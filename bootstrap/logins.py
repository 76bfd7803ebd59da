"""Logins at container registries: how they are stored, and how tools read them."""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from bootstrap.errors import WrongConfiguration
from bootstrap.images import HUB
from bootstrap.secret import Secret

ECR = "ecr"  # instead of a reference: a token that ECR issues to the host's role
DOCKER = "docker"  # instead of a reference: what root's own `docker login` stored


@dataclass(frozen=True, kw_only=True, slots=True)
class Login:
    """User name and password for one registry."""

    username: str
    password: Secret


def login(registry: str, stored: Secret) -> Login:
    """Read `user:password`, or a JSON object with both. Raises WrongConfiguration."""
    text = stored.reveal().strip()
    if text.startswith("{"):
        username, password = _members(text)
    else:
        username, _, password = text.partition(":")
    if not (re.fullmatch(r"[^\s:]+", username) and re.fullmatch(r"[^\x00-\x1f]+", password)):
        raise WrongConfiguration(
            f"the login for the registry {registry} is malformed",
            hint='Expected `user:password` or {"username": …, "password": …} where it is stored.',
        )
    return Login(username=username, password=Secret(password))


def _members(text: str) -> tuple[str, str]:
    try:
        document = json.loads(text)
        return str(document["username"]), str(document["password"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "", ""


def ecr_login(token: str) -> Login:
    """Read an authorization token of ECR."""
    username, _, password = base64.b64decode(token).decode().partition(":")
    return Login(username=username, password=Secret(password))


def docker_config(logins: Mapping[str, Login]) -> bytes:
    """Write Docker's configuration file, which crane, skopeo, buildah and kaniko read as well."""
    auths = {
        # Docker's name for its Hub in this file differs from the registry's host.
        ("https://index.docker.io/v1/" if registry == HUB else registry): {"auth": _basic(login)}
        for registry, login in logins.items()
    }
    return json.dumps({"auths": auths}).encode()


def shown(login: Login) -> tuple[Secret, Secret]:
    """Return both forms in which the password could be printed."""
    return login.password, Secret(_basic(login))


def _basic(login: Login) -> str:
    return base64.b64encode(f"{login.username}:{login.password.reveal()}".encode()).decode()
