"""What the tables of airlock.toml have in common."""

from collections.abc import Mapping
from copy import copy
from typing import Any, ClassVar, Self


def _hyphenated(name: str) -> str:
    return name.replace("_", "-")


class Section:
    """One table of airlock.toml: its keys are spelled with hyphens, and unknown ones refused.

    A table is a plain dataclass. Its annotations are pydantic's, but only `model_validate` reads
    them: a job whose airlock.toml was read before does not wait for pydantic.
    """

    __pydantic_config__: ClassVar = {
        "extra": "forbid",
        "alias_generator": _hyphenated,
        "defer_build": True,  # until the names in the annotations are known
    }

    @classmethod
    def model_validate(cls, document: object) -> Self:
        """Check a table that is already TOML. Raises pydantic's ValidationError."""
        from bootstrap.host.settings import adapter  # noqa: PLC0415 - see above

        checked: Self = adapter(cls).validate_python(document)
        return checked

    def model_copy(self, *, update: Mapping[str, Any]) -> Self:
        """Return a copy with these fields changed, which are not checked."""
        changed = copy(self)
        vars(changed).update(update)
        return changed
