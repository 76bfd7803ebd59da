"""Logins for container registries, in Docker's configuration file."""

from collections.abc import Mapping
from typing import Annotated, Any

from bootstrap import logins
from bootstrap.grants.kind import BY_ROLE, Delivery, Kind, Needs, Obtained, Variables
from bootstrap.images import hosts_of
from bootstrap.logins import Login
from bootstrap.secret import Secret


class Registries(Kind[Mapping[str, str]]):
    """The reference of a login for each registry, or BY_ROLE."""

    key = "registries"
    noun = "secret"

    @staticmethod
    def grammar() -> Any:  # noqa: ANN401 - an annotation
        """Return a mapping of hosts to references."""
        from pydantic import Field  # noqa: PLC0415 - see bootstrap/fields.py

        from bootstrap.fields import Registry, RoleOrReference  # noqa: PLC0415

        return Annotated[dict[Registry, RoleOrReference], Field(default={})]

    def needs(self) -> Needs:
        """Return the stored logins, by registry, and the registries of ECR."""
        return Needs(
            references={name: way for name, way in self.granted.items() if way != BY_ROLE},
            ecr=tuple(name for name, way in self.granted.items() if way == BY_ROLE),
        )

    def hosts(self) -> tuple[str, ...]:
        """Return the hosts of the registries."""
        return tuple(host for registry in self.granted for host in hosts_of(registry))

    def check(self, obtained: Obtained) -> None:
        """Raise WrongConfiguration for a malformed login."""
        self._logins(obtained)

    def derived(self, obtained: Obtained) -> tuple[Secret, ...]:
        """Return the passwords, alone and as they are in Docker's configuration file."""
        found = self._logins(obtained).values()
        return tuple(form for login in found for form in logins.shown(login))

    def deliver(self, obtained: Obtained, sandbox: Delivery) -> Variables:
        """Write Docker's configuration file; skopeo and buildah find it by another variable."""
        directory = sandbox.root / "registries"
        sandbox.put(directory / "config.json", logins.docker_config(self._logins(obtained)))
        return {
            "DOCKER_CONFIG": str(directory),
            "REGISTRY_AUTH_FILE": str(directory / "config.json"),
        }

    def _logins(self, obtained: Obtained) -> dict[str, Login]:
        return {
            name: obtained.logins[name]
            if way == BY_ROLE
            else logins.login(name, obtained.secrets[way])
            for name, way in self.granted.items()
        }
