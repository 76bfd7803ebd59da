"""Secrets in files that only the job's user can read."""

from collections.abc import Mapping
from typing import Annotated, Any

from bootstrap.forms import form
from bootstrap.grants.kind import Delivery, Kind, Needs, Obtained, Variables

DIRECTORY = "secrets"  # below the sandbox directory; AIRLOCK_SECRETS names it in every job

_NAME = form(r"(?!\.)[\w.-]{1,64}", "a file's name: letters, digits, - . and _")


class SecretFiles(Kind[Mapping[str, str]]):
    """The reference of a secret for each file."""

    key = "secret-files"
    noun = "secret"

    @staticmethod
    def grammar() -> Any:  # noqa: ANN401 - an annotation
        """Return a mapping of names to references."""
        from pydantic import AfterValidator, Field  # noqa: PLC0415 - see bootstrap/fields.py

        from bootstrap.fields import Reference  # noqa: PLC0415

        file_name = Annotated[str, AfterValidator(_NAME)]
        return Annotated[dict[file_name, Reference], Field(default={})]

    def needs(self) -> Needs:
        """Return the secrets, by file."""
        return Needs(references=self.granted)

    def deliver(self, obtained: Obtained, sandbox: Delivery) -> Variables:
        """Write the files."""
        for name, reference in self.granted.items():
            content = obtained.secrets[reference].reveal().encode()
            sandbox.put(sandbox.root / DIRECTORY / name, content)
        return {}
