"""A strict STS: it enforces the limits that moto does not, and fails on demand."""

import re
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from tests.fakes.metadata import ACCESS_KEY_ID as HOST_KEY
from tests.fakes.simulator import Call, Reply, Simulator
from tests.fakes.sts_limits import Asked, StsError, asked_of, validate
from tests.fakes.sts_signature import is_signed_with

NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
HOST = "arn:aws:sts::111122223333:assumed-role/fleet-instance-role/i-0fake"


@dataclass(frozen=True, kw_only=True, slots=True)
class Issued:
    """One session that this STS has issued."""

    arn: str
    secret: str
    token: str
    until: float  # time.time()
    tags: Mapping[str, str]
    transitive: frozenset[str]
    source_identity: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Trust:
    """What a role's trust policy allows."""

    tag_session: bool = True
    source_identity: bool = True
    web_identity: bool = False
    external_id: str | None = None
    max_seconds: int = 43200


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One call as received, whatever the answer: the caller, the action and its parameters."""

    action: str
    parameters: Mapping[str, str]
    key: str | None  # the caller's access key id


def error_reply(code: str, message: str = "injected", status: int = 400) -> Reply:
    xml = (
        f'<ErrorResponse xmlns="{NAMESPACE}"><Error><Type>Sender</Type><Code>{code}</Code>'
        f"<Message>{escape(message)}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
    )
    return Reply(status=status, body=xml.encode(), kind="text/xml")


class StrictSts(Simulator):
    """`roles` maps role ARNs to their trust; `lifetime` shortens every session, in seconds.

    `callers` are further access key ids and the ARNs they belong to; the host's own is one of
    them. What this STS issued must be signed with its secret. `latency` is in seconds. While it
    is `down`, it issues nothing, and what it issued before is still good.
    """

    def __init__(
        self,
        listener: socket.socket | None = None,
        roles: Mapping[str, Trust] | None = None,
        *,
        lifetime: float | None = None,
        latency: float = 0,
        callers: Mapping[str, str] | None = None,
        address: str = "127.0.0.1",
    ) -> None:
        super().__init__(listener or socket.create_server((address, 0), backlog=128))
        self.roles = dict(roles or {})
        self.lifetime = lifetime
        self.latency = latency
        self.down = False
        self.verify_token: Callable[[str], object] | None = None  # raises ValueError; None: any
        self.packed_size = 6  # percent
        self.asked: list[Asked] = []
        self._callers = dict(callers or {HOST_KEY: HOST})
        self.issued: dict[str, Issued] = {}

    @property
    def requests(self) -> list[Request]:
        """Every call, also those that were refused or met an injected fault."""
        return [request_of(call) for call in self.calls]

    def fail_with(
        self, code: str, *, times: int = 1, status: int = 400, message: str = "injected"
    ) -> None:
        """Answer the next calls with this error."""
        self.fail("POST *", error_reply(code, message, status), times)

    def recover(self) -> None:
        """Forget every injected fault."""
        self._faults.clear()

    def handle(self, call: Call) -> Reply:
        time.sleep(self.latency)
        return super().handle(call)

    def answer(self, call: Call) -> Reply:
        request = request_of(call)
        if self.down and request.action.startswith("AssumeRole"):
            return error_reply("ServiceUnavailable", "down", 503)
        try:
            match request.action:
                case "AssumeRole":
                    return self._assume_role(request, *self._caller(call, request.key))
                case "AssumeRoleWithWebIdentity":
                    return self._assume_role_with_web_identity(request)
                case "GetCallerIdentity":
                    arn, _ = self._caller(call, request.key)
                    identity = {"Arn": arn, "UserId": "AROAFAKE:s", "Account": arn.split(":")[4]}
                    return _answer("GetCallerIdentity", identity)
                case other:
                    raise StsError("InvalidAction", f"no action {other}")
        except StsError as refused:
            return error_reply(refused.code, str(refused), refused.status)

    def _caller(self, call: Call, key: str | None) -> tuple[str, Issued | None]:
        if key in self._callers:
            return self._callers[key], None
        session = self.issued.get(key or "")
        if not session or call.headers.get("x-amz-security-token") != session.token:
            raise StsError("InvalidClientTokenId", "The security token is invalid", 403)
        if session.until < time.time():
            raise StsError("ExpiredToken", "The security token is expired", 403)
        if not is_signed_with(call, session.secret):
            raise StsError("SignatureDoesNotMatch", "The signature does not match", 403)
        return session.arn, session

    def _assume_role(self, request: Request, caller: str, session: Issued | None) -> Reply:
        asked = asked_of(request.parameters)
        self.asked.append(asked)
        validate(asked, chained=":assumed-role/" in caller)
        self._authorize(asked, caller)
        if session and session.transitive & {key.casefold() for key in asked.tags}:
            raise StsError("InvalidParameterValue", "a tag is already set as a transitive tag")
        if session and asked.source_identity not in (None, session.source_identity):
            raise StsError("AccessDenied", "the source identity cannot be changed", 403)
        return self._issue(asked, "AssumeRole")

    def _authorize(self, asked: Asked, caller: str) -> None:
        trust = self.roles.get(asked.role)
        if trust is None or trust.external_id != asked.external_id:
            raise _denied(caller, "sts:AssumeRole", asked.role)
        if asked.tags and not trust.tag_session:
            raise _denied(caller, "sts:TagSession", asked.role)
        if asked.source_identity and not trust.source_identity:
            raise _denied(caller, "sts:SetSourceIdentity", asked.role)
        if asked.duration > trust.max_seconds:
            raise StsError(
                "ValidationError",
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
            )

    def _assume_role_with_web_identity(self, request: Request) -> Reply:
        asked = asked_of(request.parameters)
        validate(asked, chained=False)
        if not 4 <= len(request.parameters.get("WebIdentityToken", "")) <= 20000:
            raise StsError("ValidationError", "WebIdentityToken must have 4 to 20000 characters")
        if not self.roles.get(asked.role, Trust()).web_identity:
            message = "Not authorized to perform sts:AssumeRoleWithWebIdentity"
            raise StsError("AccessDenied", message, 403)
        if self.verify_token:
            try:
                self.verify_token(request.parameters["WebIdentityToken"])
            except ValueError as wrong:
                raise StsError("InvalidIdentityToken", str(wrong)) from wrong
        self._authorize(asked, "web identity")
        return self._issue(asked, "AssumeRoleWithWebIdentity")

    def _issue(self, asked: Asked, action: str) -> Reply:
        account, role = asked.role.split(":")[4], asked.role.rsplit("/", 1)[1]
        arn = f"arn:aws:sts::{account}:assumed-role/{role}/{asked.session_name}"
        key = "ASIA" + secrets.token_hex(8).upper()
        session = Issued(
            arn=arn,
            secret="jobsecret" + secrets.token_hex(16),
            token="jobtoken" + secrets.token_hex(200),
            until=time.time() + (self.lifetime or asked.duration),
            tags=asked.tags,
            transitive=asked.transitive,
            source_identity=asked.source_identity,
        )
        self.issued[key] = session
        credentials = {
            "AccessKeyId": key,
            "SecretAccessKey": session.secret,
            "SessionToken": session.token,
            "Expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(session.until)),
        }
        user = {"Arn": arn, "AssumedRoleId": f"AROAFAKE:{asked.session_name}"}
        result = {
            "Credentials": credentials,
            "AssumedRoleUser": user,
            "PackedPolicySize": self.packed_size,
        }
        return _answer(action, result)


def request_of(call: Call) -> Request:
    parameters = dict(parse_qsl(call.body.decode(), keep_blank_values=True))
    found = re.search(r"Credential=([^/]+)/", call.headers.get("authorization", ""))
    action = parameters.pop("Action", "")
    return Request(action=action, parameters=parameters, key=found[1] if found else None)


def _denied(caller: str, action: str, role: str) -> StsError:
    message = f"User: {caller} is not authorized to perform: {action} on resource: {role}"
    return StsError("AccessDenied", message, 403)


def _answer(action: str, result: Mapping[str, Any]) -> Reply:
    xml = (
        f'<{action}Response xmlns="{NAMESPACE}"><{action}Result>{_xml(result)}</{action}Result>'
        f"<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></{action}Response>"
    )
    return Reply(body=xml.encode(), kind="text/xml")


def _xml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "".join(f"<{key}>{_xml(inner)}</{key}>" for key, inner in value.items())
    return escape(str(value))
