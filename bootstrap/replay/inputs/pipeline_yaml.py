"""A pipeline.yml as plain values, read as Buildkite's agent reads it, and bounded.

The agent's YAML is 1.2 with merge keys: `yes`, `on` and dates are text. Anchors, aliases and merge
keys are common in pipelines, and a few lines of them can stand for gigabytes.
"""

import math
import re
from datetime import date
from decimal import Decimal
from typing import Any

import yaml

from bootstrap.text import printable

MAX_VALUES = 200_000  # with aliases written out
MAX_DEPTH = 60
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE = "tag:yaml.org,2002:merge"


class _Loader(_LOADER):  # type: ignore[misc]  # one of two classes
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Write merge keys out. What is merged comes first, so that the mapping's own keys win."""
        if not any(key.tag == _MERGE for key, _ in node.value):
            return
        own = [(key, value) for key, value in node.value if key.tag != _MERGE]
        merges = [value for key, value in node.value if key.tag == _MERGE]
        node.value = own  # what merges itself ends here
        merged: list[tuple[yaml.Node, yaml.Node]] = []
        for value in merges:
            several = value.value if isinstance(value, yaml.SequenceNode) else [value]
            for of in reversed(several):
                if not isinstance(of, yaml.MappingNode):
                    raise yaml.constructor.ConstructorError(
                        None, None, "expected mappings to merge", of.start_mark
                    )
                self.flatten_mapping(of)
                merged += of.value
                self.count(len(of.value))
        node.value = [*merged, *own]

    def count(self, more: int) -> None:
        self.merged = getattr(self, "merged", 0) + more
        if self.merged > MAX_VALUES:
            raise ValueError(f"its merge keys stand for more than {MAX_VALUES} values")


def _resolver(tag: str, pattern: str, first: str) -> None:
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{tag}", re.compile(rf"(?:{pattern})\Z"), list(first)
    )


_NUMBER = r"[-+._]*[0-9][0-9A-Fa-fxob_.+-]*"  # what may be one: `_number` decides
_INTEGER = re.compile(r"([-+]?)(?:0x([0-9A-Fa-f]+)|0b([01]+)|0o?([0-7]+)|(0|[1-9][0-9]*))")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_FRACTION = re.compile(r"\.[0-9](?:_?[0-9])*(?:[eE][-+]?[0-9](?:_?[0-9])*)?")
_DATE = re.compile(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})")

_resolver("bool", r"(?:true|True|TRUE|false|False|FALSE)", "tTfF")
_resolver("null", r"(?:~|null|Null|NULL)", "~nN")
_Loader.yaml_implicit_resolvers[""] = [("tag:yaml.org,2002:null", re.compile(r"\Z"))]
_resolver("merge", r"<<", "<")
_resolver("timestamp", _DATE.pattern, "0123456789")
_resolver("int", _NUMBER, "-+.0123456789")


def _number(_: _Loader, node: yaml.ScalarNode) -> int | float | str:
    """Return what Go's YAML makes of it: `010` is 8, `1_000` is 1000, and `1.2.3` is text."""
    text = str(node.value)
    plain = text.replace("_", "") if text[0] != "." or _FRACTION.fullmatch(text) else text
    if found := _INTEGER.fullmatch(plain):
        sign, *digits = found.groups()
        base, of = next((b, d) for b, d in zip((16, 2, 8, 10), digits, strict=True) if d)
        value = int(of, base) * (-1 if sign == "-" else 1)
        if -1 << 63 <= value < 1 << 64:
            return value
    if _FLOAT.fullmatch(plain) and math.isfinite(float(plain)):
        return float(plain) or 0  # -0.0 is sent as -0
    return text


def _date(_: _Loader, node: yaml.ScalarNode) -> str:
    found = _DATE.fullmatch(str(node.value))
    try:
        day = date(*map(int, found.groups())) if found else None
    except ValueError:
        day = None
    return f"{day.isoformat()}T00:00:00Z" if day else str(node.value)


def _as_text(_: _Loader, node: yaml.ScalarNode) -> str:
    return str(node.value)


_Loader.add_constructor(_MERGE, _as_text)  # `<<` that is a value
_Loader.add_constructor("tag:yaml.org,2002:int", _number)
_Loader.add_constructor("tag:yaml.org,2002:float", _number)
_Loader.add_constructor("tag:yaml.org,2002:timestamp", _date)


def load(text: str) -> Any:  # noqa: ANN401 - YAML
    """Return mappings with text as keys, lists, text, numbers, booleans and None.

    Dates are text, as the agent sends them. Raises ValueError if it is not YAML, or larger or
    deeper than the bounds above.
    """
    try:
        _check_depth(text)
        content = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as broken:
        line = f" in line {broken.problem_mark.line + 1}" if broken.problem_mark else ""
        raise ValueError(f"it is not YAML{line}: {printable(str(broken.problem))}") from None
    except yaml.YAMLError as broken:
        raise ValueError(f"it is not YAML: {printable(str(broken))}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (LookupError, AttributeError, TypeError, OverflowError):  # PyYAML's own, for `!!bool x`
        raise ValueError("a value does not have the form of its tag") from None
    return _Copy().of(content, 0)


def _check_depth(text: str) -> None:
    """Raise ValueError for what the loader would follow until this process has no stack left.

    That is in C: it would be killed, not raise RecursionError.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > 10 * MAX_DEPTH:  # with aliases written out: below
            raise ValueError("it is nested too deeply")


class _Copy:
    """Writes aliases out, so that no value is shared and none contains itself."""

    def __init__(self) -> None:
        self._count = 0

    def of(self, value: Any, depth: int) -> Any:  # noqa: ANN401 - YAML
        self._count += 1
        if self._count > MAX_VALUES:
            raise ValueError(f"it stands for more than {MAX_VALUES} values")
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
        match value:
            case dict():
                return {_key(key): self.of(item, depth + 1) for key, item in value.items()}
            case list():
                return [self.of(item, depth + 1) for item in value]
            case str() | bool() | int() | float() | None:
                return value
            case _:
                raise ValueError(f"a value is {type(value).__name__}, expected text or numbers")


def _key(key: object) -> str:
    return key if isinstance(key, str) else text_of(key)


def text_of(value: object) -> str:
    """Return a plain value as the agent makes text of it. Raises ValueError for any other."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int():
            return str(value)
        case float():
            return _as_json(value)
        case _:
            raise ValueError(f"expected text, got {type(value).__name__}")


def _as_json(value: float) -> str:
    """Return a number as Go's JSON has it: 1.10 is 1.1, and 1e3 is 1000."""
    text = repr(value)
    if "e" in text and 1e-6 <= abs(value) < 1e21:
        text = f"{Decimal(text):f}"
    return text.removesuffix(".0")
