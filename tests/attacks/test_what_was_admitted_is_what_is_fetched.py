"""Repositories and plugins: what a policy admits is what git and the agent fetch.

The real git and the real agent resolve generated spellings: tests.lab.contacts records which host
they contact, and nothing leaves the machine. Two spellings that are equal for Airlock have to be
equal for them. The previous parsers fail the same test.
"""

import json
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from bootstrap.job import plugins
from bootstrap.job.repository import Repository, parse, same
from bootstrap.policy.plugins import admits
from tests.attacks.spellings import (
    PLUGINS,
    REPOSITORIES,
    admitted_before,
    generated,
    plugin_before,
    repository_before,
)
from tests.fakes.git import git, publish
from tests.lab.agent import binary
from tests.lab.contacts import Clone, Contact, Recorder, agent_clones, recorder

pytestmark = pytest.mark.skipif(
    not (shutil.which("git") and shutil.which("openssl")), reason="git and openssl are not here"
)

Contacts = Mapping[str, Contact | None]
Reached = tuple[str | None, ...] | None
PORTS = {"ssh": "22", "https": "443", "http": "80", "git": "9418"}


def reached(contact: Contact | None) -> Reached:
    """Return the identity of a repository. Three hosts document several forms as equal."""
    if contact is None:
        return None
    host = contact.host.lower()
    port = None if contact.port == PORTS[contact.transport] else contact.port
    ordinary = (contact.transport, contact.user) in {
        ("https", None),
        ("ssh", None),
        ("ssh", "git"),
    }
    if ordinary and host in {"github.com", "gitlab.com", "bitbucket.org"} and not port:
        path = contact.path.strip("/").removesuffix(".git").lower()
        if "%" not in path:
            return host, path
    return contact.transport, contact.user, host, port, contact.path


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorder]:
    with recorder(tmp_path_factory.mktemp("asked") / "git") as made:
        yield made


URLS = [
    *generated(REPOSITORIES, 700, seed=8),
    "evil.example:x@github.com:acme/storefront.git",
    "ext::sh -c id@github.com:acme/storefront.git",
    "mallory@git.example.com:acme/storefront.git",
]


@pytest.fixture(scope="module")
def contacts(asked: Recorder) -> Contacts:
    return asked.ask(URLS)


def test_equal_repositories_are_one_contact_for_git(contacts: Contacts) -> None:
    together: dict[Repository, set[Reached]] = defaultdict(set)
    for url in URLS:
        if meaning := parse(url):
            together[meaning].add(reached(contacts[url]))
    assert {m: found for m, found in together.items() if len(found) != 1 or None in found} == {}
    known = [url for url in URLS if parse(url)]
    alike = [url for url in known if any(same(url, honest) for honest in REPOSITORIES)]
    assert len(URLS) == 703
    assert len(known) >= 150, "the spellings prove nothing"
    assert len(set(alike) - set(REPOSITORIES)) >= 30, "the spellings prove nothing"


def test_parsed_repository_matches_contact_of_git(contacts: Contacts) -> None:
    known = {url: meaning for url in URLS if (meaning := parse(url))}
    assert {url: meaning.host for url, meaning in known.items()} == {
        url: (contact := contacts[url]) and contact.host.lower() for url in known
    }
    plain = {url: meaning for url, meaning in known.items() if meaning.transport != "forge"}
    assert len(plain) >= 50, "the spellings prove nothing"
    for url, meaning in plain.items():
        contact, port = contacts[url], PORTS[meaning.transport]
        assert contact, url
        assert (meaning.transport, meaning.user) == (contact.transport, contact.user), url
        assert (meaning.port or port) == (contact.port or port), url
        assert meaning.path == contact.path, url


def test_honest_repository_spellings_are_parsed() -> None:
    assert all(same(url, url) for url in REPOSITORIES)


