"""The plugins of a job, each under one name for all its spellings.

The agent (agent/plugin/plugin.go) reads a source as a URL: it drops the query, decodes what is
percent-encoded, and clones what is left of host and path, with `#` before what it checks out. A
source that means something else to it than to the reader of an allow-list has no name. Both are
compared in tests/attacks/test_what_was_admitted_is_what_is_fetched.py.

`docker#v5` is a short name: Buildkite expands it when a pipeline is uploaded, and the agent does
not. `acme/x#v1` in a job makes the agent clone `https://acme/x`.
"""

import json
import re
from functools import cache

from bootstrap.job.repository import FORGES, is_host

_CALLING_AN_ENGINE = ("docker", "docker-compose")
_SHORT = re.compile(r"(?!\.)[^#/:]+(?:/[^#/:]+)?(?:#.*)?", re.DOTALL)


@cache
def _grammar(glob: str) -> re.Pattern[str]:
    """Return the form of a source; `glob` is allowed where letters are."""
    segment = rf"[A-Za-z0-9._~+{glob}][A-Za-z0-9._~+{glob}-]*"
    # Not another spelling of a ref, nor `name-1-gCOMMIT`, which git takes for that commit.
    version = (
        r"(?!(?:refs|heads|tags|remotes|origin)(?:/|$))(?!.*(?:\.\.|//|[/.]$|-g[0-9A-Fa-f]{4,}$))"
        rf"[A-Za-z0-9_{glob}][A-Za-z0-9._/+{glob}-]*"
    )
    return re.compile(
        r"(?:(?P<scheme>https?|ssh)://(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9._-]*)@)?)?"
        r"(?P<host>[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?)(?P<port>:[1-9][0-9]{0,4})?"
        rf"(?P<path>(?:/{segment})+)(?:#(?P<version>{version}))?"
        rf"|(?P<vendored>\.{segment}(?:/{segment})*|\.(?:/{segment})+)"
        rf"|(?P<any>{re.escape(glob) or '(?!)'})(?:#(?P<any_version>{version}))?"
    )


def parse(text: str) -> frozenset[str] | None:
    """Read BUILDKITE_PLUGINS: the plugins' names; None if one of them is not certain.

    Empty means no plugins. The configuration of a plugin is ignored.
    """
    sources = _sources(text)
    if sources is None:
        return None
    names = [canonical(source) for source in sources]
    known = [name for name in names if name]
    return frozenset(known) if len(known) == len(names) else None


def calling_an_engine(text: str) -> tuple[str, ...]:
    """Return the plugins of BUILDKITE_PLUGINS that call a Docker Engine, by their short names."""
    names = {name.partition("#")[0] for name in parse(text) or ()}
    return tuple(short for short in _CALLING_AN_ENGINE if full_source(short) in names)


def why_unknown(text: str) -> str:
    """Return why `parse` returns None."""
    for source in _sources(text) or ():
        if canonical(source) is None:
            return (
                f"BUILDKITE_PLUGINS has {source!r}, which may be another plugin to the agent than "
                "to a reader; expected host/owner/name#version or ./path"
            )
    return "BUILDKITE_PLUGINS is not the list that Buildkite sends"


def _sources(text: str) -> list[str] | None:
    if not text:
        return []
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return list(map(_source, listed)) if isinstance(listed, list) else None


def _source(entry: object) -> str:
    """Return the source of an entry: a source, or a mapping of one to its configuration."""
    if isinstance(entry, dict):
        entry = next(iter(entry)) if len(entry) == 1 else None
    return entry if isinstance(entry, str) else ""


def canonical(source: str) -> str | None:
    """Return the name of the plugin that the agent fetches for a job's `source`, or None.

    `github.com/owner/name#version`, with a plugin's directory after the name, on the FORGES;
    elsewhere with the scheme before it, for a host may serve different content by each. Plugins
    vendored in the repository are `./path`.
    """
    match = _grammar("").fullmatch(source)
    return _named(match) if match else None


def canonical_pattern(pattern: str) -> str | None:
    """Return the form in which a policy's `pattern` is compared with names, or None.

    It is a name with `*` in it, or a short name; without the `!` of a negation. `*` in the place of
    the location is every plugin. `**` would look as if it crossed `/`, which no `*` does.
    """
    match = None if "**" in pattern else _grammar("*").fullmatch(full_source(pattern))
    if match is None or not match["any"]:
        return _named(match) if match else None
    return f"*#{match['any_version']}" if match["any_version"] else "*"


def full_source(source: str) -> str:
    """Expand a short name as Buildkite does: `docker#v5` is on github.com/buildkite-plugins."""
    if not _SHORT.fullmatch(source) or source.partition("#")[0] == "*":
        return source
    name, mark, version = source.partition("#")
    owner, slash, repository = name.rpartition("/")
    location = f"{owner if slash else 'buildkite-plugins'}/{repository}-buildkite-plugin"
    return f"github.com/{location}{mark}{version}"


def _named(match: re.Match[str]) -> str | None:
    if match["vendored"]:
        return _clean("./" + match["vendored"].removeprefix("./"))
    segments = match["path"].split("/")[1:]
    is_forge = match["host"] in FORGES
    location = _on_forge(match, segments) if is_forge else _elsewhere(match, segments)
    name = location and _clean(location)
    return name and (f"{name}#{match['version']}" if match["version"] else name)


def _clean(location: str) -> str | None:
    return None if {".", ".."} & set(location.removeprefix("./").split("/")) else location


def _on_forge(match: re.Match[str], segments: list[str]) -> str | None:
    """The agent takes the first two segments for the repository, on gitlab.com all of them."""
    users = {"ssh": {None, "git"}, "http": set()}.get(match["scheme"], {None})
    split = len(segments) if match["host"] == "gitlab.com" else 2
    repository, directory = segments[:split], segments[split:]
    if match["port"] or match["user"] not in users or len(repository) < 2:
        return None
    repository[-1] = repository[-1].removesuffix(".git")
    if not repository[-1] or any(part.endswith(".git") for part in (*repository, *directory)):
        return None
    if repository[0] in FORGES:  # `github.com/acme#v1`, expanded as if it were a short name
        return None
    return "/".join([match["host"], *(part.lower() for part in repository), *directory])


def _elsewhere(match: re.Match[str], segments: list[str]) -> str | None:
    """The agent takes all up to `.git` for the repository, and drops a second `.git` at the end."""
    named = [part for part in segments if part.endswith(".git")]
    if not match["scheme"] and (match["port"] or len(segments) == 1):
        return None
    if len(named) > 1 or (match["user"] and match["scheme"] != "ssh"):
        return None
    if not is_host(match["host"]) or match["host"].endswith(".git"):
        return None
    user = f"{match['user']}@" if match["user"] else ""
    authority = f"{user}{match['host']}{match['port'] or ''}"
    return f"{match['scheme'] or 'https'}://{authority}{match['path']}"
