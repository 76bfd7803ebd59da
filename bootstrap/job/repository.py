"""When two spellings name the same git repository."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_SCP = re.compile(r"(?:[^@/]+@)?(?P<host>[^:/@]+):(?P<path>(?!//).+)")
_PORTS = {"ssh": 22, "https": 443, "http": 80, "git": 9418}
# These hosts treat owner and repository names without regard to case.
_CASELESS = frozenset({"github.com", "gitlab.com", "bitbucket.org"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Repository:
    """A repository apart from how it is spelled. `port` None is the scheme's own."""

    host: str
    port: int | None
    path: str


def parse(url: str) -> Repository | None:
    """Return what `url` names, or None where that is not certain."""
    parsed = _split(url.strip())
    if parsed is None or not parsed.host or "%" in parsed.path or ".." in parsed.path.split("/"):
        return None
    path = re.sub(r"/{2,}", "/", parsed.path).strip("/").removesuffix(".git")
    host = parsed.host.lower().rstrip(".")
    if not path:
        return None
    return Repository(host=host, port=parsed.port, path=path.lower() if host in _CASELESS else path)


def same(one: str, other: str) -> bool:
    """Say whether both name one repository. In doubt they do not, unless they are spelled alike."""
    left, right = parse(one), parse(other)
    if left is None or right is None:
        return bool(one) and one == other
    return left == right


def _split(url: str) -> Repository | None:
    if "://" not in url:
        found = _SCP.fullmatch(url)
        return found and Repository(host=found["host"], port=None, path=found["path"])
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _PORTS or parts.query or parts.fragment:
        return None
    plain = None if port == _PORTS[parts.scheme] else port
    return Repository(host=parts.hostname or "", port=plain, path=parts.path)