def test_previous_repository_comparison_is_caught(contacts: Contacts) -> None:
    caught = {
        url
        for url in URLS
        for honest in REPOSITORIES
        if repository_before(url) == repository_before(honest) is not None
        if reached(contacts[url]) != reached(contacts[honest])
    }
    assert len(caught) >= 20
    assert set(URLS[-3:]) <= caught


SOURCES = [
    *generated(PLUGINS, 500, seed=8),
    "gitlab.com/acme/../evil/repo#v1",
    "github.com/acme/storefront?-buildkite-plugin#v9",
]


def name(source: str) -> str | None:
    names = plugins.parse(json.dumps([source]))
    return next(iter(names)) if names else None


@pytest.fixture(scope="module")
def agent() -> Path:
    """Return the real agent, which the lab builds as root; it needs nothing else of the lab."""
    if os.geteuid() != 0:
        pytest.skip("the lab needs root")
    try:
        return binary()
    except RuntimeError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def clones(agent: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Clone | None]:
    return agent_clones(agent, tmp_path_factory.mktemp("clones") / "agent", SOURCES)


@pytest.fixture(scope="module")
def cloned(asked: Recorder, clones: Mapping[str, Clone | None]) -> Contacts:
    return asked.ask(clone.url for clone in clones.values() if clone)


@pytest.mark.lab
def test_equal_plugin_names_are_one_clone_for_agent(
    clones: Mapping[str, Clone | None], cloned: Contacts
) -> None:
    together: dict[str, set[object]] = defaultdict(set)
    for source in SOURCES:
        if called := name(source):
            together[called].add(resolved(clones[source], cloned))
    assert {called: found for called, found in together.items() if len(found) != 1} == {}
    assert len(SOURCES) == 502
    assert len(together) >= 80, "the spellings prove nothing"
    assert sum(name(source) is not None for source in SOURCES) - len(together) >= 10


def resolved(clone: Clone | None, cloned: Contacts) -> object:
    return clone and (reached(cloned[clone.url]), clone.ref, clone.directory)


@pytest.mark.lab
def test_plugin_name_matches_clone_of_agent(
    clones: Mapping[str, Clone | None], cloned: Contacts
) -> None:
    named = {source: called for source in SOURCES if (called := name(source))}
    local = {source for source, called in named.items() if called.startswith("./")}
    found = {source: clone for source in named if (clone := clones[source])}
    assert local
    assert found
    assert local == named.keys() - found.keys()
    for source, clone in found.items():
        assert matches(named[source], clone, cloned[clone.url]), (source, named[source], clone)


def matches(called: str, clone: Clone, contact: Contact | None) -> bool:
    """Return whether the agent cloned what a reader of the name expects."""
    location, _, version = called.partition("#")
    inside = "" if clone.directory == "." else f"/{clone.directory}"
    if "://" in location:
        where = clone.url + inside
    else:
        assert contact, clone
        where = "/".join(part for part in reached(contact) or () if part) + inside
    return where == location and (clone.ref or "") == version


@pytest.mark.lab
def test_previous_plugin_naming_is_caught(
    clones: Mapping[str, Clone | None], cloned: Contacts
) -> None:
    together: dict[str, set[object]] = defaultdict(set)
    for source in SOURCES:
        together[plugin_before(source)].add(resolved(clones[source], cloned))
    assert sum(len(found - {None}) > 1 for found in together.values()) >= 5


