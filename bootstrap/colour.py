"""Colours for what the commands print: only on a terminal, and never where NO_COLOR is set.

What is coloured is found in the finished lines, so no command knows of colours, and whatever is
not on a terminal gets the same text without them.
"""

import re
from collections.abc import Mapping

_RESET = "\x1b[0m"
_RED, _GREEN, _YELLOW = "\x1b[31m", "\x1b[32m", "\x1b[33m"
_RULES = tuple(
    (re.compile(pattern), colour)
    for pattern, colour in (
        (r"^airlock:", _RED),  # an error's first line
        (r"(?<=: )error(?= \[[a-z-]+\])", _RED),  # lint
        (r"(?<=: )warning(?= \[[a-z-]+\])", _YELLOW),
        (r"(?<=: )FAILED(?= )", _RED),  # test
        (r"^ *NO(?= {2,})", _RED),  # explain
        (r"^ *yes(?= {2,})", _GREEN),
        (r"^ok(?= {2,})", _GREEN),  # doctor
        (r"^(warn|unknown)(?= +[a-z])", _YELLOW),
        (r"^FAIL(?= {2,})", _RED),
        (r"^fixed(?= {2,})", _GREEN),
        (r"^ *\+ .*", _GREEN),  # diff
        (r"^ *- .*", _RED),
        (r"^~ .*", _YELLOW),
    )
)


def is_wanted(env: Mapping[str, str], *, terminal: bool) -> bool:
    """Return whether to print colours, by the convention of no-color.org."""
    return terminal and not env.get("NO_COLOR") and env.get("TERM") != "dumb"


def painted(text: str) -> str:
    """Return the lines with the colours of what they report."""
    return "\n".join(map(_line, text.split("\n")))


def _line(line: str) -> str:
    for pattern, colour in _RULES:
        if found := pattern.search(line):
            start, end = found.span()
            return f"{line[:start]}{colour}{line[start:end]}{_RESET}{line[end:]}"
    return line
