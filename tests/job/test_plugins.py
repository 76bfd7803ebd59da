"""Every spelling of a plugin is one plugin; what cannot be told is nothing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.job.plugins import canonical, parse

DOCKER = "github.com/buildkite-plugins/docker-buildkite-plugin#v5.12.0"


@pytest.mark.parametrize(
    "spelling",
    [
        "docker#v5.12.0",
        "buildkite-plugins/docker#v5.12.0",
        "github.com/buildkite-plugins/docker-buildkite-plugin#v5.12.0",
        "https://github.com/buildkite-plugins/docker-buildkite-plugin#v5.12.0",
        "https://github.com/buildkite-plugins/docker-buildkite-plugin.git#v5.12.0",
        "https://token@github.com/buildkite-plugins/docker-buildkite-plugin#v5.12.0",
        "ssh://git@github.com/buildkite-plugins/docker-buildkite-plugin#v5.12.0",
        "GitHub.com/buildkite-plugins/docker-buildkite-plugin#v5.12.0",
    ],
)
def test_spellings_of_one_plugin(spelling: str) -> None:
    assert canonical(spelling) == DOCKER
    assert parse(json.dumps([spelling])) == frozenset({DOCKER})
    assert parse(json.dumps([{spelling: {"image": "node"}}])) == frozenset({DOCKER})


@pytest.mark.parametrize(
    "other",
    [
        "docker",
        "docker#v5.12.1",
        "mallory/docker#v5.12.0",
        "github.com.evil.example/buildkite-plugins/docker-buildkite-plugin#v5.12.0",
        "https://github.com@evil.example/buildkite-plugins/docker-buildkite-plugin#v5.12.0",
        "evil.example/github.com/buildkite-plugins/docker-buildkite-plugin#v5.12.0",
        "./docker#v5.12.0",
        "file:///docker#v5.12.0",
    ],
)
def test_other_plugins(other: str) -> None:
    assert canonical(other) != DOCKER


def test_globs_of_policies_survive() -> None:
    assert canonical("*") == "*"
    assert canonical("*#v*") == "*#v*"
    assert canonical("acme/*#v1.*") == "github.com/acme/*-buildkite-plugin#v1.*"


def test_no_plugins() -> None:
    assert parse("") == parse("[]") == frozenset()


@pytest.mark.parametrize(
    "text", ["{", "{}", '"docker"', "[1]", '[{"a": 1, "b": 2}]', "[{}]", "[null]", "[" * 100_000]
)
def test_what_cannot_be_told(text: str) -> None:
    assert parse(text) is None


@given(st.text())
def test_no_text_is_a_traceback(text: str) -> None:
    parse(text)
    assert canonical(canonical(text)) == canonical(text) or "/" not in text
