"""What `airlock gc` does to one thing, as a value: it is printed, and carried out or not."""

from collections.abc import Callable
from dataclasses import dataclass

from bootstrap.host.measure import Size


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """`apply` removes (or, as `verb` says, does something else with) `what`, because of `why`.

    `apply` returns False if the thing is gone or in use by now; it raises AirlockError or OSError.
    """

    what: str
    why: str
    apply: Callable[[], object]
    size: Size | None = None
    verb: str = "remove"

    def __str__(self) -> str:
        size = f" ({self.size})" if self.size else ""
        return f"{self.what}{size}: {self.why}"
