"""From a job and its grant to the one AssumeRole call it is due (reference: STS API, limits)."""

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from datetime import timedelta

from bootstrap.credentials.model import SessionRequest
from bootstrap.errors import WrongConfiguration
from bootstrap.job.model import Job
from bootstrap.policy.model import Grant

MIN_DURATION, MAX_DURATION = timedelta(minutes=15), timedelta(hours=12)
MAX_NAME = 64
MAX_TAGS, MAX_TAG_KEY, MAX_TAG_VALUE = 50, 128, 256

_NAME_FOREIGN = re.compile(r"[^A-Za-z0-9_+=,.@-]")
_PUNCTUATION = frozenset("_.:/=+-@")


def plan(job: Job, grant: Grant, *, rule: str, region: str) -> SessionRequest | None:
    """Return the session request of the grant's role, or None if it names none.

    Whatever the job says, the request keeps STS's limits. Raises WrongConfiguration if the
    policy's own words do not.
    """
    if grant.role is None:
        return None
    if not MIN_DURATION <= grant.duration <= MAX_DURATION:
        raise _wrong(f"a session of {grant.duration}; STS gives 15 minutes to 12 hours")
    return SessionRequest(
        role=grant.role,
        region=region,
        session_name=session_name(job),
        source_identity=_fitting(job.id, MAX_NAME),
        tags=_tags(job, grant.tags, rule),
        duration=grant.duration,
    )


def session_name(job: Job) -> str:
    """Name pipeline, build and job: what CloudTrail shows of every call the job makes.

    Unique per job even where the pipeline's slug has to be shortened.
    """
    return _fitting(f"{job.pipeline}-{job.build_number or 'x'}-{job.id[:8]}", MAX_NAME, job.id)


def _fitting(text: str, limit: int, unique: str = "") -> str:
    """Return `text` in STS's name characters; if that or the limit lost anything, with a hash."""
    name = _NAME_FOREIGN.sub("-", text)
    if name == text and 2 <= len(name) <= limit:
        return name
    digest = hashlib.sha256(f"{text}\0{unique}".encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{name[: limit - 11]}-{digest}"


def _tags(job: Job, granted: Mapping[str, str], rule: str) -> dict[str, str]:
    ours = {
        "buildkite:organization": job.organization,
        "buildkite:pipeline": job.pipeline,
        "buildkite:branch": job.env.get("BUILDKITE_BRANCH", ""),
        "buildkite:build": job.build_number,
        "buildkite:job": job.id,
        "buildkite:rule": rule,
    }
    _check_granted(granted, ours)
    return {**{key: tag_value(value) for key, value in ours.items()}, **granted}


def _check_granted(granted: Mapping[str, str], ours: Mapping[str, str]) -> None:
    """The policy's tags are a person's words: they are refused, not bent, if they do not fit."""
    keys = [key.casefold() for key in (*ours, *granted)]
    if len(set(keys)) != len(keys):
        raise _wrong("session tags that repeat each other or Airlock's own (case does not count)")
    if len(keys) > MAX_TAGS:
        raise _wrong(f"{len(granted)} session tags; {MAX_TAGS - len(ours)} fit beside Airlock's")
    for key, value in granted.items():
        if not 1 <= len(key) <= MAX_TAG_KEY or tag_value(key) != key or key.startswith("aws:"):
            raise _wrong(f"the session tag key {key!r}, which STS does not take")
        if tag_value(value) != value:
            raise _wrong(f"the session tag {key!r} with a value that STS does not take")


def tag_value(text: str) -> str:
    """Return `text` in the characters and length STS allows for a tag's value."""
    return "".join(char if _in_tag(char) else "_" for char in text)[:MAX_TAG_VALUE]


def _in_tag(char: str) -> bool:
    return char in _PUNCTUATION or unicodedata.category(char)[0] in "LNZ"


def _wrong(what: str) -> WrongConfiguration:
    return WrongConfiguration(
        f"the rule's session asks for {what}",
        hint="Mend allow.session of that rule in the pipeline's policy.",
    )
