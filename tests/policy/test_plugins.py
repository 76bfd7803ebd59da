"""Which plugins a list admits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.policy.plugins import admits

DOCKER = "github.com/buildkite-plugins/docker-buildkite-plugin"


@pytest.mark.parametrize(
    ("patterns", "plugin"),
    [
        (["*"], f"{DOCKER}#v5"),
        (["*"], DOCKER),
        (["*"], "./.buildkite/plugins/x"),
        (["*#v*"], "https://git.example.com/team/x#v1"),
        (["docker"], DOCKER),
        (["docker#*"], f"{DOCKER}#feature/x"),
        (["evil", "docker#v5.*"], f"{DOCKER}#v5.1.0"),
        (["acme/*#v*"], "github.com/acme/x-buildkite-plugin#v1"),
        (["github.com/acme/plugins/*#v1"], "github.com/acme/plugins/deploy#v1"),
        (["gitlab.com/acme/*/*#v1"], "gitlab.com/acme/group/x#v1"),
        (["https://git.example.com/team/*#v1"], "https://git.example.com/team/x#v1"),
        (["./.buildkite/plugins/*"], "./.buildkite/plugins/x"),
        (["!evil"], f"{DOCKER}#v5"),
        (["*", "!docker#v4.*"], f"{DOCKER}#v5"),
        (["*", "!acme/x"], "github.com/acme/xy-buildkite-plugin#v1"),
    ],
)
def test_a_plugin_on_the_list_is_admitted(patterns: list[str], plugin: str) -> None:
    assert admits(patterns, plugin)


@pytest.mark.parametrize(
    ("patterns", "plugin"),
    [
        ([], DOCKER),
        (["*#v*"], DOCKER),
        (["*#*"], DOCKER),
        (["docker"], f"{DOCKER}#v5"),
        (["docker#*"], DOCKER),
        (["github.com/acme/*#v*"], "github.com/acme/x/sub#v1"),
        (["github.com/*/*#v*"], "gitlab.com/acme/x#v1"),
        (["gitlab.com/acme/*#v*"], "gitlab.com/acme/group/x#v1"),
        (["git.example.com/team/*#v1"], "http://git.example.com/team/x#v1"),
        (["git.example.com/team/*#v1"], "ssh://git@git.example.com/team/x#v1"),
        (["./.buildkite/plugins/*"], "./.buildkite/plugins/x/y"),
        (["a b"], DOCKER),  # no pattern at all, which the grammar of policies refuses
        (["*", "!a b"], DOCKER),
        (["*", "!docker"], f"{DOCKER}#v5"),
        (["*", "!docker#v5*"], f"{DOCKER}#v5.1"),
        (["*", "!acme/x"], "github.com/acme/x-buildkite-plugin/sub#v1"),
        (["*", "!git.example.com/team/x"], "ssh://ci@git.example.com:2222/Team/x.git#v1"),
        (["*", "!*"], DOCKER),
        (["!*#v*"], f"{DOCKER}#v5"),
    ],
)
def test_a_plugin_off_the_list_is_not_admitted(patterns: list[str], plugin: str) -> None:
    assert not admits(patterns, plugin)


@given(st.lists(st.text(max_size=8), max_size=4), st.text(max_size=8))
def test_a_further_negation_never_admits_a_plugin(patterns: list[str], more: str) -> None:
    if any(not pattern.startswith("!") for pattern in patterns):
        assert admits([*patterns, f"!{more}"], DOCKER) <= admits(patterns, DOCKER)
