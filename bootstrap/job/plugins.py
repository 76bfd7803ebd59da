"""The plugins a job asks for, each under the one name that all its spellings share.

The agent (agent/plugin/plugin.go) reads a source as a URL: it drops the query, decodes what is
percent-encoded, and clones what is left of host and path, with `#` before what it checks out. A
source that means something else to it than to whoever reads an allow-list has no name. Both are
asked in tests/attacks/test_what_was_admitted_is_what_is_fetched.py.

`docker#v5` is a name for people: Buildkite writes it out when a pipeline is uploaded, and the agent
does not know it. `acme/x#v1` in a job makes the agent clone `https://acme/x`.
"""

import json
import re

from bootstrap.job.repository import FORGES, is_host

_SHORT = re.compile(r"(?!\.)[^#/:]+(?:/[^#/:]+)?(?:#.*)?", re.DOTALL)


def _grammar(glob: str) -> re.Pattern[str]:
    """Return the form of a source; `glob` is what may stand where letters may."""
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


_SOURCE, _PATTERN = _grammar(""), _grammar("*")


def parse(text: str) -> frozenset[str] | None:
    """Read BUILDKITE_PLUGINS: the plugins' names; None if one of them is not certain.

    Empty means no plugins. The configuration of a plugin is not looked at.
    """
    sources = _sources(text)
    if sources is None:
        return None
    names = [canonical(source) for source in sources]
    known = [name for name in names if name]
    return frozenset(known) if len(known) == len(names) else None


def why_unknown(text: str) -> str:
    """Return what keeps `parse` from telling the plugins."""
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
    """An entry is a source, or a mapping of one source to its configuration."""
    if isinstance(entry, dict):
        entry = next(iter(entry)) if len(entry) == 1 else None
    return entry if isinstance(entry, str) else ""


def canonical(source: str) -> str | None:
    """Return the name of what the agent makes of a job's `source`; None if it has none.

    `github.com/owner/name#version`, with a plugin's directory after the name, on the FORGES;
    elsewhere with the scheme before it, for a host may serve something else by each. Plugins
    vendored in the repository are `./path`.
    """
    found = _SOURCE.fullmatch(source)
    return _named(found) if found else None


def canonical_pattern(pattern: str) -> str | None:
    """Return the form in which a policy's `pattern` is compared with names; None if it has none.

    It is a name with `*` in it, or a short name; without the `!` of a negation. `*` in the place of
    the location is every plugin. `**` would look as if it crossed `/`, which no `*` does.
    """
    found = None if "**" in pattern else _PATTERN.fullmatch(full_source(pattern))
    if found is None or not found["any"]:
        return _named(found) if found else None
    return f"*#{found['any_version']}" if found["any_version"] else "*"


def full_source(source: str) -> str:
    """Write a short name out as Buildkite does: `docker#v5` is on github.com/buildkite-plugins."""
    if not _SHORT.fullmatch(source) or source.partition("#")[0] == "*":
        return source
    name, mark, version = source.partition("#")
    owner, slash, repository = name.rpartition("/")
    location = f"{owner if slash else 'buildkite-plugins'}/{repository}-buildkite-plugin"
    return f"github.com/{location}{mark}{version}"


def _named(found: re.Match[str]) -> str | None:
    if found["vendored"]:
        return _clean("./" + found["vendored"].removeprefix("./"))
    segments = found["path"].split("/")[1:]
    is_forge = found["host"] in FORGES
    location = _on_forge(found, segments) if is_forge else _elsewhere(found, segments)
    name = location and _clean(location)
    return name and (f"{name}#{found['version']}" if found["version"] else name)


def _clean(location: str) -> str | None:
    return None if {".", ".."} & set(location.removeprefix("./").split("/")) else location


def _on_forge(found: re.Match[str], segments: list[str]) -> str | None:
    """The agent takes the first two segments for the repository, on gitlab.com all of them."""
    users = {"ssh": {None, "git"}, "http": set()}.get(found["scheme"], {None})
    split = len(segments) if found["host"] == "gitlab.com" else 2
    repository, directory = segments[:split], segments[split:]
    if found["port"] or found["user"] not in users or len(repository) < 2:
        return None
    repository[-1] = repository[-1].removesuffix(".git")
    if not repository[-1] or any(part.endswith(".git") for part in (*repository, *directory)):
        return None
    if repository[0] in FORGES:  # `github.com/acme#v1`, written out as if it were a short name
        return None
    return "/".join([found["host"], *(part.lower() for part in repository), *directory])


def _elsewhere(found: re.Match[str], segments: list[str]) -> str | None:
    """The agent takes all up to `.git` for the repository, and drops a second `.git` at the end."""
    named = [part for part in segments if part.endswith(".git")]
    if not found["scheme"] and (found["port"] or len(segments) == 1):
        return None
    if len(named) > 1 or (found["user"] and found["scheme"] != "ssh"):
        return None
    if not is_host(found["host"]) or found["host"].endswith(".git"):
        return None
    user = f"{found['user']}@" if found["user"] else ""
    authority = f"{user}{found['host']}{found['port'] or ''}"
    return f"{found['scheme'] or 'https'}://{authority}{found['path']}"
