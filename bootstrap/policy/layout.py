"""One layout for documents: two spaces, one space after a dash or colon, no stray white space.

Only white space changes: values, their quotes, the order of keys and every comment stay as they
are written. A library that keeps comments would have to write all of them again; here each line is
moved as a whole, and what comes out is compared with what went in.
"""

import re
from dataclasses import dataclass, field

import yaml

from bootstrap.policy.document import load

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # as in document.py: they differ a little
STEP = 2  # columns of one level
_DASHES = re.compile(r" *(?:- +)*")
_BREAKS = "\x85\u2028\u2029"  # which YAML counts as ends of lines too
_GAP = re.compile(r":[ ]+")


@dataclass(slots=True)
class _Lines:
    """The lines of one document, and where each of them goes."""

    text: list[str]
    heads: dict[int, tuple[int, str]] = field(default_factory=dict)  # line -> old column, new head
    moved: dict[int, int] = field(default_factory=dict)  # continued lines -> columns to the right
    gaps: dict[int, tuple[int, int]] = field(default_factory=dict)  # line -> what becomes ": "

    def head(self, node: yaml.Node, head: str) -> None:
        """Put the line of the node's first character behind `head`."""
        line, column = node.start_mark.line, node.start_mark.column
        if not _DASHES.fullmatch(self.text[line][:column]):
            raise ValueError(f"line {line + 1}: expected nothing but dashes before this")
        self.heads[line] = (column, head)

    def follow(self, node: yaml.Node, columns: int) -> None:
        """Move the further lines of a value by as much as its first line."""
        last = node.end_mark.line + (1 if node.end_mark.column else 0)
        for line in range(node.start_mark.line + 1, last):
            self.moved[line] = columns

    def gap(self, key: yaml.Node, value: yaml.Node) -> None:
        """Note the space between a key and its value on the same line."""
        line, start, end = key.end_mark.line, key.end_mark.column, value.start_mark.column
        same_line = value.start_mark.line == line and value.start_mark != value.end_mark
        if same_line and _GAP.fullmatch(self.text[line][start:end]):
            self.gaps[line] = (start, end)


def laid_out(text: str) -> str:
    """Return the document with its lines laid out. What is laid out already stays as it is.

    Raises ValueError with the mistakes if it is not YAML as policies have it, or if its layout is
    so unusual that moving its lines would change what it says.
    """
    text = text.removeprefix("\ufeff")
    before = load(text)
    if before.mistakes:
        raise ValueError("; ".join(f"line {m.line}: {m.text}" for m in before.mistakes))
    if set(_BREAKS) & set(text):
        raise ValueError("it has a line separator other than a line feed")
    lines = _Lines(text=_split(text))
    root = yaml.compose(text, Loader=_Loader)
    assert root is not None, "load would have refused an empty document"  # noqa: S101
    if _is_block(root):
        _walk(root, 0, "", lines)
    else:
        lines.follow(root, 0)
    made = _joined(lines)
    if load(made).content != before.content or _written(made) != _written(text):
        raise ValueError("its lines cannot be moved without a change of what it says")
    return made


def neat(text: str) -> str:
    """Return a generated document laid out; as it is if something unusual in it prevents that."""
    try:
        return laid_out(text)
    except ValueError:
        return text


def _split(text: str) -> list[str]:
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _written(text: str) -> str:
    """Return everything that is not white space, comments among it."""
    return "".join(text.split())


def _is_block(node: yaml.Node) -> bool:
    return isinstance(node, yaml.CollectionNode) and not node.flow_style


def _walk(node: yaml.Node, indent: int, head: str, lines: _Lines) -> None:
    """Lay out a block. `head` is what stands before its first entry on the same line."""
    if isinstance(node, yaml.MappingNode):
        for at, (key, value) in enumerate(node.value):
            _entry(key, value, indent, " " * indent if at else head, lines)
    elif isinstance(node, yaml.SequenceNode):
        for at, item in enumerate(node.value):
            before = (" " * indent if at else head) + "- "
            if _is_block(item):
                _walk(item, indent + STEP, before, lines)
            else:
                lines.head(item, before)
                lines.follow(item, len(before) - item.start_mark.column)


def _entry(key: yaml.Node, value: yaml.Node, indent: int, head: str, lines: _Lines) -> None:
    lines.head(key, head)
    if _is_block(value):
        _walk(value, indent + STEP, " " * (indent + STEP), lines)
    else:
        lines.gap(key, value)
        lines.follow(value, len(head) - key.start_mark.column)


def _joined(lines: _Lines) -> str:
    """Join the lines without blank ones at either end and between others, but for a value's own."""
    made: list[tuple[int, str]] = []
    for number, line in enumerate(lines.text):
        new = _moved(number, line, lines)
        if new or number in lines.moved or (made and made[-1][1]):
            made.append((number, new))
    while made and not made[-1][1] and made[-1][0] not in lines.moved:
        made.pop()
    return "\n".join(line for _, line in made) + "\n"


def _moved(number: int, line: str, lines: _Lines) -> str:
    if number in lines.heads:
        column, head = lines.heads[number]
        if number in lines.gaps:
            start, end = lines.gaps[number]
            line = f"{line[:start]}: {line[end:]}"
        return head + _stripped(number, line[column:], lines)
    if number in lines.moved:
        return _shifted(line, lines.moved[number])
    if line.lstrip(" ").startswith("#"):
        return " " * _comment(number, line, lines) + line.strip()
    return line.rstrip()


def _stripped(number: int, line: str, lines: _Lines) -> str:
    """Strip the end of the line, unless the value goes on below it."""
    return line if number + 1 in lines.moved else line.rstrip()


def _shifted(line: str, columns: int) -> str:
    if columns >= 0:
        return " " * columns + line if line else line
    return line[min(-columns, len(line) - len(line.lstrip(" "))) :]


def _comment(number: int, line: str, lines: _Lines) -> int:
    """Return the new indent of a comment: the next entry's.

    Where a block ends there, a comment that is inside of the block stays there.
    """
    after = next((n for n in range(number + 1, len(lines.text)) if n in lines.heads), None)
    before = next((n for n in range(number - 1, -1, -1) if n in lines.heads), None)
    next_old = _indent(lines.text[after]) if after is not None else -1
    if before is not None and _indent(line) >= _indent(lines.text[before]) > next_old:
        return _indent(lines.heads[before][1])
    return _indent(lines.heads[after][1]) if after is not None else 0


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
