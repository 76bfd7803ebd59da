"""YAML as far as a policy needs it: mappings, lists and strings, each with its line.

Nothing becomes a boolean, number or date by accident. Anchors, aliases, tags, several documents
and duplicate keys are errors: each of them can hide a grant from a reviewer.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from bootstrap.policy.model import MAX_TEXT

# libyaml where it is installed: linting hundreds of documents is ten times faster.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MAX_DEPTH = 12

Path = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Mistake:
    """One mistake in a document, and its line."""

    line: int
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A document's plain content, the line of every value, and the mistakes in its form."""

    content: Any
    lines: dict[Path, int]
    mistakes: tuple[Mistake, ...]

    def line(self, path: Path) -> int:
        """Return the line of the value at `path`, or of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


@dataclass(slots=True)
class _Reading:
    lines: dict[Path, int] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)

    def add(self, node: yaml.Node, text: str) -> None:
        self.mistakes.append(Mistake(line=node.start_mark.line + 1, text=text))


def load(text: str) -> Document:
    """Read one document. Never raises: every mistake is in `mistakes`."""
    if len(text) > MAX_TEXT:
        return _unreadable(
            1, f"the document has {len(text)} characters; expected at most {MAX_TEXT}"
        )
    try:
        mistake = next(_forbidden(text), None)
        if mistake:
            return _unreadable(mistake.line, mistake.text)
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as broken:
        line = broken.problem_mark.line + 1 if broken.problem_mark else 1
        return _unreadable(line, f"not YAML: {broken.problem}")
    except yaml.YAMLError as broken:
        return _unreadable(1, f"not YAML: {str(broken).splitlines()[0]}")
    if node is None:
        return _unreadable(1, "the document is empty")
    reading = _Reading()
    content = _plain(node, (), reading)
    return Document(content=content, lines=reading.lines, mistakes=tuple(reading.mistakes))


def _unreadable(line: int, text: str) -> Document:
    return Document(content=None, lines={}, mistakes=(Mistake(line=line, text=text),))


def _forbidden(text: str) -> Iterator[Mistake]:
    """Yield what no policy may contain, by the parser's events: without recursion or aliases."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
        if depth > MAX_DEPTH:
            yield Mistake(line=line, text=f"nested deeper than {MAX_DEPTH} levels")
        if documents > 1:
            yield Mistake(line=line, text="a second document; expected one per file")
        if getattr(event, "anchor", None):
            yield Mistake(line=line, text="anchors and aliases are not part of a policy")
        if getattr(event, "tag", None):
            yield Mistake(line=line, text="tags are not part of a policy")


def _plain(node: yaml.Node, path: Path, reading: _Reading) -> Any:  # noqa: ANN401 - is YAML
    reading.lines[path] = node.start_mark.line + 1
    match node:
        case yaml.MappingNode():
            return _mapping(node, path, reading)
        case yaml.SequenceNode():
            return [_plain(item, (*path, i), reading) for i, item in enumerate(node.value)]
        case _:
            return node.value


def _mapping(node: yaml.MappingNode, path: Path, reading: _Reading) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            reading.add(key, "expected text as the key")
        elif key.value in content:
            reading.add(key, f'duplicate key "{key.value}"')
        else:
            content[key.value] = _plain(value, (*path, key.value), reading)
            reading.lines[*path, key.value] = key.start_mark.line + 1
    return content
