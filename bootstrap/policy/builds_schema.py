"""The grammar of `builds`, and what it answers to the names of tools that jobs cannot have.

docs/builds.md#why-there-is-no-docker-run has the reasons.
"""

from typing import Annotated

from pydantic import BeforeValidator

from bootstrap.policy.model import Builds

_BESIDE = "servers beside a job are `services`, and its tools are in `image`"
_ENGINE = (
    "a job has no Docker Engine: `docker build` and `docker compose build --push` work with "
    f"buildkit, {_BESIDE}"
)
_PRIVILEGED = (
    "an engine inside of a container needs privileges that are root on the host; images are built "
    f"by buildkit, {_BESIDE}"
)
_PODMAN = (
    "with podman a job's own code would be root in a user namespace; images are built by buildkit, "
    f"{_BESIDE}"
)
_KANIKO = "kaniko has to be root in the job's container; buildkit builds the same Dockerfile"
_BUILDAH = (
    "buildah needs a user namespace in the job's container, which none may make; buildkit builds "
    "the same Dockerfile"
)
_NONE = "without the key, a rule's jobs build no images: leave it out"
_CLIENT = "it is a client, which needs buildkit"
# What people write who come from other tools, or mean no builds -> why not, and what is offered.
OTHERS = {
    "none": _NONE,
    "false": _NONE,
    "docker": _ENGINE,
    "docker-in-docker": _PRIVILEGED,
    "dind": _PRIVILEGED,
    "podman": _PODMAN,
    "kaniko": _KANIKO,
    "buildah": _BUILDAH,
    "img": _BUILDAH,
    "buildx": _CLIENT,
    "compose": _CLIENT,
    "docker-compose": _CLIENT,
}


def _offered(value: object) -> object:
    if isinstance(value, str) and (why := OTHERS.get(value.lower())):
        raise ValueError(f"expected 'buildkit': {why}")
    return value


Builder = Annotated[Builds, BeforeValidator(_offered, json_schema_input_type=Builds)]
