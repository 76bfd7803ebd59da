"""The type of values that must never be shown."""

from typing import Never


class Secret:
    """Text that masks itself wherever it could be printed; `reveal` is the only way out.

    It cannot be compared, hashed, iterated or pickled, so it cannot end up in a set, a cache key
    or a record by accident.
    """

    __slots__ = ("_text",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself, for the one place that has to pass it on."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __format__(self, _spec: str) -> str:
        return "***"

    def __eq__(self, _other: object) -> Never:
        raise TypeError(
            "a Secret cannot be compared; compare what reveal() returns, in constant time"
        )

    def __reduce__(self) -> Never:
        raise TypeError("a Secret cannot be pickled or copied")
