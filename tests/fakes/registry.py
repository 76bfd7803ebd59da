"""A container registry that requires a login, and an ECR that issues one."""

import base64
import gzip
import hashlib
import io
import json
import secrets
import socket
import tarfile
from collections.abc import Mapping
from typing import Any

from tests.fakes.simulator import Call, Reply, Simulator
from tests.fakes.ssm import denial, failure

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


class Registry(Simulator):
    """Images by `repository:tag`; a push replaces one. `logins` are user names and passwords."""

    def __init__(self, listener: socket.socket, logins: Mapping[str, str]) -> None:
        super().__init__(listener)
        self.logins = dict(logins)
        self.host = self.url.removeprefix("http://")
        self._blobs: dict[str, bytes] = {}
        self._tags: dict[tuple[str, str], str] = {}

    def push(self, repository: str, tag: str, files: Mapping[str, bytes]) -> str:
        """Put an image of one layer with these files there; return its reference by digest."""
        layer = _tar(files)
        config = {
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }  # fmt: skip
        packed, described = gzip.compress(layer, mtime=0), json.dumps(config).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._keep(described, "container.image.v1+json"),
            "layers": [self._keep(packed, "image.rootfs.diff.tar.gzip")],
        }
        digest = str(self._keep(json.dumps(manifest).encode(), "")["digest"])
        self._tags[repository, tag] = digest
        return f"{self.host}/{repository}@{digest}"

    def _keep(self, content: bytes, kind: str) -> dict[str, Any]:
        digest = _digest(content)
        self._blobs[digest] = content
        kind = f"application/vnd.docker.{kind}"
        return {"mediaType": kind, "size": len(content), "digest": digest}

    def answer(self, call: Call) -> Reply:
        basic = call.headers.get("authorization", "").removeprefix("Basic ")
        known = {base64.b64encode(f"{u}:{p}".encode()).decode() for u, p in self.logins.items()}
        if basic not in known:
            return Reply(
                status=401,
                body=b'{"errors": [{"code": "UNAUTHORIZED", "message": "who are you?"}]}',
                headers={"WWW-Authenticate": 'Basic realm="registry"'},
            )
        if call.path == "/v2/":
            return Reply()
        repository, kind, name = call.path.removeprefix("/v2/").rsplit("/", 2)
        digest = self._tags.get((repository, name), name)
        content = self._blobs.get(digest)
        if content is None:
            return Reply(status=404, body=b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')
        shown = MANIFEST if kind == "manifests" else "application/octet-stream"
        return Reply(body=content, kind=shown, headers={"Docker-Content-Digest": digest})


class Ecr(Simulator):
    """Issues tokens for `registry`, which then accepts them; with `forbidden`, it denies all."""

    def __init__(self, listener: socket.socket, registry: Registry) -> None:
        super().__init__(listener)
        self.forbidden = False
        self._registry = registry

    def answer(self, call: Call) -> Reply:
        target = call.headers["x-amz-target"].rpartition(".")[2]
        if target != "GetAuthorizationToken":
            return failure("InvalidAction")
        if self.forbidden:
            return denial("ecr:GetAuthorizationToken", "*")
        password = f"ecr-{secrets.token_hex(16)}"
        self._registry.logins["AWS"] = password
        token = base64.b64encode(f"AWS:{password}".encode()).decode()
        data = {"authorizationToken": token, "expiresAt": 2e9, "proxyEndpoint": self._registry.url}
        body = json.dumps({"authorizationData": [data]}).encode()
        return Reply(body=body, kind="application/x-amz-json-1.1")


def _tar(files: Mapping[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
