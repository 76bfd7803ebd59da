"""Whom a role trusts, and for which builds.

Only sts:AssumeRole has conditions: AWS documents other context keys for sts:TagSession and
sts:SetSourceIdentity, which give nothing without it (docs/aws.md#trust-policies).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bootstrap.aws.iam import (
    ASSUME_ROLE,
    EXTERNAL_ID,
    SET_SOURCE_IDENTITY,
    SOURCE_IDENTITY,
    TAG_SESSION,
    Statement,
    Tag,
    trusting_buildkite,
)
from bootstrap.errors import WrongConfiguration
from bootstrap.policy.iam.calls import Call
from bootstrap.policy.iam.model import Document, Trust, document, one_or_list
from bootstrap.policy.iam.refs import (
    Globs,
    Refs,
    both,
    can_be_negated,
    in_session_tag,
    in_subject,
    is_exact_in_tag,
    joined,
)

PIPELINE, BRANCH, TAG = Tag.PIPELINE.condition, Tag.BRANCH.condition, Tag.TAG.condition
PIPELINES_PATH = re.compile(r":role/(?:.+/)?pipelines/([^/]+)/")
NO_ORGANIZATION = "NAME-IT-WITH---organization"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """What one statement asks of a call. Pipelines that ask for the same share a statement."""

    any_pipeline: bool
    refs: Refs | None  # None: any
    external_id: str | None
    source_identity: bool


def trust_policy(calls: Sequence[Call], organization: str | None, trust: Trust) -> Document:
    """Return the trust policy of the role that all these calls are for."""
    callers = sorted({call.caller for call in calls if call.caller})
    by_token = [call for call in calls if call.caller is None]
    made = [s for caller in callers for s in _trusting(caller, calls, trust)]
    if callers:
        sends = any(call.source_identity for call in calls if call.caller)
        actions = [TAG_SESSION, *([SET_SOURCE_IDENTITY] if sends else [])]
        made.append(_statement(one_or_list(callers), one_or_list(actions), {}))
    if by_token:
        made += _trusting_tokens(by_token, organization, trust)
    return document(*made)


def owner_of(role: str) -> str | None:
    """Return the pipeline whose own role this is, by its path `…/pipelines/<slug>/`."""
    found = PIPELINES_PATH.search(role)
    return found[1] if found else None


def _statement(caller: str | list[str], action: str | list[str], condition: Statement) -> Statement:
    stated = {"Condition": condition} if condition else {}
    return {"Effect": "Allow", "Principal": {"AWS": caller}, "Action": action, **stated}


def _trusting(caller: str, calls: Iterable[Call], trust: Trust) -> Iterator[Statement]:
    asked: dict[_Asked, set[str]] = {}
    for (pipeline, external_id, source_identity), found in _by_sender(caller, calls, trust):
        for refs in joined(found) if found else (None,):
            key = _Asked(refs=refs, external_id=external_id, source_identity=source_identity,
                         any_pipeline=pipeline is None)  # fmt: skip
            asked.setdefault(key, set()).update({pipeline} if pipeline else ())
    for key, pipelines in asked.items():
        yield _statement(caller, ASSUME_ROLE, _condition(key, sorted(pipelines)))


_Sender = tuple[str | None, str | None, bool]  # pipeline, external id, whether it names its job


def _by_sender(
    caller: str, calls: Iterable[Call], trust: Trust
) -> Iterable[tuple[_Sender, list[Refs]]]:
    """Return what the caller's calls are for; an empty list: for anything.

    Who has Buildkite's token has the session of its first hop, and can send any tags.
    """
    found: dict[_Sender, list[Refs]] = {}
    for call in calls:
        if call.caller == caller:
            named = trust is Trust.PIPELINES or call.by_token
            pipeline = call.pipeline if named else owner_of(call.role)
            refs = call.refs if named else ()
            sender = (pipeline, call.external_id, call.source_identity)
            found.setdefault(sender, []).extend(refs)
    return found.items()


def _condition(asked: _Asked, pipelines: list[str]) -> Statement:
    equals: dict[str, Any] = {PIPELINE: one_or_list(pipelines)} if pipelines else {}
    null = {} if pipelines else {PIPELINE: "false"}
    like: dict[str, Any] = {}
    unlike: dict[str, Any] = {}
    if asked.external_id:
        equals[EXTERNAL_ID] = asked.external_id
    if asked.source_identity:
        null[SOURCE_IDENTITY] = "false"
    if asked.refs:
        _compare(BRANCH, asked.refs.branch, like, unlike, null)
        _compare(TAG, asked.refs.tag, like, unlike, null)
        if not asked.refs.tagged or (TAG not in like):
            null[TAG] = "false" if asked.refs.tagged else "true"
    named = {"StringEquals": equals, "StringLike": like, "StringNotLike": unlike, "Null": null}
    return {operator: keys for operator, keys in named.items() if keys}


def _compare(
    key: str, globs: Globs, like: Statement, unlike: Statement, null: dict[str, str]
) -> None:
    if globs.like:
        like[key] = one_or_list(map(in_session_tag, globs.like))
    negated = (p for p in globs.unlike if is_exact_in_tag(p) and can_be_negated(p))
    if exact := list(map(in_session_tag, negated)):
        unlike[key] = one_or_list(exact)
        if not globs.like:
            null[key] = "false"  # a negated operator holds without the tag


def _trusting_tokens(
    calls: Iterable[Call], organization: str | None, trust: Trust
) -> Iterator[Statement]:
    """Yield a statement for each list of subjects that earlier rules take away."""
    subjects: dict[tuple[str, ...], set[str]] = {}
    for call in calls:
        for named, taken in _subjects(call, organization or NO_ORGANIZATION, trust):
            subjects.setdefault(taken, set()).update(named)
    for unlike, like in subjects.items():
        yield trusting_buildkite(calls_role(calls), sorted(like), unlike)


def calls_role(calls: Iterable[Call]) -> str:
    """Return the role that these calls are for."""
    return next(iter(calls)).role


def _subjects(
    call: Call, organization: str, trust: Trust
) -> Iterator[tuple[list[str], tuple[str, ...]]]:
    """Yield the subjects, and those among them that another rule gets.

    The branch comes before anything that a job can choose. It is named whatever `trust` is: where
    a job can ask for the token itself, nobody else asks for the branch.
    """
    if trust is Trust.TAGS and owner_of(call.role) is None:
        raise _open_to_all(call)
    before = f"organization:{organization}:pipeline:{call.pipeline}:ref:refs"
    for refs in call.refs:
        kind = "tags" if refs.tagged else "heads"
        globs = both(refs.tag, refs.branch) if refs.tagged else refs.branch
        named = [f"{before}/{kind}/{in_subject(glob)}:commit:*" for glob in globs.like or ("*",)]
        taken = [
            f"{before}/{kind}/{in_subject(glob)}:commit:*"
            for glob in globs.unlike
            if can_be_negated(glob)
        ]
        yield named, tuple(sorted(taken))


def _open_to_all(call: Call) -> WrongConfiguration:
    return WrongConfiguration(
        f"rule {call.rule!r} of {call.pipeline} assumes {call.role} with Buildkite's token, and "
        "with --trust tags that role would trust every job of the organization",
        hint="A job can ask Buildkite for such a token without Airlock. Give the pipeline a role "
        f"of its own below the path …/pipelines/{call.pipeline}/, or use --trust pipelines.",
    )