# (a list's pattern, what its author means, an attack that it admitted, an honest source)
HOST = r"git\.example\.com"
LISTS: list[tuple[str, str, str, str]] = [
    ("gitlab.com/acme/*#v*", r"https://gitlab\.com/acme/[^/]+",
     "gitlab.com/acme/../evil/repo#v1", "gitlab.com/acme/deploy#v1"),
    ("acme/*#v*", r"https://github\.com/acme/[^/]+-buildkite-plugin",
     "github.com/acme/storefront?-buildkite-plugin#v9",
     "github.com/acme/deploy-buildkite-plugin#v1"),
    ("acme/*#v*", r"https://github\.com/acme/[^/]+-buildkite-plugin",
     "acme/deploy#v1", "github.com/acme/deploy-buildkite-plugin#v1"),
    ("github.com/acme/*#v*", r"https://github\.com/acme/[^/]+",
     "http://github.com/acme/deploy#v1", "github.com/acme/deploy#v1"),
    ("git.example.com/plugins/deploy/*#v*", rf"https://{HOST}/plugins/deploy/[^/]+",
     "git.example.com/plugins/deploy/../evil#v1", "git.example.com/plugins/deploy/x#v1"),
    ("git.example.com/acme/*#v*", rf"https://{HOST}/acme/[^/]+",
     "git.example.com/acme/..%2F..%2Fmallory%2Fx#v1", "git.example.com/acme/x#v1"),
    ("git.example.com/acme/*#v*", rf"https://{HOST}/acme/[^/]+",
     "git.example.com/acme//../../mallory/x#v1", "git.example.com/acme/x#v1"),
    ("git.example.com/acme/*#v*", rf"https://{HOST}/acme/[^/]+",
     "ssh://mallory@git.example.com/acme/x#v1", "git.example.com/acme/x#v1"),
    ("git.example.com/acme/*#v*", rf"https://{HOST}/acme/[^/]+",
     "git.example.com/acme/x/../../mallory/x#v1", "https://git.example.com/acme/x#v1"),
]  # fmt: skip


@pytest.mark.lab
@pytest.mark.parametrize("row", LISTS, ids=[row[2].replace("/", "|") for row in LISTS])
def test_plugin_list_admits_no_more_than_author_means(
    row: tuple[str, str, str, str], agent: Path, asked: Recorder, tmp_path: Path
) -> None:
    pattern, means, attack, honest = row
    clones = agent_clones(agent, tmp_path / "agent", [attack, honest])
    contacts = asked.ask(clone.url for clone in clones.values() if clone)

    def is_meant(source: str) -> bool:
        clone = clones[source]
        contact = contacts[clone.url] if clone else None
        if contact is None:
            return False
        user = f"{contact.user}@" if contact.user else ""
        url = f"{contact.transport}://{user}{contact.host}{contact.path.removesuffix('.git')}"
        return re.fullmatch(means, url) is not None

    assert admitted_before([pattern], attack)
    assert not is_meant(attack), "the row proves nothing"
    assert not admitted(pattern, attack)
    assert admitted(pattern, honest)
    assert is_meant(honest)


def admitted(pattern: str, source: str) -> bool:
    names = plugins.parse(json.dumps([source]))
    return names is not None and all(admits([pattern], called) for called in names)


def test_plugin_version_with_commit_suffix_is_not_admitted_as_version(tmp_path: Path) -> None:
    """Git reads `v5.1.0-1-gCOMMIT` as that commit, on any branch of the plugin."""
    publish(tmp_path, "plugin", {"hooks/command": "#!/bin/sh\n"})
    work = tmp_path / "plugin.work"
    git(work, "tag", "v5.1.0")
    git(work, "commit", "-q", "--allow-empty", "-m", "of an author who may not tag")
    evil = git(work, "rev-parse", "HEAD").strip()
    git(work, "push", "-q", "--tags", str(tmp_path / "plugin.git"), "v5.1.0", "HEAD:refs/heads/x")
    git(tmp_path, "clone", "-q", str(tmp_path / "plugin.git"), "clone")
    version = f"v5.1.0-1-g{evil[:12]}"
    git(tmp_path / "clone", "checkout", "-q", "-f", version)
    assert git(tmp_path / "clone", "rev-parse", "HEAD").strip() == evil
    source = "github.com/buildkite-plugins/docker-buildkite-plugin"
    assert admitted_before(["docker#v5.*"], f"{source}#{version}")
    assert not admitted("docker#v5.*", f"{source}#{version}")
    assert admitted("docker#v5.*", f"{source}#v5.1.0")
