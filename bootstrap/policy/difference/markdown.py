"""Changes of access as a comment on a pull request, in GitHub's Markdown.

Everything that an author of policies wrote is text inside of HTML elements: Markdown is not
interpreted between a line that begins with such an element and the next empty line, and no text
here has line ends. So no pipeline, branch or tag can end a cell, add a link or mention a person.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape

from bootstrap.policy.difference.listing import EVERY_PIPELINE, NO_CHANGE, summary
from bootstrap.policy.difference.model import EVERY, Change, Kind, Way
from bootstrap.text import counted, printable

LONGEST = 65_536  # characters of a comment on GitHub
_TABLE = 24_000  # of them for the table, so that some are left for the details
_SPARE = 1_000  # for what comes after the last row
_CELL, _DETAIL = 240, 2_000  # characters of one text
_HEAD = "<tr><th></th><th>pipeline</th><th>what</th><th>which jobs</th></tr>"
_HEAD_OF_DETAILS = "<tr><th>what</th><th>which jobs</th><th>before</th><th>after</th></tr>"


def markdown(changes: Sequence[Change]) -> str:
    """Return the comment, of at most LONGEST characters. What is left out is counted in it."""
    title = "### Changes of access\n\n"
    if not changes:
        return f"{title}{NO_CHANGE}\n"
    order = list(Kind)
    ordered = sorted(changes, key=lambda change: order.index(change.kind))
    table = _table(_HEAD, [(change, _row(change)) for change in ordered], _TABLE)
    head = f"{title}**{summary(changes)}**\n\n{table}\n\n"
    rows = [(change, _detail(change, way)) for change in ordered for way in change.ways]
    details = _table(_HEAD_OF_DETAILS, rows, LONGEST - len(head) - _SPARE)
    return f"{head}<details>\n<summary>Before and after</summary>\n{details}\n</details>\n"


def _table(head: str, rows: Sequence[tuple[Change, str]], space: int) -> str:
    """Return the rows that fit into so many characters, in their order, and how many do not."""
    kept: set[int] = set()
    for index in _by_importance([change for change, _ in rows]):
        space -= len(rows[index][1]) + 1
        if space < 0:
            break
        kept.add(index)
    shown = [text for index, (_, text) in enumerate(rows) if index in kept]
    lines = ["<table>", head, *shown, "</table>"]
    if len(kept) < len(rows):
        number = counted(len(rows) - len(kept), "row")
        text = f"{number} more: run `airlock policy diff` for all of them."
        lines.insert(-1, f"<tr><td>…</td><td>{text}</td></tr>")
    return "\n".join(lines)


def _by_importance(changes: Sequence[Change]) -> list[int]:
    """Return the indices of guardrails first, then one of every pipeline and kind, and so on.

    Many changes of one pipeline leave no other out.
    """
    seen: Counter[tuple[str, Kind]] = Counter()
    keys = []
    for index, change in enumerate(changes):
        keys.append((change.pipeline != EVERY, seen[change.pipeline, change.kind], index))
        seen[change.pipeline, change.kind] += 1
    return [index for *_, index in sorted(keys)]


def _row(change: Change) -> str:
    jobs = [way.jobs or "all" for way in change.ways]
    more = f" and {len(jobs) - 1} more" if len(jobs) > 1 else ""
    cells = (_kind(change.kind), _pipeline(change), _thing(change), f"{_code(jobs[0])}{more}")
    return _cells(cells)


def _detail(change: Change, way: Way) -> str:
    what = f"{_pipeline(change)} {change.kind} {_thing(change)}"
    texts = (way.jobs or "all", way.before, way.after)
    return _cells((what, *(_code(text, _DETAIL) for text in texts)))


def _cells(cells: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _kind(kind: Kind) -> str:
    return f"<b>{kind}</b>" if kind is Kind.GAINS else str(kind)


def _pipeline(change: Change) -> str:
    return EVERY_PIPELINE if change.pipeline == EVERY else _code(change.pipeline)


def _thing(change: Change) -> str:
    name = f" {_code(change.name)}" if change.name else ""
    return f"{escape(change.what)}{name}"


def _code(text: str, limit: int = _CELL) -> str:
    """Return the text as code, in which neither mentions nor references are looked for."""
    return f"<code>{escape(printable(text, limit=limit))}</code>"
