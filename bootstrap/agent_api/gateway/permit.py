"""What of a live job's calls goes to Buildkite, and in which form: the rule's decision.

A call is composed anew from what was judged. What Buildkite could read in another way than this
module (other parameters, other types of content, names that repeat) is not sent.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, assert_never
from urllib.parse import quote, urlencode

from bootstrap.agent_api.model import AgentApiGrant, Call, MalformedError, OwnIds
from bootstrap.agent_api.routes import COMMIT, Kind, Route

_PARAMETERS: Mapping[Kind, tuple[str, ...]] = {
    Kind.ARTIFACTS_SEARCH: ("query", "scope", "state", "include_retried_jobs",
                            "include_duplicates"),
    Kind.ANNOTATION_REMOVE: ("scope",),
    Kind.PIPELINE_UPLOAD: ("async",),
    Kind.SECRET: ("key",),
}  # fmt: skip
# As databases read an id: hyphens, braces and capitals make no difference.
_ID = re.compile(r"\{?([0-9a-f]-?){32}\}?", re.IGNORECASE)
# A subject that the job's author could choose would be another pipeline's subject.
_SUBJECTS = {"organization_id", "pipeline_id", "cluster_id", "queue_id", "build_id", "job_id",
             "agent_id"}  # fmt: skip
_OIDC = {"audience", "lifetime", "claims", "aws_session_tags", "subject_claim"}
# What `buildkite-agent job update` is documented for.
_UPDATED = {"timeout"}
MAX_COMMIT = 1 << 16  # bytes of the call with a commit's message
IN_POLICY = "(`agent-api` in the policy)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Forwarded:
    """The call as Buildkite gets it. `body` None is the job's own body, unread."""

    target: str  # path and query, without the endpoint's own path
    body: bytes | None
    what: str  # for the audit trail: the kind, and which of those that the rule names


# Which field of the grant allows a call. A call that is not here is never allowed.
_FIELDS: Mapping[Kind, str] = {
    Kind.META_DATA_READ: "meta_data",
    Kind.META_DATA_SET: "meta_data",
    Kind.META_DATA_SET_BATCH: "meta_data",
    Kind.ARTIFACTS_CREATE: "artifacts",
    Kind.ARTIFACTS_UPDATE: "artifacts",
    Kind.ARTIFACTS_SEARCH: "artifacts",
    Kind.ANNOTATE: "annotations",
    Kind.ANNOTATION_REMOVE: "annotations",
    Kind.PIPELINE_UPLOAD: "pipeline_upload",
    Kind.PIPELINE_STATUS: "pipeline_upload",
    Kind.STEP_EXPORT: "steps",
    Kind.STEP_UPDATE: "steps",
    Kind.STEP_CANCEL: "cancel",
    Kind.BUILD_CANCEL: "cancel",
    Kind.JOB_UPDATE: "steps",
    Kind.PROMISE_FAILURE: "steps",
    Kind.OIDC: "oidc_audiences",
    Kind.SECRET: "secrets",
    Kind.CACHE: "caches",
}
# Decided with its key: the checkout's own is always allowed.
_BY_KEY = frozenset({Kind.META_DATA_READ, Kind.META_DATA_SET})


def refuses(route: Route, grant: AgentApiGrant) -> str:
    """Return why the rule allows no call of this kind at all, or ""."""
    name = _FIELDS.get(route.kind)
    if route.kind in _BY_KEY or (name and getattr(grant, name)):
        return ""
    return f"the rule does not allow to {_done(route)}"


def needed(route: Route) -> str:
    """Return what a policy's `agent-api` has to name for such a call; "" if nothing allows it."""
    return _FIELDS.get(route.kind, "").replace("_", "-")


def _done(route: Route) -> str:
    return f"{route.kind.value} {IN_POLICY}"


def judged(call: Call, grant: AgentApiGrant, own: OwnIds) -> Forwarded | str:
    """Return what to send to Buildkite, or why nothing is sent. Raises MalformedError.

    The path's job is this job: the server has refused others.
    """
    why = refuses(call.route, grant) or _foreign_build(call.route, grant, own)
    if why:
        return why
    verdict: Forwarded | str
    match call.route.kind:
        case Kind.META_DATA_READ | Kind.META_DATA_SET:
            verdict = _meta_data(call, grant)
        case Kind.STEP_EXPORT | Kind.STEP_UPDATE | Kind.STEP_CANCEL:
            verdict = _step(call, own)
        case Kind.OIDC:
            verdict = _oidc(call, grant)
        case Kind.SECRET:
            verdict = _secret(call, grant)
        case Kind.JOB_UPDATE:
            verdict = _job_update(call)
        case Kind.STORE | Kind.OF_AGENT | Kind.REPOSITORY_TOKEN:
            verdict = f"the rule does not allow to {call.route.kind.value}"
        case (
            Kind.META_DATA_SET_BATCH | Kind.ARTIFACTS_CREATE | Kind.ARTIFACTS_UPDATE
            | Kind.ARTIFACTS_SEARCH | Kind.ANNOTATE | Kind.ANNOTATION_REMOVE
            | Kind.PIPELINE_UPLOAD | Kind.PIPELINE_STATUS | Kind.BUILD_CANCEL
            | Kind.PROMISE_FAILURE | Kind.CACHE
        ):  # fmt: skip
            verdict = _unread(call)
        case _:
            assert_never(call.route.kind)
    return verdict


