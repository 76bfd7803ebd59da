"""The plugins a job asks for, each under the one name that all its spellings share."""

import json
import re

_HOSTS = frozenset({"github.com", "gitlab.com", "bitbucket.org"})
_SCHEME = re.compile(r"(https?|ssh|git)://([^@/]*@)?")


def parse(text: str) -> frozenset[str] | None:
    """Read BUILDKITE_PLUGINS: the sources with their versions; None if it cannot be told.

    Empty means no plugins. The configuration of a plugin is not looked at.
    """
    if not text:
        return frozenset()
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(listed, list):
        return None
    sources = [_source(entry) for entry in listed]
    known = [source for source in sources if source]
    return frozenset(map(canonical, known)) if len(known) == len(sources) else None


def _source(entry: object) -> str | None:
    """An entry is a source, or a mapping of one source to its configuration."""
    if isinstance(entry, dict):
        entry = next(iter(entry)) if len(entry) == 1 else None
    return entry if isinstance(entry, str) else None


def canonical(source: str) -> str:
    """Spell a source as the agent resolves it: `docker#v5` is on github.com/buildkite-plugins.

    Globs are kept, so that policies may use the short names too.
    """
    location, mark, version = source.partition("#")
    return f"{_location(_SCHEME.sub('', location))}{mark}{version}"


def _location(location: str) -> str:
    parts = location.removesuffix(".git").split("/")
    match parts:
        case ["*"] | [""] | [".", *_]:
            return location
        case [name]:
            return f"github.com/buildkite-plugins/{name}-buildkite-plugin"
        case [owner, name]:
            return f"github.com/{owner}/{name}-buildkite-plugin"
        case [host, owner, name, *_] if host.lower() in _HOSTS:
            return f"{host.lower()}/{owner}/{name}"
        case _:
            return location
