"""The access map: every pipeline and what it can use, as one page that works offline."""

import json
from collections.abc import Sequence
from html import escape
from itertools import groupby
from string import Template

from bootstrap.policy.catalogue import Access, Catalogue, accesses

_MARKS = {"no": "●", "same-repository": "◆", "any": "▲"}
_ORDER = ("any", "same-repository", "no")


def page(template: str, catalogue: Catalogue, *, source: str, made: str) -> str:
    """Fill the template. `source` is where the policies were read, `made` is when."""
    listed = sorted(accesses(catalogue.policies), key=lambda access: access.pipeline)
    by_pipeline = {
        pipeline: tuple(group)
        for pipeline, group in groupby(listed, key=lambda access: access.pipeline)
    }
    pipelines = sorted(policy.pipeline for policy in catalogue.policies)
    roles = sorted({access.name for access in listed if access.kind == "role"})
    return Template(template).substitute(
        summary=escape(_summary(catalogue, roles, source, made)),
        columns="".join(_column(index, role) for index, role in enumerate(roles)),
        rows="\n".join(_row(name, by_pipeline.get(name, ()), roles) for name in pipelines),
        sections="\n".join(_section(name, by_pipeline.get(name, ())) for name in pipelines),
    )


def _summary(catalogue: Catalogue, roles: Sequence[str], source: str, made: str) -> str:
    accounts = {role.split(":")[4] for role in roles}
    broken = len(catalogue.unreadable)
    unread = f" {broken} documents could not be read and are not shown." if broken else ""
    return (
        f"{len(catalogue.policies)} pipelines, {len(roles)} roles in {len(accounts)} accounts, "
        f"from {source}, {made}.{unread}"
    )


def _column(index: int, role: str) -> str:
    return (
        f'<th class="c{index}" title="{escape(role)}"><div><span>{_short(role)}</span></div></th>'
    )


def _short(role: str) -> str:
    return escape(f"{role.split(':')[4][-4:]} {role.rsplit('/', 1)[-1]}")


def _row(pipeline: str, listed: Sequence[Access], roles: Sequence[str]) -> str:
    cells = []
    used = []
    for index, role in enumerate(roles):
        ways = [access for access in listed if access.name == role]
        if ways:
            used.append(str(index))
        cells.append(f'<td class="c{index}">{_dot(pipeline, ways) if ways else ""}</td>')
    columns = " ".join(used)
    return f'<tr data-columns="{columns}"><th>{escape(pipeline)}</th>{"".join(cells)}</tr>'


def _dot(pipeline: str, ways: Sequence[Access]) -> str:
    widest = _widest(ways)
    ways_to_it = [[f"{pipeline}: {way.rule} → {way.name}", list(way.to)] for way in ways]
    label = escape(f"{pipeline} reaches {ways[0].name}")
    data = escape(json.dumps(ways_to_it))
    return (
        f'<button class="dot {widest}" aria-label="{label}" data-ways="{data}">'
        f"{_MARKS[widest]}</button>"
    )


def _widest(ways: Sequence[Access]) -> str:
    kinds = {way.pull_requests for way in ways}
    return next((kind for kind in _ORDER if kind in kinds), "no")


def _section(pipeline: str, listed: Sequence[Access]) -> str:
    text = " ".join([pipeline, *(word for way in listed for word in (way.name, way.rule, *way.to))])
    is_open = "yes" if _widest(listed) != "no" else "no"
    items = "".join(_item(way) for way in listed) or "<li>a sandbox and nothing else</li>"
    return (
        f'<section data-text="{escape(text.lower())}" data-open="{is_open}">'
        f"<h2>{escape(pipeline)}</h2><ul>{items}</ul></section>"
    )


def _item(way: Access) -> str:
    conditions = escape("; ".join(way.to) or "always")
    mark = f'<span class="{way.pull_requests}">{_MARKS[way.pull_requests]}</span>'
    kind = "" if way.kind == "role" else f"{escape(way.kind)} "
    return (
        f"<li>{mark} {kind}{escape(way.name)}<small>{escape(way.rule)}: {conditions}</small></li>"
    )
