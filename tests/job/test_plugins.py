"""Every spelling of a plugin is one plugin; what is not certain has no name.

What the agent makes of such spellings: tests/attacks/test_what_was_admitted_is_what_is_fetched.py.
"""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.job.plugins import (
    calling_an_engine,
    canonical,
    canonical_pattern,
    full_source,
    parse,
    why_unknown,
)

DOCKER = "github.com/buildkite-plugins/docker-buildkite-plugin#v5.12.0"


@pytest.mark.parametrize(
    "spelling",
    [
        "github.com/buildkite-plugins/docker-buildkite-plugin#v5.12.0",
        "https://github.com/buildkite-plugins/docker-buildkite-plugin#v5.12.0",
        "https://github.com/buildkite-plugins/docker-buildkite-plugin.git#v5.12.0",
        "ssh://git@github.com/buildkite-plugins/docker-buildkite-plugin#v5.12.0",
        "github.com/Buildkite-Plugins/Docker-buildkite-plugin#v5.12.0",
    ],
)
def test_spellings_of_one_plugin_have_one_name(spelling: str) -> None:
    assert canonical(spelling) == DOCKER
    assert parse(json.dumps([spelling])) == frozenset({DOCKER})
    assert parse(json.dumps([{spelling: {"image": "node"}}])) == frozenset({DOCKER})


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("github.com/acme/x", "github.com/acme/x"),
        ("github.com/acme/x.git/deploy#v1", "github.com/acme/x/deploy#v1"),
        ("gitlab.com/acme/group/x.git#v1", "gitlab.com/acme/group/x#v1"),
        ("git.example.com/team/x#v1", "https://git.example.com/team/x#v1"),
        ("https://git.example.com/x.git/sub#v1", "https://git.example.com/x.git/sub#v1"),
        ("http://10.77.0.2:80/x.git", "http://10.77.0.2:80/x.git"),
        ("ssh://ci@git.example.com/x#v1", "ssh://ci@git.example.com/x#v1"),
        ("./.buildkite/plugins/x", "./.buildkite/plugins/x"),
        (".buildkite/plugins/x", "./.buildkite/plugins/x"),
    ],
)
def test_other_locations_have_one_name(spelling: str, name: str) -> None:
    assert canonical(spelling) == canonical(name) == name


@pytest.mark.parametrize(
    "source",
    [
        "",
        "docker",  # the agent does not expand it
        "docker#v5.12.0",
        "acme/docker#v5.12.0",  # the agent clones https://acme/docker
        "github.com/acme#v1",
        "github.com/acme/..#v1",
        "github.com/acme/../evil/x#v1",
        "gitlab.com/acme/../evil/x#v1",
        "github.com/acme/x/../../evil/x#v1",
        "github.com/acme/./x#v1",
        "github.com//acme/x#v1",
        "github.com/acme/x/#v1",
        "github.com/acme/x?-buildkite-plugin#v9",
        "github.com/acme%2Fx/y#v1",
        "github.com/acme/x#v%31",
        "github.com/acme/x##v1",
        "github.com/acme/x#v1#v2",
        "github.com/acme/x#",
        "github.com/acme/x #v1",
        "github.com/acme/x#v1\n",
        "github.com\\acme\\x#v1",
        "github.com/acme/\u0445#v1",
        "GitHub.com/acme/x/sub#v1",  # the agent: no directory, but a longer repository
        "github.com:443/acme/x#v1",
        "https://github.com:443/acme/x#v1",
        "https://token@github.com/acme/x#v1",
        "https://github.com@evil.example/acme/x#v1",
        "https://user:pass@github.com/acme/x#v1",
        "ssh://mallory@github.com/acme/x#v1",
        "http://github.com/acme/x#v1",
        "git://github.com/acme/x#v1",
        "git@github.com:acme/x.git#v1",
        "zip+https://github.com/acme/x.zip#v1",
        "ext::sh -c id#v1",
        "file:///docker#v5.12.0",
        "//github.com/acme/x#v1",
        "/srv/acme/x#v1",
        "https://[::1]/acme/x#v1",
        "./x#v1",
        "./../x",
        "./x/../y",
        "../x",
        ".",
        "..",
        "github.com/acme/x/sub.git#v1",
        "https://host.git/acme/x#v1",  # the agent: the repository https://host.git
        "https://127.1/acme/x#v1",
        "git.example.com/x.git/sub.git#v1",
        "gitlab.com/acme/x.git/sub#v1",
    ],
)
def test_sources_that_may_mean_something_else_have_no_name(source: str) -> None:
    assert canonical(source) is None
    assert parse(json.dumps([source])) is None
    assert parse(json.dumps([DOCKER, {source: None}])) is None


@pytest.mark.parametrize(
    "version",
    [
        "v1~1", "v1^", "v1^{/fix}", "v1:hooks", ":/fix", "@", "@{-1}", "v1..v2", "-b", "--detach",
        "refs/tags/v1", "tags/v1", "heads/v1", "origin/v1", "origin", "v1-0-gdeadbeef",
        "v1-12-gDEAD", "*", "v1.*", "v 1", "v1/", "v1//x",
    ],
)  # fmt: skip
def test_versions_that_git_reads_as_something_else_have_no_name(version: str) -> None:
    assert canonical(f"github.com/acme/x#{version}") is None


