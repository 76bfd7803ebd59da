"""A strict Parameter Store: pages, versions, tiers, encryption, and 40 calls a second for all."""

import json
import re
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.fakes.simulator import Call, Reply, Simulator

_NAME = re.compile(r"(/[A-Za-z0-9_.-]+)+")
TPS = 40.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """One parameter. SecureString needs kms:Decrypt, which a test can take away."""

    value: str
    kind: str = "String"
    version: int = 1


def denial(action: str, resource: str) -> Reply:
    text = f"User: arn:aws:sts::1:assumed-role/fleet/i-0 is not authorized to perform: {action}"
    return failure("AccessDeniedException", f"{text} on resource: {resource}")


def failure(code: str, message: str = "injected") -> Reply:
    body = json.dumps({"__type": code, "message": message}).encode()
    return Reply(status=400, body=body, kind="application/x-amz-json-1.1")


class StrictSsm(Simulator):
    """`tps` is the bucket of all callers together; `parameters` may be changed while it runs."""

    def __init__(
        self,
        listener: socket.socket,
        parameters: Mapping[str, Stored] | None = None,
        *,
        tps: float = 10_000,
        may_decrypt: bool = True,
    ) -> None:
        super().__init__(listener)
        self.parameters: dict[str, Stored] = {}
        for name, stored in (parameters or {}).items():
            self.put(name, stored.value, kind=stored.kind)
        self.may_decrypt = may_decrypt
        self.may_put = 1 << 30  # writes and removals
        self.writer: str | None = "arn:aws:iam::111122223333:user/writer-"
        self.tiers: dict[str, str] = {}
        self.throttled = 0
        self._tps = tps
        self._tokens, self._at = tps, time.monotonic()
        self._bucket = threading.Lock()

    def put(self, name: str, value: str, *, kind: str = "String") -> None:
        """Store what the real service would store. Raises ValueError with its reason."""
        if not _NAME.fullmatch(name) or name.count("/") > 15 or len(name) > 1011:
            raise ValueError(f"ValidationException: the name {name!r}")
        if not 0 < len(value.encode()) <= 8192:
            raise ValueError(f"ValidationException: {len(value.encode())} bytes, at most 8192")
        if "{{" in value:
            raise ValueError("ValidationException: {{ cannot be stored")
        before = self.parameters.get(name)
        version = before.version + 1 if before else 1
        self.parameters[name] = Stored(value=value, kind=kind, version=version)

    @property
    def operations(self) -> list[str]:
        return [call.headers["x-amz-target"].split(".")[1] for call in self.calls]

    def answer(self, call: Call) -> Reply:
        if not self._admit():
            self.throttled += 1
            return failure("ThrottlingException", "Rate exceeded")
        asked = call.json()
        match call.headers["x-amz-target"]:
            case "AmazonSSM.GetParametersByPath":
                return self._by_path(asked)
            case "AmazonSSM.GetParameters":
                return self._named(asked)
            case "AmazonSSM.PutParameter":
                return self._put(asked)
            case "AmazonSSM.DeleteParameter":
                return self._delete(asked)
            case "AmazonSSM.GetParameterHistory":
                return self._history(asked)
            case other:
                return failure("InvalidAction", other)

    def _admit(self) -> bool:
        with self._bucket:
            now = time.monotonic()
            self._tokens = min(self._tps, self._tokens + (now - self._at) * self._tps)
            self._at = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True

    def _by_path(self, asked: dict[str, Any]) -> Reply:
        path, size = asked["Path"].rstrip("/"), asked.get("MaxResults", 10)
        if not 1 <= size <= 10:
            return failure("ValidationException", "MaxResults is 1 to 10")
        inside = [n for n in sorted(self.parameters) if n.startswith(f"{path}/")]
        direct = [n for n in inside if n.rpartition("/")[0] == path]
        names = inside if asked.get("Recursive") else direct
        start = int(asked.get("NextToken", "0"))
        page = names[start : start + size]
        more = {"NextToken": str(start + size)} if start + size < len(names) else {}
        opened = asked.get("WithDecryption", False)
        return self._reply({"Parameters": [self._shown(n, opened) for n in page], **more}, opened)

    def _named(self, asked: dict[str, Any]) -> Reply:
        names = asked["Names"]
        if not 1 <= len(names) <= 10:
            return failure("ValidationException", "1 to 10 names")
        opened = asked.get("WithDecryption", False)
        found = [self._shown(name, opened) for name in names if name in self.parameters]
        invalid = [name for name in names if name not in self.parameters]
        return self._reply({"Parameters": found, "InvalidParameters": invalid}, opened)

    def _put(self, asked: dict[str, Any]) -> Reply:
        name, tier = asked["Name"], asked.get("Tier", "Standard")
        if self.may_put <= 0:
            return denial("ssm:PutParameter", name)
        self.may_put -= 1
        known = self.parameters.get(name)
        if known and not asked.get("Overwrite"):
            return failure("ParameterAlreadyExists")
        kind = asked.get("Type") or (known.kind if known else None)
        if kind is None:
            return failure("ValidationException", "A parameter type is required")
        if known and kind != known.kind:
            return failure("HierarchyTypeMismatchException", "the type cannot be changed")
        needed = "Standard" if len(asked["Value"].encode()) <= 4096 else "Advanced"
        before = self.tiers.get(name, "Standard")
        if tier == "Intelligent-Tiering":
            tier = "Advanced" if "Advanced" in {needed, before} else "Standard"
        if tier == "Standard" and "Advanced" in {needed, before}:
            return failure("ValidationException", "Standard: at most 4096, and no downgrade")
        try:
            self.put(name, asked["Value"], kind=kind)
        except ValueError as refused:
            return failure("ValidationException", str(refused))
        self.tiers[name] = tier
        return self._reply({"Version": self.parameters[name].version, "Tier": tier}, opened=False)

    def _delete(self, asked: dict[str, Any]) -> Reply:
        if self.may_put <= 0:
            return denial("ssm:DeleteParameter", asked["Name"])
        self.may_put -= 1
        if self.parameters.pop(asked["Name"], None) is None:
            return failure("ParameterNotFound")
        return self._reply({}, opened=False)

    def _history(self, asked: dict[str, Any]) -> Reply:
        """Every version was written by `writer`, in pages of one."""
        if self.writer is None:
            return denial("ssm:GetParameterHistory", asked["Name"])
        stored = self.parameters.get(asked["Name"])
        if stored is None:
            return failure("ParameterNotFound")
        version = int(asked.get("NextToken", "1"))
        entry = {
            "Name": asked["Name"], "Type": stored.kind, "Version": version,
            "LastModifiedUser": f"{self.writer}{version}", "LastModifiedDate": 1.8e9 + version,
        }  # fmt: skip
        more = {"NextToken": str(version + 1)} if version < stored.version else {}
        return self._reply({"Parameters": [entry], **more}, opened=False)

    def _shown(self, name: str, opened: bool) -> dict[str, Any]:  # noqa: FBT001
        stored = self.parameters[name]
        hidden = stored.kind == "SecureString" and not opened
        return {
            "Name": name,
            "Type": stored.kind,
            "Value": "AQICAHciphertext" if hidden else stored.value,
            "Version": stored.version,
            "ARN": f"arn:aws:ssm:us-east-1:1:parameter{name}",
        }

    def _reply(self, document: dict[str, Any], opened: bool) -> Reply:  # noqa: FBT001
        secure = any(p["Type"] == "SecureString" for p in document.get("Parameters", []))
        if opened and secure and not self.may_decrypt:
            return denial("kms:Decrypt", "arn:aws:kms:us-east-1:1:key/x")
        body = json.dumps(document).encode()
        return Reply(body=body, kind="application/x-amz-json-1.1")
