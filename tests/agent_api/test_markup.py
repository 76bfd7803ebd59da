"""Annotations as HTML and on a terminal: whatever a job writes, nothing of it acts."""

import time
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.agent_api.offline import markup
from bootstrap.agent_api.offline.markup import MAX_LINES, lines, to_html
from tests.agent_api.served import is_harmless

PLAIN = markup.TAGS | {"div"}
PIECES = st.sampled_from([
    "<script>", "</script>", "<b>", "</b>", "<details>", "</details>", "<img src=x onerror=y>",
    "<a href=javascript:x>", "`", "```\n", "**", "*", "[a](https://b.example)", "[a](javascript:b)",
    "![x](https://c.example/`d`)", "[`a`](http://b.example/**c**)", "[<b>](http://e.example/<b>)",
    "\x000\x00", "\x00", "\x1b[31m", "\x1b]0;title\x07", "\n", "\n\n", "- ", "# ", "&lt;script&gt;",
    "&", '"', "'", "<b", ">", "<section>", "</section>", "<iframe srcdoc=x>", "\u202e", "é",
    "<br/>",
    "[a](artifact://x/<script>)", "<style>", "<pre>", "</pre>", "<B>", "<b >", "<b onclick=x>",
])  # fmt: skip
TEXTS = st.lists(PIECES | st.text(max_size=5), max_size=12).map("".join)


class Elements(HTMLParser):
    """Collects what a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_comment(self, data: str) -> None:
        self.found.append(("comment", {"data": data}))

    def handle_decl(self, decl: str) -> None:
        self.found.append(("declaration", {"decl": decl}))


@given(TEXTS)
def test_html_has_plain_elements_and_links_only(text: str) -> None:
    rendered = to_html(text)
    elements = Elements()
    elements.feed(rendered)
    elements.close()
    for tag, attributes in elements.found:
        if tag == "a":
            assert set(attributes) == {"href", "rel"}
            assert str(attributes["href"]).startswith(("http://", "https://"))
        else:
            assert tag in PLAIN
            assert attributes == {}
    assert "\x00" not in rendered
    assert "\x1b" not in rendered


@given(TEXTS)
def test_no_line_has_anything_for_a_terminal(text: str) -> None:
    shown = lines(text)
    assert len(shown) <= MAX_LINES + 1
    assert all(is_harmless(line) for line in shown)


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("a **b** *c* `d<e` f", "a <strong>b</strong> <em>c</em> <code>d&lt;e</code> f"),
        ("## Title", "<h2>Title</h2>"),
        ("- a\n- b", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>"),
        ("```term\na < b\n```", "<pre>a &lt; b</pre>"),
        ("<details><summary>x</summary>y</details>", "<details><summary>x</summary>y</details>"),
        ("<details><summary>x</summary>\n\ny\n\n</details>",
         "<details><summary>x</summary>\n\ny\n\n</details>"),
        ("<details>x", "&lt;details&gt;x"),
        ("<b><i></b></i>", "&lt;b&gt;&lt;i&gt;&lt;/b&gt;&lt;/i&gt;"),
        ("<b onclick=x>a</b>", "&lt;b onclick=x&gt;a&lt;/b&gt;"),
        ("[x](https://a.example/b?c=d&e)",
         '<a href="https://a.example/b?c=d&amp;e" rel="noopener noreferrer">x</a>'),
        ("[x](javascript:alert)", "[x](javascript:alert)"),
        ("![log](artifact://out/a.log)", "<code>log</code> (out/a.log)"),
    ],
)  # fmt: skip
def test_common_markdown_is_rendered(text: str, html: str) -> None:
    assert to_html(text) == f"<div>{html}</div>"


@pytest.mark.parametrize("piece", ["```a\n", "**a", "[a](", "<b>", "`", "*a ", "[[", "# ", "\n- a"])
def test_no_text_takes_long(piece: str) -> None:
    started = time.process_time()
    to_html(piece * (200_000 // len(piece)))
    assert time.process_time() - started < 5


def test_a_long_annotation_is_cut_on_a_terminal() -> None:
    shown = lines("x\n" * 1000)
    assert len(lines("x" * 1000)[0]) == 501
    assert shown[-1] == "… 801 more lines are in the HTML file"
