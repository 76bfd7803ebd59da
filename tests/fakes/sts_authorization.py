"""Which requests for sessions AWS allows, under the IAM documents of a fleet.

A request of AssumeRole is authorized as up to three actions, each with the context keys that AWS
documents for it, by the caller's policies and by the trust policy of the role: the role itself,
its session tags, and its source identity ("Actions, resources, and condition keys for AWS Security
Token Service"; "Pass session tags in AWS STS"; "Monitor and control actions taken with assumed
roles"). Within one account a trust policy that names the caller is enough, so what has to be
refused is asked of the trust policy alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from bootstrap.aws.model import SessionRequest
from tests.fakes.iam_evaluation import Document, Request, Value, allows, denies

ISSUER, AUDIENCE = "agent.buildkite.com", "sts.amazonaws.com"
HOUR = timedelta(hours=1)

# The context keys that AWS's reference lists for each action, as far as a request can set them.
KEYS: Mapping[str, frozenset[str]] = {
    "sts:AssumeRole": frozenset(
        {"aws:TagKeys", "aws:RequestTag/", "sts:TransitiveTagKeys", "sts:ExternalId",
         "sts:RoleSessionName", "sts:SourceIdentity"}
    ),
    "sts:TagSession": frozenset({"aws:TagKeys", "aws:RequestTag/", "sts:TransitiveTagKeys"}),
    "sts:SetSourceIdentity": frozenset({"sts:SourceIdentity"}),
    "sts:AssumeRoleWithWebIdentity": frozenset(
        {"aws:TagKeys", "aws:RequestTag/", "sts:TransitiveTagKeys", "sts:SourceIdentity",
         "sts:RoleSessionName"}
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Token:
    """Buildkite's token for a job."""

    subject: str
    audience: str = AUDIENCE
    issuer: str = ISSUER


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Every document that a request meets."""

    trust: Mapping[str, Document]  # by the role's ARN
    policies: Mapping[str, tuple[Document, ...]]  # of the callers, by their role's ARN
    longest: Mapping[str, timedelta] = field(default_factory=dict)  # MaxSessionDuration
    control: tuple[Document, ...] = ()  # service control policies of the callers' accounts

    def refusal(
        self, asked: SessionRequest, *, caller: str, token: Token | None = None
    ) -> str | None:
        """Return why the request is refused, None if it is allowed, as a whole with its `via`."""
        if asked.via:
            first = self.refusal(asked.via, caller=caller, token=token)
            if first:
                return first
            return self._refused(asked, asked.via.role, None, chained=True)
        return self._refused(asked, caller, token if asked.subject else None, chained=False)

    def trusts(self, asked: SessionRequest, *, caller: str, token: Token | None = None) -> bool:
        """Return whether the trust policy of the role alone would allow the last call."""
        return all(
            allows((self.trust[asked.role],), request)
            for request in _requests(asked, caller, token)
        )

    def _refused(
        self, asked: SessionRequest, caller: str, token: Token | None, *, chained: bool
    ) -> str | None:
        if asked.role not in self.trust:
            return f"{asked.role} does not exist"
        for request in _requests(asked, caller, token):
            if not allows((self.trust[asked.role],), request):
                return f"the trust policy of {asked.role} does not allow {request.action}"
            if token is None and not allows(self.policies.get(caller, ()), request):
                return f"no policy of {caller} allows {request.action} on {asked.role}"
            if denies(self.control, request):
                return f"a service control policy denies {request.action}"
        lasts = min(asked.duration, HOUR) if chained else asked.duration  # Airlock asks again
        longest = self.longest.get(asked.role, HOUR)
        return f"{lasts} is more than {longest}" if lasts > longest else None


def _requests(asked: SessionRequest, caller: str, token: Token | None) -> Iterator[Request]:
    main = "sts:AssumeRoleWithWebIdentity" if token else "sts:AssumeRole"
    yield _request(main, asked, caller, token)
    if asked.tags:
        yield _request("sts:TagSession", asked, caller, token)
    if asked.source_identity:
        yield _request("sts:SetSourceIdentity", asked, caller, token)


def _request(action: str, asked: SessionRequest, caller: str, token: Token | None) -> Request:
    sent: dict[str, Value | None] = {
        **{f"aws:RequestTag/{key}": value for key, value in asked.tags.items()},
        "aws:TagKeys": tuple(asked.tags) or None,
        "sts:TransitiveTagKeys": asked.transitive_tags or None,
        "sts:ExternalId": asked.external_id,
        "sts:SourceIdentity": asked.source_identity,
        "sts:RoleSessionName": asked.session_name,
    }
    known = {
        key: value
        for key, value in sent.items()
        if value is not None and any(key.startswith(name) for name in KEYS[action])
    }
    if token is None:
        context = {**known, "aws:PrincipalArn": caller}
        return Request(action=action, resource=asked.role, principal=caller, context=context)
    account = asked.role.split(":")[4]
    partition = asked.role.split(":")[1]
    provider = f"arn:{partition}:iam::{account}:oidc-provider/{token.issuer}"
    claims = {f"{token.issuer}:aud": token.audience, f"{token.issuer}:sub": token.subject}
    context = {**known, **claims}
    return Request(action=action, resource=asked.role, principal=provider, context=context)


def forged(asked: SessionRequest, **tags: str | None) -> SessionRequest:
    """Return the request with other session tags; None leaves a tag out."""
    named = {f"buildkite:{key}": value for key, value in tags.items()}
    merged: dict[str, str | None] = {**asked.tags, **named}
    return replace(asked, tags={k: v for k, v in merged.items() if v is not None})
