"""Spellings of repositories and plugins, honest and mutated, the same in every run.

Also the previous parsers, by which the tests that use them show that they can fail.
"""

import random
import re
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from bootstrap.policy.glob import any_matches

REPOSITORIES = (
    "git@github.com:acme/storefront.git",
    "https://github.com/acme/storefront",
    "ssh://git@github.com/acme/storefront.git",
    "git@gitlab.com:acme/group/storefront.git",
    "https://bitbucket.org/acme/storefront.git",
    "git@git.example.com:acme/storefront.git",
    "git@git.example.com:/srv/storefront.git",
    "ssh://git@git.example.com:2222/srv/storefront.git",
    "ssh://git.example.com/~ci/storefront.git",
    "https://git.example.com/acme/storefront.git",
    "https://git.example.com/acme/My%20Project/_git/storefront",
    "http://10.77.0.2:8080/storefront.git",
    "git://git.example.com/storefront.git",
)

PLUGINS = (
    "github.com/acme/deploy-buildkite-plugin#v1.0.0",
    "https://github.com/buildkite-plugins/docker-buildkite-plugin#v5.12.0",
    "ssh://git@github.com/acme/deploy-buildkite-plugin.git#v1.0.0",
    "github.com/acme/plugins/deploy#v1.0.0",
    "gitlab.com/acme/group/deploy#v1.0.0",
    "bitbucket.org/acme/deploy#main",
    "git.example.com/team/deploy.git#v2",
    "https://git.example.com/team/plugins.git/deploy#v1",
    "http://10.77.0.2:8080/deploy.git#v1",
    "ssh://ci@git.example.com/team/deploy.git#v1",
    "./.buildkite/plugins/deploy",
    "acme/deploy#v1",
)

_USERS = ("", "git@", "mallory@", "git:pass@", "-oProxyCommand=x@", "evil.example:x@", "a@b@", "@")
_HOSTS = ("evil.example", "GitHub.com", "github.com.", "github.com.evil.example", "[::1]", "acme",
          "127.1", "g\u0456thub.com", "github.com:443", "github.com:22", "github.com:0443",
          "git.example.com:2222", "GIT.example.com", "-x")  # fmt: skip
_SCHEMES = ("", "https://", "http://", "ssh://", "git://", "HTTPS://", "git+ssh://", "file://",
            "ftp://", "ext::", "ext::sh -c id ", "git::", "zip+https://", "//", "/", "./", "-", " ",
            "https:", "https:/", "https:///")  # fmt: skip
_PIECES = ("@", ":", "/", "//", ".", "..", "/../", "/./", "/%2e%2e/", "%2F", "%00", "%0a", "%", "#",
           "?", "\\", "::", "~", "/~", "-", " ", "\t", "\n", "\r", "\x1b", "\u2044", "\u200b",
           ".git", ".git/", ";", "'", '"', "$(id)", "*", "+", "=", ",", "_", "evil",
           "..;/")  # fmt: skip
_ENDS = ("", "", "/", "//", ".git", "/.", "/..", "?x", "#x", "#v1", "#v1#v2", "#v%31", "#v1..v2",
         " ", "\n", "/sub", "/sub.git", "#feature/x", "#-b", "#v1-2-gdeadbeef", "#")  # fmt: skip
_PARTS = re.compile(
    r"(?P<scheme>[a-z]+://)?(?P<user>[^@/]*@)?(?P<host>[^:/]+(?::[0-9]+)?)(?P<path>[:/].*)",
    re.DOTALL,
)


def generated(honest: Sequence[str], count: int, seed: int) -> list[str]:
    """Return the honest spellings and mutations of them: `count` in all, each once."""
    chosen = random.Random(seed)  # noqa: S311 - to be the same in every run
    found = dict.fromkeys(honest)
    while len(found) < count:
        text = chosen.choice(honest)
        for _ in range(chosen.choice((1, 1, 2, 3))):
            text = chosen.choice(_MUTATIONS)(text, chosen)
        found[text] = None
    return list(found)


