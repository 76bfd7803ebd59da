"""The artifacts of a replayed build: registered, uploaded, found and downloaded."""

import hashlib
import os
import secrets
import threading
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any

from bootstrap.agent_api.model import (
    Answer,
    Call,
    MalformedError,
    OwnIds,
    json_answer,
    problem,
    refusal,
)
from bootstrap.agent_api.offline.files import Files
from bootstrap.agent_api.offline.upload_form import parse
from bootstrap.agent_api.routes import Kind

MAX_ARTIFACTS = 10_000
MAX_TOTAL = 20 << 30  # bytes of all artifacts
_TEXTS = ("path", "absolute_path", "glob_path", "sha1sum", "sha256sum", "content_type", "url")
_MAX_TEXT = 8192  # characters


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """One artifact: what the agent announced, and where its content is."""

    id: str
    batch: str
    path: str
    size: int
    created: str
    announced: Mapping[str, str]
    destination: str  # a store of the job's own, or ""
    state: str = "new"
    key: str = ""  # of its download; "" without content
    names: tuple[str, ...] = ()  # of the file
    is_provided: bool = False  # an earlier job's


class Artifacts:
    """All artifacts; any thread may call, and only moving content takes time."""

    def __init__(
        self,
        files: Files,
        own: OwnIds,
        base_url: str,
        *,
        scopes: frozenset[str],
        provided: Files | None,
        now: datetime,
    ) -> None:
        self._files = files
        self._provided = provided
        self._own = own
        self._base_url = base_url
        self._scopes = scopes
        self._mutex = threading.Lock()
        found = _provided(provided, now) if provided else []
        self._known = {one.id: one for one in found}
        self._batches: dict[str, str] = {}  # the store's key -> batch

    @property
    def all(self) -> tuple[Artifact, ...]:
        """All artifacts, as they are now."""
        with self._mutex:
            return tuple(self._known.values())

    def answer(self, call: Call, now: datetime) -> Answer:
        """Answer a call about artifacts. Raises MalformedError."""
        match call.route.kind, call.method:
            case Kind.ARTIFACTS_CREATE, _:
                return self._create(call.document(), now)
            case Kind.ARTIFACTS_UPDATE, _:
                return self._update(call.document())
            case Kind.STORE, "POST":
                return self._upload(call)
            case Kind.STORE, _:
                return self._download(call.route.name)
            case _:
                return self._search(call.query)

    def _create(self, document: Mapping[str, Any], now: datetime) -> Answer:
        """Register a batch; one that is repeated gets the same answer."""
        batch, wanted = _text(document, "id"), document.get("artifacts")
        if not batch or not isinstance(wanted, list) or not wanted:
            raise MalformedError("a batch has an 'id' and 'artifacts'")
        destination = _text(document, "upload_destination")
        with self._mutex:
            known = [one for one in self._known.values() if one.batch == batch]
            if not known:
                known = [_registered(one, batch, destination, now) for one in wanted]
                all_of_them = (*self._known.values(), *known)
                total = sum(
                    one.size for one in all_of_them if not (one.destination or one.is_provided)
                )
                if len(all_of_them) > MAX_ARTIFACTS or total > MAX_TOTAL:
                    limits = f"{MAX_ARTIFACTS} artifacts and {MAX_TOTAL} bytes of them"
                    return problem(403, f"a replay takes at most {limits}")
                self._known |= {one.id: one for one in known}
                self._batches[secrets.token_urlsafe(16)] = batch
            key = next(key for key, of in self._batches.items() if of == batch)
        action = {"method": "POST", "url": self._base_url, "path": f"/store/{key}",
                  "file_input": "file"}  # fmt: skip
        instructions = {"action": action, "data": {"path": "${artifact:path}"}}
        ids = [one.id for one in known]
        return json_answer({"id": batch, "artifact_ids": ids, "upload_instructions": instructions})

    def _update(self, document: Mapping[str, Any]) -> Answer:
        states = document.get("artifacts")
        if not isinstance(states, list):
            raise MalformedError("'artifacts' is not a list")
        with self._mutex:
            for one in states:
                known = self._known.get(_text(one, "id"))
                if known:
                    self._known[known.id] = replace(known, state=_text(one, "state"))
        return json_answer({})

    def _upload(self, call: Call) -> Answer:
        form = parse(call.headers.get("content-type", ""), call.body, call.size)
        with self._mutex:
            batch = self._batches.get(call.route.name)
            found = [one for one in self._known.values() if one.batch == batch]
        artifact = next((one for one in found if one.path == form.fields.get("path")), None)
        if artifact is None:
            return problem(404, "no artifact of this path is expected here")
        if artifact.key:  # the agent tries again, as the answer to its first try was lost
            return Answer(status=204)
        if form.size != artifact.size:
            return problem(422, f"{artifact.size} bytes were announced, {form.size} came")
        call.body.seek(form.start)
        try:
            names, digest = self._files.add(artifact.path, call.body, form.size)
        except OSError as failed:
            return refusal(f"the artifact cannot be written: {failed.strerror}", status=507)
        if artifact.announced["sha256sum"] not in {"", digest}:
            return problem(422, "the content is not what was announced (SHA-256)")
        key = secrets.token_urlsafe(16)
        with self._mutex:
            self._known[artifact.id] = replace(artifact, key=key, names=names)
        return Answer(status=204)

    def _download(self, key: str) -> Answer:
        with self._mutex:
            found = next((one for one in self._known.values() if one.key == key), None)
        with suppress(OSError):
            if found:
                file = self._store(found).opened(found.names)
                size, kind = os.fstat(file.fileno()).st_size, "application/octet-stream"
                return Answer(
                    headers={"Content-Type": kind}, body=file, size=size, closing=file.close
                )
        return problem(404, "no such artifact")

    def _search(self, query: Mapping[str, str]) -> Answer:
        """Find artifacts, newest first; of several with one path the newest, unless all asked."""
        scope = query.get("scope", "")
        with self._mutex:
            known = list(self._known.values())[::-1]
        found = [
            one for one in known
            if query.get("state", one.state) == one.state and _matches(one.path, query)
            and (scope in {"", *self._scopes} or one.is_provided)
        ]  # fmt: skip
        if query.get("include_duplicates") != "true":
            found = list({one.path: one for one in reversed(found)}.values())
        return json_answer([self._shown(self._with_sums(one)) for one in found])

    def _store(self, one: Artifact) -> Files:
        return self._provided if one.is_provided and self._provided else self._files

    def _with_sums(self, one: Artifact) -> Artifact:
        """Read an earlier job's artifact once it is searched for: there may be many of them."""
        if not one.is_provided or one.announced["sha256sum"]:
            return one
        sums = {}
        with suppress(OSError), self._store(one).opened(one.names) as file:
            for name in ("sha1", "sha256"):
                file.seek(0)
                sums[f"{name}sum"] = hashlib.file_digest(file, name).hexdigest()
        summed = replace(one, announced={**one.announced, **sums})
        with self._mutex:
            self._known[one.id] = summed
        return summed

    def _shown(self, one: Artifact) -> dict[str, Any]:
        url = f"{self._base_url}/store/{one.key}" if one.key else one.announced["url"]
        return {
            **one.announced,
            "id": one.id,
            "job_id": self._own.job,
            "file_size": one.size,
            "created_at": one.created,
            "upload_destination": one.destination,
            "state": one.state,
            "url": url,
        }


