"""Secrets in variables, which the agent inside redacts in the job's log."""

from collections.abc import Mapping
from typing import Annotated, Any

from bootstrap.buildkite.env_files import MAX_STRING
from bootstrap.errors import WrongConfiguration
from bootstrap.grants.kind import DECIDED, Delivery, Kind, Needs, Obtained, Variables
from bootstrap.secret import Secret


class Secrets(Kind[Mapping[str, str]]):
    """The reference of a secret for each variable."""

    key = "secrets"
    noun = "secret"

    @staticmethod
    def grammar() -> Any:  # noqa: ANN401 - an annotation
        """Return a mapping of variables to references."""
        from pydantic import AfterValidator, Field  # noqa: PLC0415 - see bootstrap/fields.py

        from bootstrap.fields import Reference, Variable  # noqa: PLC0415

        free = Annotated[Variable, AfterValidator(_free)]
        return Annotated[dict[free, Reference], Field(default={})]

    def needs(self) -> Needs:
        """Return the secrets, by variable."""
        return Needs(references=self.granted)

    def variables(self) -> tuple[str, ...]:
        """Return the variables."""
        return tuple(self.granted)

    def check(self, obtained: Obtained) -> None:
        """Raise WrongConfiguration for a value that no process environment can carry."""
        for name, reference in self.granted.items():
            check_fits(name, reference, obtained.secrets[reference])

    def deliver(self, obtained: Obtained, sandbox: Delivery) -> Variables:
        """Return the variables."""
        del sandbox
        return {name: obtained.secrets[reference] for name, reference in self.granted.items()}


def _free(name: str) -> str:
    if name in DECIDED:
        raise ValueError(
            "expected a variable of the job's own: rules decide about the value that Buildkite "
            "sends in this one"
        )
    return name


def check_fits(name: str, reference: str, value: Secret) -> None:
    """Raise WrongConfiguration if no process environment can carry the value."""
    text = value.reveal()
    if "\0" in text or len(f"{name}={text}".encode()) > MAX_STRING:
        raise WrongConfiguration(
            f"the secret {reference} cannot be the value of the variable {name}; "
            "deliver it as a file",
            hint="Correct allow.secrets or allow.secret-files of the rule, or the secret itself.",
        )