def _foreign_build(route: Route, grant: AgentApiGrant, own: OwnIds) -> str:
    if not route.build or route.build == own.build:
        return ""
    if grant.other_builds and route.kind in {Kind.META_DATA_READ, Kind.ARTIFACTS_SEARCH}:
        return ""
    return f"the rule does not allow to {route.kind.value} of another build {IN_POLICY}"


def _meta_data(call: Call, grant: AgentApiGrant) -> Forwarded | str:
    if grant.meta_data:
        return _unread(call)
    document = {} if call.size > MAX_COMMIT else call.document()
    if document.get("key") != COMMIT or call.route.build:
        return f"the rule does not allow to {_done(call.route)}"
    names = ("key", "value") if call.route.kind is Kind.META_DATA_SET else ("key",)
    return _composed(call, {name: _text(document, name) for name in names})


def _step(call: Call, own: OwnIds) -> Forwarded | str:
    """A step's id names its build, whatever the document has; a key needs the build's id."""
    document = call.document()
    if _ID.fullmatch(call.route.step) and call.route.step != own.step:
        return f"the job may {call.route.kind.value} of its build by the step's key, not by its id"
    if not own.build or document.get("build_id", own.build) != own.build:
        return f"the job may not {call.route.kind.value} of another build"
    return _composed(call, {**document, "build_id": own.build})


def _oidc(call: Call, grant: AgentApiGrant) -> Forwarded | str:
    document = call.document()
    unknown = sorted(set(document) - _OIDC)
    if unknown:
        raise MalformedError(f"a request for a token has no {', '.join(unknown)}")
    audience = document.get("audience")
    if not isinstance(audience, str) or audience not in grant.oidc_audiences:
        allowed = ", ".join(grant.oidc_audiences)
        asked = f"the audience {audience!r}" if audience else "a token without --audience"
        return f"the rule does not allow {asked}, but: {allowed} {IN_POLICY}"
    subject = document.get("subject_claim")
    if subject is not None and not (isinstance(subject, str) and subject in _SUBJECTS):
        return f"the subject {subject!r} is not one of {', '.join(sorted(_SUBJECTS))}"
    return _composed(call, document, audience)


def _job_update(call: Call) -> Forwarded | str:
    """By this very call agents once reported a job's state, its log and its exit status."""
    document = call.document()
    if other := sorted(set(document) - _UPDATED):
        return f"the job may update its {' and '.join(_UPDATED)}, but not {', '.join(other)}"
    return _composed(call, document)


def _secret(call: Call, grant: AgentApiGrant) -> Forwarded | str:
    key = call.query.get("key", "")
    if key not in grant.secrets:
        return f"the rule does not allow to read the secret {key!r} {IN_POLICY}"
    return _unread(call, key)


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise MalformedError(f"{name!r} is not a text")
    return value


def _unread(call: Call, name: str = "") -> Forwarded:
    return Forwarded(target=_target(call), body=None, what=_what(call.route, name))


def _what(route: Route, name: str) -> str:
    return f"{route.kind.value}: {name}" if name else route.kind.value


def _composed(call: Call, document: Mapping[str, Any], name: str = "") -> Forwarded:
    try:
        body = json.dumps(document, allow_nan=False).encode()
    except (ValueError, RecursionError) as wrong:
        raise MalformedError(f"the body cannot be sent on: {wrong}") from None
    return Forwarded(target=_target(call), body=body, what=_what(call.route, name))


def _target(call: Call) -> str:
    """Return path and query as the agent itself writes them, without unknown parameters."""
    path = "/".join(quote(part, safe="").replace(".", "%2E") for part in call.path)
    known = _PARAMETERS.get(call.route.kind, ())
    query = urlencode({name: call.query[name] for name in known if name in call.query})
    return f"/{path}?{query}" if query else f"/{path}"
