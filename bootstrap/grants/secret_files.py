"""Secrets in files that only the job's user can read."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from bootstrap.forms import Reference, form
from bootstrap.grants.kind import Delivery, Kind, Needs, Obtained, Variables

DIRECTORY = "secrets"  # below the sandbox directory; AIRLOCK_SECRETS names it in every job

FileName = Annotated[
    str,
    AfterValidator(form(r"(?!\.)[\w.-]{1,64}", "a file's name: letters, digits, - . and _")),
]


class SecretFiles(Kind[Mapping[str, str]]):
    """The reference of a secret for each file."""

    key = "secret-files"
    noun = "secret"
    grammar = Annotated[dict[FileName, Reference], Field(default={})]

    def needs(self) -> Needs:
        """Return the secrets, by file."""
        return Needs(references=self.granted)

    def deliver(self, obtained: Obtained, sandbox: Delivery) -> Variables:
        """Write the files."""
        for name, reference in self.granted.items():
            content = obtained.secrets[reference].reveal().encode()
            sandbox.put(sandbox.root / DIRECTORY / name, content)
        return {}
