"""URLs of jobs and builds, as people copy them from Buildkite's pages and API.

Source: web_url, log_url and raw_log_url of https://buildkite.com/docs/apis/rest-api/jobs; the query
is that of the build pages.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from bootstrap.text import printable

MAX_URL = 4000  # characters
_SLUG = r"(?!\.{1,2}/)[A-Za-z0-9][A-Za-z0-9._-]{0,254}"
_NUMBER = r"[0-9]{1,12}"
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_ORGANIZATION = rf"(?:/v2)?/organizations/(?P<organization>{_SLUG})"
_LONG = re.compile(
    rf"{_ORGANIZATION}/pipelines/(?P<pipeline>{_SLUG})/builds/(?P<build>{_NUMBER})"
    r"(?:/jobs/(?P<job>[^/]+)(?:/[a-z_.]*)?)?/?"
)
_PAGE = re.compile(
    rf"/(?P<organization>{_SLUG})/(?P<pipeline>{_SLUG})/builds/(?P<build>{_NUMBER})"
    r"(?P<view>(?:/[a-z-]+)*)/?"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildkiteUrl:
    """What a URL names: a build, and a job of it or a step, if it says which."""

    host: str  # with its port, in small letters
    organization: str
    pipeline: str
    build: str
    job: str | None = None
    step: str | None = None


def parse(url: str) -> BuildkiteUrl:
    """Return what `url` names. Raises ValueError with what was expected."""
    if len(url) > MAX_URL:
        raise ValueError(f"it has {len(url)} characters; expected at most {MAX_URL}")
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2].lower()
    except ValueError as broken:
        raise ValueError(f"it is not a URL: {printable(str(broken))}") from None
    found = _LONG.fullmatch(parts.path) or _PAGE.fullmatch(parts.path)
    if parts.scheme not in {"http", "https"} or not host or found is None:
        raise ValueError(
            "expected the URL of a job, such as "
            "https://buildkite.com/acme/storefront/builds/42#0193a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"
        )
    groups = found.groupdict()
    asked = parse_qs(parts.query)
    jobs = [groups.get("job"), parts.fragment.partition("/")[0], *asked.get("jid", ())]
    return BuildkiteUrl(
        host=host,
        organization=groups["organization"],
        pipeline=groups["pipeline"],
        build=groups["build"],
        job=_one(jobs, "job"),
        step=_one(asked.get("sid", []), "step"),
    )


def is_id(text: str) -> bool:
    """Return whether this is the id of a job, or of a step."""
    return _ID.fullmatch(text) is not None


def _one(named: Sequence[str | None], what: str) -> str | None:
    """Return the id that is named, in one place or in several; None if there is no id."""
    ids = {text.lower() for text in named if text and is_id(text.lower())}
    if len(ids) > 1:
        raise ValueError(f"it names {len(ids)} {what}s; expected one: {', '.join(sorted(ids))}")
    return next(iter(ids), None)
