r"""Variables in a pipeline's text, replaced as `buildkite-agent pipeline upload` does.

Source: github.com/buildkite/interpolate v0.1.5, whose grammar this follows: `$A`, `${A}`,
`${A:-default}`, `${A-default}`, `${A:offset:length}`, `${A?message}`; `$$` and `\$` are a `$`, and
`$(` is left alone. tests/replay/test_interpolation.py compares the two.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

MAX_DEPTH = 50
MAX_TEXT = 4 << 20  # characters of one value


@dataclass(frozen=True, kw_only=True, slots=True)
class Variables:
    """The known variables, and the names of others that a text needs, in the order of their use."""

    known: Mapping[str, str]
    lacking: dict[str, None] = field(default_factory=dict)


def interpolated(text: str, variables: Variables) -> str:
    """Return the text with its variables replaced; those that are lacking by nothing.

    Raises ValueError if the agent would refuse the text.
    """
    if "$" not in text:
        return text
    reading = _Reading(text=text, variables=variables)
    return "".join(reading.expression("", depth=0, used=True))


def _is_letter(char: str) -> bool:
    return char.isalpha()


def _is_of_name(char: str) -> bool:
    return char.isalpha() or char.isnumeric() or char == "_"


@dataclass(kw_only=True, slots=True)
class _Reading:
    text: str
    variables: Variables
    at: int = 0
    length: int = 0

    def expression(self, stop: str, *, depth: int, used: bool) -> list[str]:
        """Read up to a character of `stop`. With `used` False nothing of it is needed."""
        if depth > MAX_DEPTH:
            raise ValueError(f"its variables are nested deeper than {MAX_DEPTH} levels")
        parts: list[str] = []
        while self.at < len(self.text) and self.text[self.at] not in stop:
            parts.append(self._part(stop, depth, used=used))
            self._count(len(parts[-1]))
        return parts

    def _count(self, more: int) -> None:
        self.length += more
        if self.length > MAX_TEXT:
            raise ValueError(f"its variables stand for more than {MAX_TEXT} characters")

    def _part(self, stop: str, depth: int, *, used: bool) -> str:
        start = self.at
        match self.text[start : start + 2]:
            case "\\\\" | "$(" as literal:
                self.at += 2
                return literal
            case "\\$" | "$$":
                self.at += 2
                return "$"
            case pair if pair[0] == "$" and len(pair) > 1:
                self.at += 1
                return self._expansion(depth, used=used)
            case _:
                self.at += 1
                self._skip(lambda char: char not in "$\\" and char not in stop)
                return self.text[start : self.at]

    def _expansion(self, depth: int, *, used: bool) -> str:
        if self.text[self.at] == "{":
            self.at += 1
            return self._braced(depth, used=used)
        if not _is_letter(self.text[self.at]):
            return "$"
        return self._value(self._name(), used=used)

    def _braced(self, depth: int, *, used: bool) -> str:
        name = self._name()
        operator = self._operator()
        match operator:
            case "}":
                return self._value(name, used=used)
            case ":":
                found = self._substring(name, used=used)
            case _:
                found = self._otherwise(name, operator, depth, used=used)
        if self._next() != "}":
            raise ValueError(f"${{{name}… has no }} at its end")
        return found

    def _operator(self) -> str:
        first = self._next()
        if first == ":" and self.text[self.at : self.at + 1] == "-":
            self.at += 1
            return ":-"
        if first not in {"}", ":", "-", "?"}:
            raise ValueError(f"expected }}, :, - or ? after the name in ${{…, got {first!r}")
        return first

    def _otherwise(self, name: str, operator: str, depth: int, *, used: bool) -> str:
        known = self.variables.known.get(name)
        has_own = bool(known) if operator == ":-" else known is not None
        wanted = used and not has_own and operator != "?"
        text = "".join(self.expression("}", depth=depth + 1, used=wanted))
        if operator == "?":
            return self._value(name, used=used)
        return (known or "") if has_own else text

    def _substring(self, name: str, *, used: bool) -> str:
        value = self._value(name, used=used).encode()
        start = self._number(":}")
        start = min(max(start + len(value) if start < 0 else start, 0), len(value))
        end = len(value)
        if self.text[self.at : self.at + 1] == ":":
            self.at += 1
            length = self._number("}")
            end = max(start, length + (start if length >= 0 else len(value)))
        return value[start:end].decode(errors="replace")

    def _number(self, stop: str) -> int:
        start = self.at
        self._skip(lambda char: char not in stop)
        text = self.text[start : self.at].strip()
        digits = text.removeprefix("-") if text.startswith("-") else text.removeprefix("+")
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 9:
            raise ValueError(f"expected a number in ${{NAME:offset:length}}, got {text[:40]!r}")
        return int(text)

    def _name(self) -> str:
        start = self.at
        if start >= len(self.text) or not _is_letter(self.text[start]):
            raise ValueError("expected a name that begins with a letter after ${")
        self._skip(_is_of_name)
        return self.text[start : self.at]

    def _value(self, name: str, *, used: bool) -> str:
        if used and name not in self.variables.known:
            self.variables.lacking[name] = None
        return self.variables.known.get(name, "")

    def _next(self) -> str:
        self.at += 1
        return self.text[self.at - 1 : self.at]

    def _skip(self, of: Callable[[str], bool]) -> None:
        while self.at < len(self.text) and of(self.text[self.at]):
            self.at += 1
