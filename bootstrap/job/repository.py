"""Which repository a git URL reaches, and when two URLs reach the same one.

What git contacts decides, not what a URL parser makes of the text: git reads `a:b@host:x` as host
`a`, `x::y` as a helper program and `HTTPS://` as no scheme that it knows. Only spellings that git,
ssh and libcurl read alike have a meaning here. The real git is asked in
tests/attacks/test_what_was_admitted_is_what_is_fetched.py.
"""

import re
from dataclasses import dataclass

# Forges whose documentation says so: the account is always `git`, a path has no regard to case and
# no home directory, `.git` may be left out, and https and ssh lead to the same repository.
FORGES = frozenset({"github.com", "gitlab.com", "bitbucket.org"})
_PORTS = {"ssh": "22", "https": "443", "http": "80", "git": "9418"}
_LAST_PORT = 65535
_ORDINARY = frozenset({("https", None), ("ssh", None), ("ssh", "git")})

_HOST = r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)"
_USER = r"[A-Za-z0-9._][A-Za-z0-9._-]*"  # git passes it on to ssh, which must not see an option
_USERINFO = r"[A-Za-z0-9._~+-]+(?::[A-Za-z0-9._~+-]*)?"
_SEGMENT = r"[A-Za-z0-9._~+,=][A-Za-z0-9._~+,=-]*"
# libcurl sends this as it is, where ssh would get it decoded. No control characters, `.`, `/`, `\`.
_ENCODED = r"(?:[A-Za-z0-9._~+,=-]|%(?!2[EeFf]|5[Cc]|7[Ff])[2-9A-Fa-f][0-9A-Fa-f])+"

_IPV4 = re.compile(r"(?:(?:0|[1-9][0-9]{0,2})\.){3}(?:0|[1-9][0-9]{0,2})")
_SCP = re.compile(rf"(?:(?P<user>{_USER})@)?{_HOST}:(?P<path>/?{_SEGMENT}(?:/{_SEGMENT})*/?)")
_SSH = re.compile(
    rf"(?P<transport>ssh)://(?:(?P<user>{_USER})@)?{_HOST}(?::(?P<port>[1-9][0-9]{{0,4}}))?"
    rf"(?P<path>(?:/{_SEGMENT})+/?)"
)
_HTTP = re.compile(
    rf"(?P<transport>https?)://(?:(?P<user>{_USERINFO})@)?{_HOST}(?::(?P<port>[1-9][0-9]{{0,4}}))?"
    rf"(?P<path>(?:/{_ENCODED})+/?)"
)
_GIT = re.compile(
    rf"(?P<transport>git)://(?P<user>){_HOST}(?::(?P<port>[1-9][0-9]{{0,4}}))?"
    rf"(?P<path>(?:/{_SEGMENT})+/?)"
)


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
    found = next(filter(None, (form.fullmatch(url) for form in (_SSH, _HTTP, _GIT, _SCP))), None)
    if found is None or not is_host(found["host"]) or not _is_plain(found["path"]):
        return None
    groups = found.groupdict()
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
    """Say whether git reaches one repository by both. What has no meaning is not even itself."""
    left = parse(one)
    return left is not None and left == parse(other)


def same_name(one: str, other: str) -> bool:
    """Say whether both name one repository of one host, whatever the transport.

    For what is compared and never fetched: the origin of a pull request, which Buildkite sends as
    its forge spells it (`git://github.com/…` in Buildkite's documentation).
    """
    left = name_of(one)
    return same(one, other) or (left is not None and left == name_of(other))


def is_host(text: str) -> bool:
    """Say whether `text` is one host to all: to libcurl, but not to ssh, `127.1` is 127.0.0.1."""
    last = text.rpartition(".")[2]
    is_number = last.isdigit() or last[:2].lower() == "0x"
    return not is_number or _IPV4.fullmatch(text) is not None


def _is_plain(path: str) -> bool:
    """Dots lead elsewhere, and git takes `~` in second place for a home directory."""
    return not {".", ".."} & set(path.split("/")) and "~" not in path.removeprefix("/")[1:]


def _as_sent(transport: str, path: str) -> str:
    if transport in {"https", "http"}:
        return path.removesuffix("/")
    return path.removeprefix("/") if path.startswith("/~") else path


def _on_forge(plain: Repository) -> Repository | None:
    """Fold what makes no difference on a forge; None if this is not its ordinary form."""
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
    found = parse(url)
    if found is None or "%" in found.path:
        return None
    if found.transport == "ssh" and found.user not in {None, "git"}:
        return None
    path = found.path.strip("/").removesuffix(".git")
    return found.host, found.port, path.lower() if found.host in FORGES else path
