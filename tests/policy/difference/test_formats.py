"""Changes as Markdown and SARIF: nothing that an author of policies writes ends its place."""

import json
import re
from html.parser import HTMLParser

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.policy.difference import Change, Kind, Place, Way
from bootstrap.policy.difference.listing import NO_CHANGE, lines, summary
from bootstrap.policy.difference.markdown import LONGEST, markdown
from bootstrap.policy.difference.model import EVERY
from bootstrap.policy.difference.sarif import sarif

HOSTILE = (
    "x</code></td></tr></table>\n\n# Approved\n", "`", "``` ```", "|", "\\|", "<script>", "&lt;",
    "@acme/security", "#1", "[approve](https://evil.example.com)", "![](https://evil.example.com)",
    "-->", "</details>", "\r\n\r\n", "\u2028", "\u202e", "\x1b[2J", "\0", "http://evil.example.com",
    ":tada:", "*bold*", "\ud800",
)  # fmt: skip
texts = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=30), max_size=4).map("".join)
changes = st.lists(
    st.builds(
        Change, kind=st.sampled_from(Kind), pipeline=texts, what=st.just("role"), name=texts,
        ways=st.lists(st.builds(Way, jobs=texts, before=texts, after=texts), min_size=1,
                      max_size=3).map(tuple),
        place=st.builds(Place, origin=texts, line=st.integers(0, 9)),
    ),
    min_size=1, max_size=5,
)  # fmt: skip