def _in_parts(text: str, chosen: random.Random) -> str:
    """Put a URL together again from its own parts and others'."""
    found = _PARTS.fullmatch(text)
    if not found:
        return text
    parts = {name: value or "" for name, value in found.groupdict().items()}
    for name, others in (("scheme", _SCHEMES[:5]), ("user", _USERS), ("host", _HOSTS)):
        if chosen.random() < 0.4:
            parts[name] = chosen.choice(others)
    if chosen.random() < 0.4:
        parts["path"] = chosen.choice((":", "/", ":/", "//")) + parts["path"].lstrip(":/")
    return "".join(parts.values())


def _piece(text: str, chosen: random.Random) -> str:
    at = chosen.randrange(len(text) + 1)
    return text[:at] + chosen.choice(_PIECES) + text[at:]


def _without(text: str, chosen: random.Random) -> str:
    at = chosen.randrange(len(text) or 1)
    return text[:at] + text[at + 1 :]


def _in_capitals(text: str, chosen: random.Random) -> str:
    at = chosen.randrange(len(text) or 1)
    return text[:at] + text[at : at + 6].swapcase() + text[at + 6 :]


_MUTATIONS: tuple[Callable[[str, random.Random], str], ...] = (
    _in_parts,
    _in_parts,
    _piece,
    _piece,
    _without,
    _in_capitals,
    lambda text, chosen: chosen.choice(_SCHEMES) + text,
    lambda text, chosen: text + chosen.choice(_ENDS),
    lambda text, chosen: re.sub(r"#.*|(\.git)?/?$", "", text) + chosen.choice(_ENDS),
)

# The previous parsers of repositories and plugins (commit 02b8316), in short.
_SCP = re.compile(r"(?:[^@/]+@)?(?P<host>[^:/@]+):(?P<path>(?!//).+)")
_HOSTED = frozenset({"github.com", "gitlab.com", "bitbucket.org"})


def repository_before(url: str) -> tuple[str, int | None, str] | None:
    """Return what counted as the identity of a repository."""
    found = _split_before(url.strip())
    if not found or not found[0] or "%" in found[2] or ".." in found[2].split("/"):
        return None
    host, path = found[0].lower().rstrip("."), re.sub(r"/{2,}", "/", found[2]).strip("/")
    path = path.removesuffix(".git")
    return (host, found[1], path.lower() if host in _HOSTED else path) if path else None


def _split_before(url: str) -> tuple[str, int | None, str] | None:
    if "://" not in url:
        found = _SCP.fullmatch(url)
        return (found["host"], None, found["path"]) if found else None
    ports = {"ssh": 22, "https": 443, "http": 80, "git": 9418}
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ports or parts.query or parts.fragment:
        return None
    return parts.hostname or "", None if port == ports[parts.scheme] else port, parts.path


def admitted_before(patterns: Sequence[str], source: str) -> bool:
    """Return whether a list of plugins admitted a source."""
    return any_matches(list(map(plugin_before, patterns)), [plugin_before(source)])


def plugin_before(source: str) -> str:
    """Return what counted as the name of a plugin."""
    location, mark, version = source.partition("#")
    location = re.sub(r"(https?|ssh|git)://([^@/]*@)?", "", location)
    return f"{_location_before(location)}{mark}{version}"


def _location_before(location: str) -> str:
    parts = location.removesuffix(".git").split("/")
    match parts:
        case ["*"] | [""] | [".", *_]:
            return location
        case [name]:
            return f"github.com/buildkite-plugins/{name}-buildkite-plugin"
        case [owner, name]:
            return f"github.com/{owner}/{name}-buildkite-plugin"
        case [host, owner, name, *_] if host.lower() in _HOSTED:
            return f"{host.lower()}/{owner}/{name}"
        case _:
            return location
