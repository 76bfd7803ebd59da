"""Annotations as text for a terminal and as HTML: a job's Markdown, without what could act.

The HTML is built from escaped text. Of HTML in an annotation only plain tags without attributes
remain, and only if they are balanced; of links only those to http and https.
"""

import html
import re
from collections.abc import Callable

from bootstrap.text import on_terminal

MAX_LINES = 200  # of one annotation on a terminal
MAX_LINE = 500  # characters

_VOID = {"br", "hr"}
TAGS = _VOID | {
    "b", "blockquote", "code", "dd", "del", "details", "dl", "dt", "em", "h1", "h2", "h3", "h4",
    "h5", "h6", "i", "kbd", "li", "ol", "p", "pre", "s", "strong", "sub", "summary", "sup",
    "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
_TAG = re.compile(r"&lt;(/?)([a-z][a-z0-9]{0,9}) ?(/?)&gt;")
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"(!?)\[([^\[\]\n]{0,500})\]\(((?:https?|artifact)://[^\s()\"'<>]{1,2000})\)")
_STRONG = re.compile(r"\*\*(\S(?:[^*\n]*\S)?)\*\*")
_EMPHASIS = re.compile(r"(?<![\w*])\*(\S(?:[^*\n]*[^\s*])?)\*(?![\w*])")
_HEADING = re.compile(r"(#{1,6}) +(.*)")
_ITEM = re.compile(r" {0,3}[-*+] +(.*)")
_KEPT = re.compile("\x00(\\d+)\x00")  # no text has a NUL: `on_terminal` has replaced it


def lines(text: str) -> list[str]:
    """Return the lines for a terminal, none of them with anything that a terminal interprets."""
    whole = on_terminal(text).split("\n")
    shown = [one if len(one) <= MAX_LINE else f"{one[:MAX_LINE]}…" for one in whole[:MAX_LINES]]
    more = len(whole) - len(shown)
    return [*shown, f"… {more} more lines are in the HTML file"] if more else shown


def to_html(text: str) -> str:
    """Return the annotation as HTML that has no script, no style, no reference but links."""
    kept: list[str] = []

    def keep(rendered: str) -> str:
        kept.append(rendered)
        return f"\x00{len(kept) - 1}\x00"

    escaped = _fenced(html.escape(on_terminal(text)), keep)
    escaped = _CODE.sub(lambda found: keep(f"<code>{found[1]}</code>"), escaped)
    escaped = _LINK.sub(lambda found: keep(_link(found)), escaped)
    escaped = _STRONG.sub(r"<strong>\1</strong>", _plain_tags(escaped))
    escaped = _EMPHASIS.sub(r"<em>\1</em>", escaped)
    return f"<div>{_restored(_blocks(escaped), kept)}</div>"


def _fenced(escaped: str, keep: Callable[[str], str]) -> str:
    """Keep what is between two lines of ```; line by line, whose time does not explode."""
    passed: list[str] = []
    inside: list[str] | None = None
    opened = ""
    for line in escaped.split("\n"):
        if inside is None and line.startswith("```"):
            inside, opened = [], line
        elif inside is None:
            passed.append(line)
        elif line.rstrip() == "```":
            passed.append(keep("<pre>" + "\n".join(inside) + "</pre>"))
            inside = None
        else:
            inside.append(line)
    return "\n".join(passed if inside is None else [*passed, opened, *inside])


def _restored(text: str, kept: list[str]) -> str:
    """A link's text may have code in it, so twice; what is kept has no other mark."""
    for _ in range(2):
        text = _KEPT.sub(lambda found: kept[int(found[1])], text)
    return text


def _link(found: re.Match[str]) -> str:
    """Nothing is fetched by looking: an image becomes a link, an artifact its path."""
    _, text, url = found.groups()
    if url.startswith("artifact://"):
        return f"<code>{text or url}</code> ({url.removeprefix('artifact://')})"
    return f'<a href="{url}" rel="noopener noreferrer">{text or url}</a>'


def _plain_tags(escaped: str) -> str:
    found = [tag for tag in _TAG.finditer(escaped) if tag[2] in TAGS]
    opened: list[str] = []
    for tag in found:
        if tag[2] in _VOID:
            continue
        if not tag[1]:
            opened.append(tag[2])
        elif not opened or opened.pop() != tag[2]:
            return escaped
    if opened:
        return escaped
    return _TAG.sub(lambda tag: f"<{tag[1]}{tag[2]}>" if tag[2] in TAGS else tag[0], escaped)


def _blocks(text: str) -> str:
    """Render headings and lists. Empty lines stay: the page's style shows them."""
    rendered: list[str] = []
    items = False
    for line in text.split("\n"):
        heading, item = _HEADING.fullmatch(line), _ITEM.fullmatch(line)
        if bool(item) != items:
            rendered.append("<ul>" if item else "</ul>")
            items = bool(item)
        if heading:
            level = len(heading[1])
            rendered.append(f"<h{level}>{heading[2]}</h{level}>")
        elif item:
            rendered.append(f"<li>{item[1]}</li>")
        else:
            rendered.append(line)
    if items:
        rendered.append("</ul>")
    return "\n".join(rendered)