def test_versions_that_are_branches_tags_or_commits_have_a_name() -> None:
    for version in ("main", "v1.0.0", "feature/x", "1.0+2", "0" * 40, "v1-rc1", "x-g12"):
        assert canonical(f"github.com/acme/x#{version}") == f"github.com/acme/x#{version}"


@pytest.mark.parametrize(
    ("pattern", "form"),
    [
        ("*", "*"),
        ("*#v*", "*#v*"),
        ("docker", "github.com/buildkite-plugins/docker-buildkite-plugin"),
        ("docker#v5.*", "github.com/buildkite-plugins/docker-buildkite-plugin#v5.*"),
        ("acme/*#v1.*", "github.com/acme/*-buildkite-plugin#v1.*"),
        ("github.com/acme/*#v1", "github.com/acme/*#v1"),
        ("git.example.com/team/*#v1", "https://git.example.com/team/*#v1"),
        ("ssh://git@github.com/acme/x#*", "github.com/acme/x#*"),
        ("./.buildkite/plugins/*", "./.buildkite/plugins/*"),
    ],
)
def test_policies_may_use_globs_and_short_names(pattern: str, form: str) -> None:
    assert canonical_pattern(pattern) == form


@pytest.mark.parametrize(
    "pattern",
    ["", "!docker", "plugins/deploy/**", "github.com/acme#v1", "acme/../x", "x?y#v1", "a b",
     "*/acme/x#v1", "https://*/x", "docker#", "docker#v1#v2", "GitHub.com/acme/x#v1"],
)  # fmt: skip
def test_ambiguous_patterns_have_no_form(pattern: str) -> None:
    assert canonical_pattern(pattern) is None


@pytest.mark.parametrize(
    ("source", "full"),  # as in buildkite/go-pipeline's test of FullSource
    [
        ("thing", "github.com/buildkite-plugins/thing-buildkite-plugin"),
        ("thing#main", "github.com/buildkite-plugins/thing-buildkite-plugin#main"),
        ("my-org/thing", "github.com/my-org/thing-buildkite-plugin"),
        ("./.buildkite/plugins/llamas/rock", "./.buildkite/plugins/llamas/rock"),
        ("/a-plugin", "/a-plugin"),
        ("/my-org/a-plugin", "/my-org/a-plugin"),
        ("https://my-plugin.git", "https://my-plugin.git"),
        ("file:///Users/user/Desktop/my-plugin.git", "file:///Users/user/Desktop/my-plugin.git"),
        ("my:plugin", "my:plugin"),
    ],
)
def test_short_names_are_expanded_as_buildkite_does(source: str, full: str) -> None:
    assert full_source(source) == full_source(full) == full


def test_an_empty_list_is_no_plugins() -> None:
    assert parse("") == parse("[]") == frozenset()


@pytest.mark.parametrize(
    "text", ["{", "{}", '"docker"', "[1]", '[{"a": 1, "b": 2}]', "[{}]", "[null]", "[" * 100_000]
)
def test_text_that_is_not_a_list_of_plugins_is_unknown(text: str) -> None:
    assert parse(text) is None


def test_a_refusal_names_the_plugin() -> None:
    assert "'acme/x#v1'" in why_unknown(json.dumps([DOCKER, {"acme/x#v1": {}}]))
    assert why_unknown("{") == "BUILDKITE_PLUGINS is not the list that Buildkite sends"


SOURCES = st.text() | st.from_regex(
    r"((https?|ssh)://)?(git@)?(github\.com|gitlab\.com|[a-z.]{1,5})(/[a-zA-Z.~%-]{0,6}){0,4}"
    r"(\.git)?(#[a-z0-9./-]{0,6})?",
    fullmatch=True,
)


@given(SOURCES)
def test_a_name_is_its_own_name(source: str) -> None:
    parse(source)
    name = canonical(source)
    assert name is None or canonical(name) == canonical_pattern(name) == name


@pytest.mark.parametrize(
    ("plugins", "called"),
    [
        ([], ()),
        (["docker-compose", "docker"], ("docker", "docker-compose")),
        ([{"docker#v5.13.0": {"image": "node:22"}}, "docker-login#v3"], ("docker",)),
        (["acme/docker#v1", "./docker"], ()),
    ],
)
def test_plugins_that_call_an_engine_are_known(plugins: list[object], called: object) -> None:
    uploaded = [
        {full_source(key): value for key, value in one.items()}
        if isinstance(one, dict) else full_source(str(one))
        for one in plugins
    ]  # fmt: skip
    assert calling_an_engine(json.dumps(uploaded)) == called


@given(st.text())
def test_what_is_no_list_of_plugins_calls_none(text: str) -> None:
    assert calling_an_engine(text) == ()
