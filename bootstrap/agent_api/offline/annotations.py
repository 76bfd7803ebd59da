"""The annotations of a replayed build: on the terminal, and in one HTML file."""

import html
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bootstrap.agent_api.model import Answer, Call, MalformedError, json_answer, problem
from bootstrap.agent_api.offline.markup import lines, to_html
from bootstrap.agent_api.routes import Kind
from bootstrap.files import write
from bootstrap.text import printable

MAX_ANNOTATIONS = 200
MAX_BODY = 1 << 20  # bytes, as at Buildkite
MAX_TOTAL = 8 << 20  # characters of all annotations
MAX_CONTEXT = 100  # characters, as at Buildkite
STYLES = ("", "default", "info", "success", "warning", "error")

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Annotations</title><style>
body{font:15px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}
section{border:1px solid #ccc;border-left:5px solid #36c;margin:1em 0;padding:0 1em;overflow:auto}
section.success{border-left-color:#2a7}section.warning{border-left-color:#e90}
section.error{border-left-color:#d33}h6.context{color:#777;margin:.5em 0;font-weight:normal}
pre{background:#f5f5f5;padding:.5em;overflow:auto}div{white-space:pre-line;margin:.7em 0}
pre,code{white-space:pre-wrap}ul,ol,table{white-space:normal}</style></head><body>
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotation:
    """One annotation, in the job's own words."""

    context: str
    scope: str
    style: str
    body: str
    priority: int


class Annotations:
    """Its callers take turns."""

    def __init__(self, page: Path, show: Callable[[str], object]) -> None:
        self._page = page
        self._show = show
        self._known: dict[tuple[str, str], Annotation] = {}

    @property
    def all(self) -> tuple[Annotation, ...]:
        """All annotations in the order in which they are shown."""
        return tuple(sorted(self._known.values(), key=lambda one: -one.priority))

    def answer(self, call: Call) -> Answer:
        """Answer a call about annotations. Raises MalformedError and OSError."""
        if call.route.kind is Kind.ANNOTATION_REMOVE:
            return self._remove(call.query.get("scope") or "build", call.route.name)
        document = call.document()
        annotation = _annotation(document)
        key = (annotation.scope, annotation.context)
        before = self._known.get(key)
        if before is None and len(self._known) >= MAX_ANNOTATIONS:
            return problem(422, f"a replay has at most {MAX_ANNOTATIONS} annotations")
        whole = annotation
        if before and document.get("append"):
            body = before.body + annotation.body
            whole = replace(before, body=body, style=annotation.style or before.style)
        if len(whole.body.encode("utf-8", "replace")) > MAX_BODY:
            return problem(422, f"an annotation has at most {MAX_BODY} bytes")
        others = sum(len(one.body) for of, one in self._known.items() if of != key)
        if others + len(whole.body) > MAX_TOTAL:
            return problem(422, f"all annotations have at most {MAX_TOTAL} characters")
        self._known[key] = whole
        self._write()
        self._print(annotation)
        return json_answer({})

    def _remove(self, scope: str, context: str) -> Answer:
        if self._known.pop((scope, context), None) is None:
            return problem(404, f"no annotation has the context {context!r}")
        self._write()
        self._show(f"annotation {printable(context, limit=MAX_CONTEXT)} removed")
        return Answer(status=204)

    def _print(self, one: Annotation) -> None:
        context = printable(one.context, limit=MAX_CONTEXT)
        title = f"annotation {context}" + (f" ({one.style})" if one.style else "")
        self._show("\n".join([title, *(f"┃ {line}" for line in lines(one.body))]))

    def _write(self) -> None:
        sections = [
            f'<section class="{one.style or "default"}"><h6 class="context">'
            f"{html.escape(printable(one.context, limit=MAX_CONTEXT))}</h6>\n"
            f"{to_html(one.body)}\n</section>\n"
            for one in self.all
        ]
        page = _PAGE + "".join(sections) + "</body></html>\n"
        write(self._page, page.encode("utf-8", "replace"), mode=0o644)


def _annotation(document: Mapping[str, object]) -> Annotation:
    context, style = _text(document, "context") or "default", _text(document, "style")
    scope = _text(document, "scope") or "build"
    if style not in STYLES or scope not in {"build", "job"} or len(context) > MAX_CONTEXT:
        raise MalformedError(
            f"an annotation has a context of at most {MAX_CONTEXT} characters, a style of "
            f"{', '.join(filter(None, STYLES))}, and the scope build or job"
        )
    priority = document.get("priority", 3)
    if not isinstance(priority, int) or not 1 <= priority <= 10:
        raise MalformedError("the priority of an annotation is a number from 1 to 10")
    return Annotation(
        context=context, scope=scope, style=style, body=_text(document, "body"), priority=priority
    )


def _text(document: Mapping[str, object], name: str) -> str:
    value = document.get(name, "")
    if not isinstance(value, str):
        raise MalformedError(f"{name!r} is not a text")
    return value
