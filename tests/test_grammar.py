"""The keys of every place in a document, by the JSON schemas that editors use too."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap import grammar
from bootstrap.commands.policy.schema import json_schema

DOCUMENTS = ("policy", "guardrails", "cases")
STEPS = st.sampled_from([
    "rules", "when", "allow", "services", "db", "limits", "session", "env", "requires", "scopes",
    "cases", "given", "expect", "egress", 0, 1,
])  # fmt: skip


def test_keys_are_those_of_the_place() -> None:
    policy = json_schema("policy")
    assert grammar.keys(policy, ()) == ("pipeline", "repository", "rules")
    assert grammar.keys(policy, ("rules", 3)) == ("name", "when", "allow")
    assert grammar.keys(policy, ("rules", 0, "allow", "limits")) == ("memory", "cpus", "pids")
    assert "ready-within" in grammar.keys(policy, ("rules", 0, "allow", "services", "db"))
    assert grammar.keys(policy, ("rules", 0, "allow", "egress"))[:2] == ("hosts", "cidrs")


@pytest.mark.parametrize("path", [
    ("rules",), ("rules", 0, "name"), ("rules", 0, "allow", "services"), ("no", "such", "place"),
])  # fmt: skip
def test_other_places_have_no_keys(path: tuple[str | int, ...]) -> None:
    assert grammar.keys(json_schema("policy"), path) == ()


def test_places_of_a_key_are_all_where_it_may_be_the_shortest_first() -> None:
    assert grammar.places(json_schema("policy"), "limits") == (
        "rules[].allow", "rules[].allow.services.NAME",
    )  # fmt: skip
    assert grammar.places(json_schema("policy"), "pipeline") == ("",)
    assert grammar.places(json_schema("policy"), "nothing") == ()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_key_has_the_place_at_which_it_is_one(document: str) -> None:
    schema = json_schema(document)
    for key in grammar.keys(schema, ()):
        assert "" in grammar.places(schema, key)


@given(document=st.sampled_from(DOCUMENTS), path=st.lists(STEPS | st.text(max_size=3), max_size=6))
def test_any_path_has_keys_or_none(document: str, path: list[Any]) -> None:
    found = grammar.keys(json_schema(document), tuple(path))
    assert len(set(found)) == len(found)
    for key in found:
        assert grammar.places(json_schema(document), key)
