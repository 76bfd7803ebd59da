"""SSH keys, which stay in an agent on the host."""

from typing import Annotated, Any

from bootstrap.grants.kind import Delivery, Kind, Needs, Obtained, Variables


class SshKeys(Kind[tuple[str, ...]]):
    """The references of private keys."""

    key = "ssh-keys"
    noun = "ssh-key"

    @staticmethod
    def grammar() -> Any:  # noqa: ANN401 - an annotation
        """Return a list of references, or one."""
        from pydantic import Field  # noqa: PLC0415 - see bootstrap/fields.py

        from bootstrap.fields import ONE_OR_MANY, Reference  # noqa: PLC0415

        return Annotated[tuple[Reference, ...], ONE_OR_MANY, Field(default=())]

    def needs(self) -> Needs:
        """Return the keys, which have no names but their references."""
        return Needs(references={reference: reference for reference in self.granted})

    def fetches(self, repository: str) -> bool:
        """Return whether git reaches the repository by ssh: such URLs have two forms."""
        return not repository.startswith(("https://", "http://", "git://"))

    def deliver(self, obtained: Obtained, sandbox: Delivery) -> Variables:
        """Load the keys into an agent, and return the variables by which clients find it."""
        return sandbox.start_ssh_agent({key: obtained.secrets[key] for key in self.granted})