def _matches(path: str, query: Mapping[str, str]) -> bool:
    """As Buildkite's search, where `*` matches `/` too: buildkite/agent, issues 1087 and 1458."""
    return fnmatchcase(path, query.get("query", "*").strip().removeprefix("./"))


def _provided(files: Files, now: datetime) -> list[Artifact]:
    """Return the files that the developer has of earlier jobs, as their artifacts."""
    nothing = dict.fromkeys(_TEXTS, "")
    return [
        Artifact(
            id=str(uuid.uuid4()), batch="", path="/".join(names), created=_shown_time(now),
            size=files.directory.joinpath(*names).lstat().st_size, state="finished",
            announced={**nothing, "path": "/".join(names)}, destination="", is_provided=True,
            key=secrets.token_urlsafe(16), names=names,
        )
        for names in islice(files.found(), MAX_ARTIFACTS // 2)
    ]  # fmt: skip


def _shown_time(now: datetime) -> str:
    return f"{now:%Y-%m-%dT%H:%M:%SZ}"


def _registered(one: object, batch: str, destination: str, now: datetime) -> Artifact:
    if not isinstance(one, dict):
        raise MalformedError("an artifact is not an object")
    announced = {name: _text(one, name) for name in _TEXTS}
    size = one.get("file_size")
    if not isinstance(size, int) or size < 0 or not announced["path"]:
        raise MalformedError("an artifact has a 'path' and a 'file_size'")
    return Artifact(
        id=str(uuid.uuid4()), batch=batch, path=announced["path"], size=size,
        created=_shown_time(now), announced=announced, destination=destination,
    )  # fmt: skip


def _text(document: object, name: str) -> str:
    value = document.get(name, "") if isinstance(document, dict) else None
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise MalformedError(f"{name!r} is not a text of at most {_MAX_TEXT} characters")
    return value
