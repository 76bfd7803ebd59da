"""A service container for tests."""

from bootstrap.policy.services import ServiceContainer
from bootstrap.sandbox.companions.plan import Companion
from bootstrap.sandbox.model import Image


def companion(service: ServiceContainer | None = None, *volumes: str) -> Companion:
    """Return one of the name `db`, whose image declares these volumes."""
    return Companion(
        name="db",
        service=service or ServiceContainer(image="ci/db:1"),
        image=Image(id="sha256:abc", volumes=volumes, reference="ci/db:1"),
    )
