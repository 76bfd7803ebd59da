"""`fmt` moves lines and loses nothing: values, comments and their order stay."""

import re
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.policy.document import load
from bootstrap.policy.layout import laid_out
from tests.policy import corpus, large

UGLY = """\r
# Owned by platform  \r
\r
\r
pipeline:   storefront   # the shop
repository:
- git@github.com:acme/storefront.git
rules:
-   name: deploy
    # when it may
    when:
        branch:
        - main

        # also releases
        - 'release/*'
        # and nothing else
    allow:
       session:
          policy: |
             {"Statement":

              []}  
# the rest
- name: rest
  allow: {workspace: fresh,
          env: [A]}


"""  # noqa: W291 - white space at ends of lines is what it is about
NEAT = """# Owned by platform

pipeline: storefront   # the shop
repository:
  - git@github.com:acme/storefront.git
rules:
  - name: deploy
    # when it may
    when:
      branch:
        - main

        # also releases
        - 'release/*'
        # and nothing else
    allow:
      session:
        policy: |
           {"Statement":

            []}  
  # the rest
  - name: rest
    allow: {workspace: fresh,
            env: [A]}
"""  # noqa: W291


def test_an_ugly_document_becomes_a_neat_one() -> None:
    assert laid_out(UGLY) == NEAT
    assert laid_out(NEAT) == NEAT


@pytest.mark.parametrize("text", [corpus.document(1), corpus.cases(1), large.document(3)])
def test_what_is_laid_out_already_stays(text: str) -> None:
    assert laid_out(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [\n", "line 2: not YAML"),
        ("a: 1\na: 2\n", "line 2: duplicate key"),
        ("a: &x 1\n", "anchors"),
        ("", "the document is empty"),
        ("a:\n-\n  b: c\n", "expected nothing but dashes before this|cannot be moved"),
        ('a: "b\u2028c"\n', "line separator"),
    ],
)
def test_what_cannot_be_laid_out_is_refused(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        laid_out(text)


VALUES = st.text("ab: #-'\"{}[]|>*!&%@`,?~\n é", max_size=12)
CONTENT = st.recursive(
    VALUES,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3)
        | st.dictionaries(VALUES, inner, min_size=1, max_size=3)
    ),
    max_leaves=8,
)
COMMENT = re.compile(r"^\s*(#.*?)\s*$", re.MULTILINE)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """Documents of any content in some layout, with comments between their lines."""
    content: Any = draw(st.dictionaries(VALUES, CONTENT, min_size=1, max_size=3))
    text = yaml.safe_dump(
        content,
        indent=draw(st.integers(2, 6)),
        default_flow_style=draw(st.sampled_from([True, False, None])),
        default_style=draw(st.sampled_from([None, '"', "'", "|", ">"])),
        allow_unicode=True,
        width=draw(st.sampled_from([10, 200])),
    )
    lines = text.split("\n")
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        lines.insert(at, " " * draw(st.integers(0, 6)) + draw(st.sampled_from(["# note  ", "  "])))
    return "\n".join(lines)


@given(documents())
def test_content_and_comments_stay_and_a_second_run_changes_nothing(text: str) -> None:
    try:
        made = laid_out(text)
    except ValueError:
        return
    assert load(made).content == load(text).content
    assert "".join(made.split()) == "".join(text.split())
    assert laid_out(made) == made
    assert made.endswith("\n")
    assert not made.startswith("\n")


@given(documents())
def test_most_layouts_are_understood(text: str) -> None:
    """Only what is no document of ours is refused, and keys behind a question mark."""
    if "? " not in text and not load(text).mistakes:
        assert laid_out(text)


@given(st.text(max_size=60) | st.text("-: #\n\r\t a", max_size=40))
def test_any_text_is_laid_out_or_refused(text: str) -> None:
    try:
        made = laid_out(text)
    except ValueError:
        return
    assert laid_out(made) == made