class Elements(HTMLParser):
    """The elements of a page in their order, and the text outside of <code>."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.plain: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not attrs
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.tags.append(f"/{tag}")

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] != ["code"]:
            self.plain.append(data)


def harmless(change: Change) -> Change:
    """The same change with a letter in place of each text of an author."""
    ways = tuple(Way(jobs=w.jobs and "a", before="b", after="c") for w in change.ways)
    return Change(
        kind=change.kind, pipeline=change.pipeline and "p", what=change.what,
        name=change.name and "n", ways=ways, place=change.place,
    )  # fmt: skip


@given(changes)
def test_markdown_has_the_same_structure_whatever_authors_write(found: list[Change]) -> None:
    page = markdown(found)
    expected = markdown([harmless(change) for change in found])
    got, wanted = Elements(page), Elements(expected)
    assert got.tags == wanted.tags
    strip_counts = re.compile(r"\*\*.*\*\*")  # two pipelines may become one
    assert strip_counts.sub("", "".join(got.plain)) == strip_counts.sub("", "".join(wanted.plain))
    assert page.count("\n") == expected.count("\n")
    assert "\r" not in page
    for block in re.findall(r"<table>.*?</table>", page, re.DOTALL):
        assert "\n\n" not in block
        assert all(line.startswith("<") for line in block.splitlines())


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_an_author_is_inside_of_code_alone(text: str) -> None:
    way = Way(jobs=text, before=text, after=text)
    place = Place(origin=text, line=1)
    page = markdown([
        Change(kind=Kind.GAINS, pipeline=text, what="role", name=text, ways=(way,), place=place)
    ])  # fmt: skip
    outside = re.sub(r"<code>[^<]*</code>", "", page)
    assert outside == re.sub(r"<code>[^<]*</code>", "", markdown([
        Change(kind=Kind.GAINS, pipeline="p", what="role", name="n",
               ways=(Way(jobs="j", before="b", after="a"),), place=place)
    ]))  # fmt: skip


def many(number: int, length: int) -> list[Change]:
    long = "<&" * length
    return [
        Change(
            kind=Kind.LOSES if i % 2 else Kind.GAINS, pipeline=f"p{i}", what="role", name=long,
            ways=(Way(jobs=long, before=long, after=long),), place=Place(origin="x", line=1),
        )
        for i in range(number)
    ]  # fmt: skip


@pytest.mark.parametrize(("number", "length"), [(1, 100_000), (1000, 10), (5000, 3000)])
def test_a_comment_is_never_too_long_and_counts_what_is_left_out(number: int, length: int) -> None:
    page = markdown(many(number, length))
    assert len(page) <= LONGEST
    assert page.endswith("</table>\n</details>\n")
    assert page.count("<tr><td><b>gains</b>") >= 1
    if number > 1:
        (first, second) = map(int, re.findall(r"<td>(\d+) rows more", page))
        shown = page.count("<tr><td><b>gains</b>") + page.count("<tr><td>loses")
        assert first == number - shown
        assert second > 0
    assert f"{(number + 1) // 2} pipeline" in page.splitlines()[2]


def test_many_changes_of_one_pipeline_hide_none_of_another_and_of_the_guardrails() -> None:
    place = Place(origin="x", line=1)
    way = Way(jobs="", before="b", after="a")
    noise = [
        Change(kind=Kind.GAINS, pipeline="a", what="role", name=f"{i}", ways=(way,), place=place)
        for i in range(2000)
    ]
    one = Change(
        kind=Kind.GAINS, pipeline="z", what="role", name="hidden", ways=(way,), place=place
    )
    rails = Change(kind=Kind.CHANGES, pipeline=EVERY, what="guardrails", ways=(way,), place=place)
    page = markdown([*noise, one, rails])
    table, _, details = page.partition("<details>")
    for part in (table, details):
        assert "<code>hidden</code>" in part
        assert "every pipeline" in part.removeprefix("### Changes of access\n\n**The guardrails")


def test_no_change_is_one_sentence_in_every_format() -> None:
    assert list(lines([])) == [NO_CHANGE]
    assert markdown([]) == f"### Changes of access\n\n{NO_CHANGE}\n"
    assert sarif([], version="1", uri=str)["runs"][0]["results"] == []


def test_the_summary_counts_pipelines_by_what_they_gain_and_lose() -> None:
    def one(kind: Kind, pipeline: str) -> Change:
        way = Way(jobs="", before="a", after="b")
        place = Place(origin="x", line=1)
        return Change(kind=kind, pipeline=pipeline, what="role", ways=(way,), place=place)

    found = [one(Kind.GAINS, EVERY), one(Kind.GAINS, "a"), one(Kind.LOSES, "a"),
             one(Kind.GAINS, "b"), one(Kind.CHANGES, "b"), one(Kind.CHANGES, "c")]  # fmt: skip
    assert summary(found) == (
        "The guardrails change: every pipeline gains; 2 pipelines gain access; "
        "1 pipeline loses access; 1 pipeline changes otherwise."
    )


# What SARIF 2.1.0 requires of the objects that are written, and the closed sets of values.
REQUIRED = {
    "type": "object",
    "required": ["version", "runs"],
    "properties": {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"const": "2.1.0"},
        "runs": {"type": "array", "items": {
            "type": "object",
            "required": ["tool"],
            "properties": {
                "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                "tool": {"type": "object", "required": ["driver"], "properties": {"driver": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"rules": {"type": "array", "uniqueItems": True, "items": {
                        "type": "object", "required": ["id"],
                        "properties": {"shortDescription": {"required": ["text"]}},
                    }}},
                }}},
                "results": {"type": "array", "items": {
                    "type": "object",
                    "required": ["message"],
                    "properties": {
                        "level": {"enum": ["none", "note", "warning", "error"]},
                        "message": {"type": "object", "required": ["text"]},
                        "partialFingerprints": {"additionalProperties": {"type": "string"}},
                        "locations": {"type": "array", "items": {"properties": {
                            "physicalLocation": {"required": ["artifactLocation"], "properties": {
                                "region": {"properties": {
                                    "startLine": {"type": "integer", "minimum": 1}
                                }},
                            }},
                        }}},
                    },
                }},
            },
        }},
    },
}  # fmt: skip


@given(changes)
def test_sarif_has_what_its_schema_requires_and_no_links_of_authors(found: list[Change]) -> None:
    document = json.loads(json.dumps(sarif(found, version="1", uri=str)))
    jsonschema.validate(document, REQUIRED)
    (run,) = document["runs"]
    rules = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    assert {result["ruleId"] for result in run["results"]} <= rules
    assert len(run["results"]) == len(found)
    for result in run["results"]:
        plain = re.sub(r"\\.|\{\{|\}\}", "", result["message"]["text"], flags=re.DOTALL)
        assert not set("[]{}\\") & set(plain)
