"""A git server: bare repositories over plain HTTP, read-only, with the files of Git LFS."""

import base64
import hashlib
import json
import secrets
import socket
import ssl
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.fakes.simulator import Call, Reply, Simulator, problem

IDENTITY = (
    "-c", "user.name=Lab", "-c", "user.email=lab@example.com", "-c", "init.defaultBranch=main",
)  # fmt: skip


_LFS = "application/vnd.git-lfs+json"


class GitServer(Simulator):
    """Serves what `publish` made below `root`."""

    def __init__(self, listener: socket.socket, root: Path) -> None:
        super().__init__(listener)
        self.root = root

    def answer(self, call: Call) -> Reply:
        if "git-upload-pack" in (call.path.rsplit("/", 1)[-1], call.query.get("service")):
            return self._smart(call)
        if call.path.endswith("/info/lfs/objects/batch"):
            return self._batch(call)
        path = (self.root / call.path.lstrip("/")).resolve()
        if not path.is_file() or not path.is_relative_to(self.root.resolve()):
            return problem(404, "no such object")
        return Reply(body=path.read_bytes(), kind="application/octet-stream")

    def _batch(self, call: Call) -> Reply:
        """Say where the content of LFS files is: https://github.com/git-lfs/git-lfs, batch API."""
        asked = call.json()
        if asked["operation"] != "download" or "basic" not in asked.get("transfers", ["basic"]):
            return problem(422, "only downloads with the basic transfer are served")
        objects = [self._lfs_object(one["oid"], one["size"]) for one in asked["objects"]]
        document = {"transfer": "basic", "objects": objects, "hash_algo": "sha256"}
        return Reply(body=json.dumps(document).encode(), kind=_LFS)

    def _lfs_object(self, oid: str, size: int) -> dict[str, object]:
        path = self.root / "lfs" / oid
        if not path.is_file() or path.stat().st_size != size:
            error = {"code": 404, "message": "Object does not exist"}
            return {"oid": oid, "size": size, "error": error}
        actions = {"download": {"href": f"{self.url}/lfs/{oid}"}}
        return {"oid": oid, "size": size, "actions": actions}

    def _smart(self, call: Call) -> Reply:
        """Answer by git's own CGI, which supports filters and sends requested objects only."""
        env = {
            "PATH": "/usr/bin:/bin",
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": call.headers.get("git-protocol", ""),
            "PATH_INFO": call.path,
            "QUERY_STRING": "&".join(f"{name}={value}" for name, value in call.query.items()),
            "REQUEST_METHOD": call.method,
            "CONTENT_TYPE": call.headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(call.body)),
            "HTTP_CONTENT_ENCODING": call.headers.get("content-encoding", ""),
        }
        done = subprocess.run(
            ["git", "http-backend"], input=call.body, env=env, capture_output=True, check=False
        )
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        status = int(fields.get("Status", "200").split()[0])
        return Reply(status=status, body=body, kind=fields.get("Content-Type", "text/plain"))


class PrivateGitServer(GitServer):
    """The same over TLS, for clients with `user` and `password`."""

    def __init__(self, listener: socket.socket, root: Path, certificate: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        super().__init__(context.wrap_socket(listener, server_side=True), root)
        self.url = self.url.replace("http://", "https://")
        self.user, self.password = "x-access-token", "git-" + secrets.token_hex(8)

    def answer(self, call: Call) -> Reply:
        expected = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        if call.headers.get("authorization") != f"Basic {expected}":
            return Reply(status=401, headers={"WWW-Authenticate": 'Basic realm="git"'})
        return super().answer(call)


def self_signed(directory: Path, *names: str) -> Path:
    """Return a new certificate for these names, with its key, in one file."""
    path = directory / "server.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
               "-subj", "/CN=git", "-keyout"]  # fmt: skip
    if names:
        command[-1:-1] = ["-addext", f"subjectAltName={','.join(f'DNS:{name}' for name in names)}"]
    subprocess.run([*command, str(path), "-out", f"{path}.crt"], capture_output=True, check=True)
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


def publish(root: Path, name: str, files: Mapping[str, str]) -> str:
    """Make `name`.git with one commit of `files` on main and return the commit."""
    work = root / f"{name}.work"
    for path, text in files.items():
        target = work / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(0o755 if text.startswith("#!") else 0o644)
    git(work, "init", "-q")
    git(work, "add", "-A")
    git(work, "commit", "-q", "-m", "What the job checks out")
    git(work, "clone", "-q", "--bare", ".", str(root / f"{name}.git"))
    git(root / f"{name}.git", "config", "uploadpack.allowFilter", "true")
    git(root / f"{name}.git", "config", "uploadpack.allowAnySHA1InWant", "true")
    git(root / f"{name}.git", "update-server-info")
    return git(work, "rev-parse", "HEAD").strip()


def lfs_file(root: Path, content: bytes) -> str:
    """Store what an LFS file has, and return the pointer to commit.

    Its form: the specification in https://github.com/git-lfs/git-lfs.
    """
    oid = hashlib.sha256(content).hexdigest()
    (root / "lfs").mkdir(exist_ok=True)
    (root / "lfs" / oid).write_bytes(content)
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n"


def add_submodule(root: Path, name: str, path: str, commit: str, url: str) -> str:
    """Make `commit` of the repository at `url` a submodule of `name`; return the new commit."""
    work = root / f"{name}.work"
    with (work / ".gitmodules").open("a") as modules:
        modules.write(f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n')
    git(work, "add", ".gitmodules")
    git(work, "update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
    git(work, "commit", "-q", "-m", f"Add {path}")
    git(work, "push", "-q", str(root / f"{name}.git"), "HEAD:main")
    return git(work, "rev-parse", "HEAD").strip()


def git(directory: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *IDENTITY, *arguments], cwd=directory, capture_output=True, text=True, check=True
    )
    return done.stdout
