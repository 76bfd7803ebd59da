"""A strict STS: it enforces the limits that moto does not (reference B1), and forgets on demand."""

import re
import secrets
import socket
import time
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from tests.fakes.metadata import ACCESS_KEY_ID as HOST_KEY
from tests.fakes.simulator import Call, Reply, Simulator

NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
CHAINED = (
    "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role "
    "chaining"
)
_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Issued:
    """One session this STS gave out."""

    arn: str
    until: float  # time.time()
    tags: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Trust:
    """What a role's trust policy allows."""

    tag_session: bool = True
    source_identity: bool = True
    max_seconds: int = 43200


@dataclass(slots=True)
class Asked:
    """One AssumeRole as it was asked."""

    role: str
    session_name: str
    source_identity: str | None
    duration: int
    tags: dict[str, str] = field(default_factory=dict)


class StsError(Exception):
    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.status = code, status


def error_reply(code: str, message: str = "injected", status: int = 400) -> Reply:
    xml = (
        f'<ErrorResponse xmlns="{NAMESPACE}"><Error><Type>Sender</Type><Code>{code}</Code>'
        f"<Message>{escape(message)}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
    )
    return Reply(status=status, body=xml.encode(), kind="text/xml")


class StrictSts(Simulator):
    """`roles` maps role ARNs to their trust; `lifetime` shortens every session, in seconds."""

    def __init__(
        self,
        listener: socket.socket,
        roles: Mapping[str, Trust],
        *,
        lifetime: float | None = None,
        callers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(listener)
        self.roles = dict(roles)
        self.lifetime = lifetime
        self.asked: list[Asked] = []
        host = "arn:aws:sts::111122223333:assumed-role/fleet-instance-role/i-0fake"
        self._callers = dict(callers or {HOST_KEY: host})
        self.issued: dict[str, Issued] = {}

    def answer(self, call: Call) -> Reply:
        parameters = dict(parse_qsl(call.body.decode(), keep_blank_values=True))
        try:
            caller = self._caller(call)
            match parameters.get("Action"):
                case "AssumeRole":
                    return self._assume_role(parameters, caller)
                case "GetCallerIdentity":
                    return _answer("GetCallerIdentity", self._identity(caller))
                case other:
                    raise StsError("InvalidAction", f"no action {other}")
        except StsError as refused:
            return error_reply(refused.code, str(refused), refused.status)

    def _caller(self, call: Call) -> str:
        found = re.search(r"Credential=([^/]+)/", call.headers.get("authorization", ""))
        key = found[1] if found else ""
        if key in self._callers:
            return self._callers[key]
        if key not in self.issued:
            raise StsError("InvalidClientTokenId", "The security token is invalid", 403)
        if self.issued[key].until < time.time():
            raise StsError("ExpiredToken", "The security token is expired", 403)
        return self.issued[key].arn

    def _identity(self, arn: str) -> dict[str, Any]:
        return {"Arn": arn, "UserId": "AROAFAKE:session", "Account": arn.split(":")[4]}

    def _assume_role(self, parameters: Mapping[str, str], caller: str) -> Reply:
        asked = asked_of(parameters)
        self.asked.append(asked)
        trust = self.roles.get(asked.role)
        _validate(asked, chained=":assumed-role/" in caller and "i-0fake" not in caller)
        if trust is None or (asked.tags and not trust.tag_session):
            raise StsError("AccessDenied", f"{caller} may not assume {asked.role}", 403)
        if asked.source_identity and not trust.source_identity:
            raise StsError("AccessDenied", "not authorized: sts:SetSourceIdentity", 403)
        if asked.duration > trust.max_seconds:
            raise StsError("ValidationError", "DurationSeconds exceeds the MaxSessionDuration")
        return self._issue(asked)

    def _issue(self, asked: Asked) -> Reply:
        account, role = asked.role.split(":")[4], asked.role.rsplit("/", 1)[1]
        arn = f"arn:aws:sts::{account}:assumed-role/{role}/{asked.session_name}"
        until = time.time() + (self.lifetime or asked.duration)
        key = "ASIA" + secrets.token_hex(8).upper()
        self.issued[key] = Issued(arn=arn, until=until, tags=asked.tags)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(until))
        credentials = {
            "AccessKeyId": key,
            "SecretAccessKey": "jobsecret" + secrets.token_hex(16),
            "SessionToken": "jobtoken" + secrets.token_hex(200),
            "Expiration": stamp,
        }
        user = {"Arn": arn, "AssumedRoleId": f"AROAFAKE:{asked.session_name}"}
        result = {"Credentials": credentials, "AssumedRoleUser": user, "PackedPolicySize": 6}
        return _answer("AssumeRole", result)


def asked_of(parameters: Mapping[str, str]) -> Asked:
    tags: dict[str, str] = {}
    index = 1
    while (key := parameters.get(f"Tags.member.{index}.Key")) is not None:
        tags[key] = parameters.get(f"Tags.member.{index}.Value", "")
        index += 1
    return Asked(
        role=parameters.get("RoleArn", ""),
        session_name=parameters.get("RoleSessionName", ""),
        source_identity=parameters.get("SourceIdentity"),
        duration=int(parameters.get("DurationSeconds", "3600")),
        tags=tags,
    )


def _validate(asked: Asked, *, chained: bool) -> None:
    """Every limit of the API that a request can break."""
    if not _NAME.fullmatch(asked.session_name):
        raise StsError("ValidationError", f"bad RoleSessionName {asked.session_name!r}")
    if asked.source_identity is not None and not _NAME.fullmatch(asked.source_identity):
        raise StsError("ValidationError", f"bad SourceIdentity {asked.source_identity!r}")
    if not 900 <= asked.duration <= 43200:
        raise StsError("ValidationError", f"bad DurationSeconds {asked.duration}")
    if chained and asked.duration > 3600:
        raise StsError("ValidationError", CHAINED)
    if len(asked.tags) > 50 or len({key.casefold() for key in asked.tags}) != len(asked.tags):
        raise StsError("InvalidParameterValue", "too many or duplicate tag keys")
    for key, value in asked.tags.items():
        if not (1 <= len(key) <= 128 and len(value) <= 256 and _taggable(key + value)):
            raise StsError("ValidationError", f"bad tag {key!r}={value!r}")


def _taggable(text: str) -> bool:
    return all(c in "_.:/=+-@" or unicodedata.category(c)[0] in "LNZ" for c in text)


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
