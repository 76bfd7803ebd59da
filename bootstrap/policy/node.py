"""What every part of a document of policies has in common."""

from pydantic import ConfigDict

# Unknown keys are mistakes.
CONFIG = ConfigDict(
    extra="forbid", frozen=True, alias_generator=lambda name: name.replace("_", "-")
)
