"""Where a container image is, by its name."""

import re

HUB = "docker.io"
_OF_HUB = ("registry-1.docker.io", "auth.docker.io")
_ALSO_HUB = frozenset({"index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})

# Anchored at both ends: a name that only looks like AWS's must not receive a token of this host.
_ECR = re.compile(
    r"(?P<account>[0-9]{12})\.dkr"
    r"(?:\.ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?"
    r"|-ecr(?:-fips)?\.(?P<dual_stack_region>[a-z0-9-]+)\.on\.(?:aws|amazonwebservices\.com\.cn))"
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


def full_name(image: str) -> str:
    """Return the image's name as Docker completes it: `debian:12` is in `docker.io/library`.

    Tag and digest stay as they are. Spellings of one registry are one: its host has no case,
    `index.docker.io` is `docker.io`, ECR's registries have several hosts each, and 443 is the port
    that is asked without any.
    """
    registry = registry_of(image)
    rest = image.removeprefix(f"{registry}/")
    host = _one_host(registry)
    return f"{host}/library/{rest}" if host == HUB and "/" not in rest else f"{host}/{rest}"


def _one_host(registry: str) -> str:
    host, colon, port = registry.lower().partition(":")
    port = port.lstrip("0")  # which every client reads as a number
    if colon and port != "443":
        return f"{host}:{port}"
    if region := ecr_region(host):
        china = ".cn" if region.startswith("cn-") else ""
        return f"{host[:12]}.dkr.ecr.{region}.amazonaws.com{china}"
    return HUB if host in _ALSO_HUB else host


def ecr_region(registry: str) -> str | None:
    """Return the region of an ECR registry, None for any other registry."""
    match = _ECR.fullmatch(registry)
    return (match["region"] or match["dual_stack_region"]) if match else None


def hosts_of(registry: str) -> tuple[str, ...]:
    """Return the hosts that a client of a registry is known to ask.

    ECR has the layers of images in a bucket of each region (Amazon ECR's documentation of VPC
    endpoints); docker.io is the name of Docker Hub, and of no host that clients ask. Where other
    registries have their layers is not known.
    """
    host = registry.lower().partition(":")[0]
    if region := ecr_region(host):
        china = ".cn" if region.startswith("cn-") else ""
        return host, f"prod-{region}-starport-layer-bucket.s3.{region}.amazonaws.com{china}"
    return _OF_HUB if host == HUB or host in _ALSO_HUB else (host,)


def ecr_arn(image: str, partition: str) -> str | None:
    """Return the ARN of the ECR repository that holds the image, None if it is not in ECR."""
    registry = registry_of(image)
    region = ecr_region(registry)
    name = repository_of(image).removeprefix(f"{registry}/")
    return f"arn:{partition}:ecr:{region}:{registry[:12]}:repository/{name}" if region else None
