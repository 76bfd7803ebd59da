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

    def add(self, event: yaml.Event, text: str) -> None:
        self.mistakes.append(Mistake(line=_line(event), text=text))


def load(text: str) -> Document:
    """Read one document. Never raises: every mistake is in `mistakes`."""
    if len(text) > MAX_TEXT:
        return _unreadable(
            1, f"the document has {len(text)} characters; expected at most {MAX_TEXT}"
        )
    reading = _Reading()
    try:
        events = _allowed(text)
        first = next(events, None)
        if first is None:
            return _unreadable(1, "the document is empty")
        content = _plain(first, events, (), reading)
        for _ in events:  # a second document would be a mistake
            pass
    except _ForbiddenError as forbidden:
        return _unreadable(forbidden.line, forbidden.text)
    except yaml.MarkedYAMLError as broken:
        line = broken.problem_mark.line + 1 if broken.problem_mark else 1
        return _unreadable(line, f"not YAML: {broken.problem}")
    except yaml.YAMLError as broken:
        return _unreadable(1, f"not YAML: {str(broken).splitlines()[0]}")
    return Document(content=content, lines=reading.lines, mistakes=tuple(reading.mistakes))


def _unreadable(line: int, text: str) -> Document:
    return Document(content=None, lines={}, mistakes=(Mistake(line=line, text=text),))


class _ForbiddenError(Exception):
    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line
        self.text = text


def _allowed(text: str) -> Iterator[yaml.Event]:
    """Yield what values consist of, as far as a policy may contain it: no alias is followed."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.NodeEvent):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > MAX_DEPTH:
                    raise _ForbiddenError(_line(event), f"nested deeper than {MAX_DEPTH} levels")
            if event.anchor:
                raise _ForbiddenError(_line(event), "anchors and aliases are not part of a policy")
            if getattr(event, "tag", None):
                raise _ForbiddenError(_line(event), "tags are not part of a policy")
            yield event
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
            yield event
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _ForbiddenError(_line(event), "a second document; expected one per file")


def _line(event: yaml.Event) -> int:
    return int(event.start_mark.line) + 1 if event.start_mark else 1


def _plain(event: yaml.Event, events: Iterator[yaml.Event], path: Path, reading: _Reading) -> Any:  # noqa: ANN401 - is YAML
    """Return the value that begins with this event. Depth is bounded before."""
    reading.lines[path] = _line(event)
    match event:
        case yaml.MappingStartEvent():
            return _mapping(events, path, reading)
        case yaml.SequenceStartEvent():
            items: list[Any] = []
            for item in events:
                if isinstance(item, yaml.SequenceEndEvent):
                    break
                items.append(_plain(item, events, (*path, len(items)), reading))
            return items
        case yaml.ScalarEvent():
            return event.value
        case _:  # an alias, which is forbidden before
            return ""


def _mapping(events: Iterator[yaml.Event], path: Path, reading: _Reading) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key in events:
        if isinstance(key, yaml.MappingEndEvent):
            break
        if not isinstance(key, yaml.ScalarEvent):
            reading.add(key, "expected text as the key")
            _plain(key, events, (), _Reading())
            _plain(next(events), events, (), _Reading())
        elif key.value in content:
            reading.add(key, f'duplicate key "{key.value}"')
            _plain(next(events), events, (), _Reading())
        else:
            content[key.value] = _plain(next(events), events, (*path, key.value), reading)
            reading.lines[*path, key.value] = _line(key)
    return content
