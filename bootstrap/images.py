"""Where a container image is, by its name."""

import re

HUB = "docker.io"

# Anchored at both ends: a name that only looks like AWS's must not be sent a token of ours.
_ECR = re.compile(
    r"(?P<account>[0-9]{12})\.dkr"
    r"(?:\.ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?"
    r"|-ecr(?:-fips)?\.(?P<there>[a-z0-9-]+)\.on\.(?:aws|amazonwebservices\.com\.cn))"
)


def registry_of(image: str) -> str:
    """Return the host, and port, of the registry that holds the image, as Docker reads it."""
    first, slash, _ = image.partition("/")
    is_host = slash and ("." in first or ":" in first or first == "localhost")
    return first if is_host else HUB


def repository_of(image: str) -> str:
    """Return the image's name without tag and digest."""
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return head + slash + last.partition(":")[0]


def ecr_region(registry: str) -> str | None:
    """Return the region of an ECR registry, None for any other registry."""
    found = _ECR.fullmatch(registry)
    return (found["region"] or found["there"]) if found else None


def ecr_arn(image: str, partition: str) -> str | None:
    """Return the ARN of the ECR repository that holds the image, None if it is not there."""
    registry = registry_of(image)
    region = ecr_region(registry)
    name = repository_of(image).removeprefix(f"{registry}/")
    return f"arn:{partition}:ecr:{region}:{registry[:12]}:repository/{name}" if region else None
