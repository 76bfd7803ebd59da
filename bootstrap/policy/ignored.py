"""Comments by which a policy's author answers lint: `# airlock: ignore <id>: reason`."""

import re

from bootstrap.policy.model import Ignored

_COMMENT = re.compile(r"(?:^|\s)#\s*airlock:\s*ignore\b[ \t]*([\w-]*)[ \t]*:?[ \t]*(.*)")


def ignored(text: str) -> tuple[Ignored, ...]:
    """Return the comments of a document.

    A comment behind something is about that line; one that is a line of its own is about the next
    line that is neither empty nor a comment.
    """
    if "airlock:" not in text:
        return ()
    lines = text.split("\n")
    return tuple(
        Ignored(id=found[1], reason=found[2].strip(), line=number, of=_about(lines, number))
        for number, line in enumerate(lines, start=1)
        if (found := _COMMENT.search(line))
    )


def _about(lines: list[str], number: int) -> int:
    while number <= len(lines) and lines[number - 1].lstrip().startswith("#"):
        number += 1
        while number <= len(lines) and not lines[number - 1].strip():
            number += 1
    return number
