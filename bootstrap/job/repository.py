"""Which repository a git URL reaches, and when two URLs reach the same one.

What git contacts decides, not what a URL parser makes of the text: git reads `a:b@host:x` as host
`a`, `x::y` as a helper program and `HTTPS://` as an unknown scheme. Only spellings that git,
ssh and libcurl read alike have a meaning here. The real git is compared in
tests/attacks/test_what_was_admitted_is_what_is_fetched.py.
"""

import re
from dataclasses import dataclass
from functools import cache

# Forges that document all of this: the account is always `git`, paths ignore case and have
# no home directories, `.git` may be left out, and https and ssh lead to the same repository.
FORGES = frozenset({"github.com", "gitlab.com", "bitbucket.org"})
_PORTS = {"ssh": "22", "https": "443", "http": "80", "git": "9418"}
_LAST_PORT = 65535
_ORDINARY = frozenset({("https", None), ("ssh", None), ("ssh", "git")})

_HOST = r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)"
_USER = r"[A-Za-z0-9._][A-Za-z0-9._-]*"  # git passes it on to ssh, which must not see an option
_USERINFO = r"[A-Za-z0-9._~+-]+(?::[A-Za-z0-9._~+-]*)?"
_IPV4 = re.compile(r"(?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})")


@cache
def _grammar(glob: str) -> tuple[re.Pattern[str], ...]:
    """Return the forms of a URL; `glob` is allowed where the letters of a path are."""
    segment = rf"[A-Za-z0-9._~+,={glob}][A-Za-z0-9._~+,={glob}-]*"
    # libcurl sends this as it is, where ssh would get it decoded. No control characters, `.`, `/`,
    # `\`.
    encoded = rf"(?:[A-Za-z0-9._~+,={glob}-]|%(?!2[EeFf]|5[Cc]|7[Ff])[2-9A-Fa-f][0-9A-Fa-f])+"
    path, encoded_path = rf"(?P<path>(?:/{segment})+/?)", rf"(?P<path>(?:/{encoded})+/?)"
    port = r"(?::(?P<port>[1-9][0-9]{0,4}))?"
    forms = (
        rf"(?P<transport>ssh)://(?:(?P<user>{_USER})@)?{_HOST}{port}{path}",
        rf"(?P<transport>https?)://(?:(?P<user>{_USERINFO})@)?{_HOST}{port}{encoded_path}",
        rf"(?P<transport>git)://(?P<user>){_HOST}{port}{path}",
        rf"(?:(?P<user>{_USER})@)?{_HOST}:(?P<path>/?{segment}(?:/{segment})*/?)",  # scp's
    )
    return tuple(map(re.compile, forms))


_grammar("")  # compiled with the import, which the service does before it starts a job


@dataclass(frozen=True, kw_only=True, slots=True)
class Repository:
    """What git contacts: equal for two URLs only if they reach the same repository.

    `transport` is `ssh`, `https`, `http` or `git`, or `forge` for either of the first two on one
    of FORGES as its ordinary user. `port` None is the transport's own. `path` is as git sends it,
    on a forge without what makes no difference there. `user` is None for no user, and for the
    forge's own.
    """

    transport: str
    user: str | None
    host: str
    port: str | None
    path: str


def parse(url: str) -> Repository | None:
    """Return what git contacts for `url`; None if that is no host or not certain.

    None are, among others: local paths, options, helpers (`ext::`), `file://`, IPv6 literals,
    two `@`, empty, `.` and `..` segments, white space, control characters and non-ASCII letters.
    """
    return _parsed(url, glob="")


def parse_pattern(pattern: str) -> Repository | None:
    """Return what a policy's pattern names: a URL whose path may have `*`; None as `parse`."""
    return _parsed(pattern, glob="*")


def _parsed(url: str, glob: str) -> Repository | None:
    match = next(filter(None, (form.fullmatch(url) for form in _grammar(glob))), None)
    if match is None or not is_host(match["host"]) or not _is_plain(match["path"]):
        return None
    groups = match.groupdict()
    transport = groups.get("transport") or "ssh"
    port = groups.get("port")
    if port is not None and int(port) > _LAST_PORT:
        return None
    plain = Repository(
        transport=transport,
        user=groups["user"] or None,
        host=groups["host"].lower(),
        port=None if port == _PORTS[transport] else port,
        path=_as_sent(transport, groups["path"]),
    )
    return _on_forge(plain) or plain


def same(one: str, other: str) -> bool:
    """Return whether git reaches one repository by both. A URL without a meaning equals none."""
    left = parse(one)
    return left is not None and left == parse(other)


def same_name(one: str, other: str) -> bool:
    """Return whether both name one repository of one host, whatever the transport.

    For URLs that are compared and never fetched: the origin of a pull request, which Buildkite
    sends as its forge spells it (`git://github.com/…` in Buildkite's documentation).
    """
    left = name_of(one)
    return same(one, other) or (left is not None and left == name_of(other))


def is_host(text: str) -> bool:
    """Return whether all clients read the same host: only libcurl reads `127.1` as 127.0.0.1."""
    last = text.rpartition(".")[2]
    is_number = last.isdigit() or last[:2].lower() == "0x"
    return not is_number or _IPV4.fullmatch(text) is not None


def _is_plain(path: str) -> bool:
    """Return whether no segment is `.` or `..`, and git reads no `~` as a home directory."""
    return not {".", ".."} & set(path.split("/")) and "~" not in path.removeprefix("/")[1:]


def _as_sent(transport: str, path: str) -> str:
    if transport in {"https", "http"}:
        return path.removesuffix("/")
    return path.removeprefix("/") if path.startswith("/~") else path


def _on_forge(plain: Repository) -> Repository | None:
    """Return the forge's canonical form; None if this is not an ordinary URL of a forge."""
    if plain.host not in FORGES or plain.port is not None:
        return None
    if (plain.transport, plain.user) not in _ORDINARY:
        return None
    path = plain.path.strip("/").removesuffix(".git")
    if not path or {"%", "~"} & set(path):
        return None
    return Repository(transport="forge", user=None, host=plain.host, port=None, path=path.lower())


def name_of(url: str) -> tuple[str, str | None, str] | None:
    """Return host, port and path of what `url` names, whatever the user and the transport."""
    repository = parse(url)
    if repository is None or "%" in repository.path:
        return None
    if repository.transport == "ssh" and repository.user not in {None, "git"}:
        return None
    path = repository.path.strip("/").removesuffix(".git")
    return repository.host, repository.port, path.lower() if repository.host in FORGES else path
