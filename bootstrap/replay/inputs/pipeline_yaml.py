"""A pipeline.yml as plain values, read as Buildkite's agent reads it, and bounded.

The agent's YAML is 1.2 with merge keys: `yes`, `on` and dates are text. Anchors, aliases and merge
keys are common in pipelines, and a few lines of them can stand for gigabytes.
"""

import re
from typing import Any

import yaml

from bootstrap.text import printable

MAX_VALUES = 200_000  # with aliases written out
MAX_DEPTH = 60
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE = "tag:yaml.org,2002:merge"


class _Loader(_LOADER):  # type: ignore[misc] - one of two classes
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
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), list(first))


_resolver("bool", r"(?:true|True|TRUE|false|False|FALSE)", "tTfF")
_resolver("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789")
_resolver("float", r"[-+]?(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][-+][0-9]+)?", "-+0123456789")
_resolver("null", r"(?:~|null|Null|NULL|)", "~nN")
_Loader.yaml_implicit_resolvers.setdefault("", []).append(
    ("tag:yaml.org,2002:null", re.compile(r""))
)
_resolver("merge", r"<<", "<")


def load(text: str) -> Any:  # noqa: ANN401 - YAML
    """Return mappings with text as keys, lists, text, numbers, booleans and None.

    A number that a person wrote in another way than Python prints it (`1.10`, `0x1F`, `010`) may
    be text. Raises ValueError if it is not YAML, or larger or deeper than the bounds above.
    """
    try:
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
            return f"{value:.15g}"
        case _:
            raise ValueError(f"expected text, got {type(value).__name__}")
