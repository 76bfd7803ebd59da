"""The offline back end: what a replayed job calls, answered on this machine."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import assert_never

from bootstrap.agent_api.model import (
    Answer,
    Call,
    MalformedError,
    OwnIds,
    json_answer,
    problem,
    refusal,
)
from bootstrap.agent_api.offline import tokens
from bootstrap.agent_api.offline.annotations import Annotation, Annotations
from bootstrap.agent_api.offline.artifacts import Artifact, Artifacts
from bootstrap.agent_api.offline.files import Files, own_directory
from bootstrap.agent_api.offline.meta_data import MetaData
from bootstrap.agent_api.offline.pipelines import Pipelines
from bootstrap.agent_api.offline.steps import Steps
from bootstrap.agent_api.routes import Kind, Route
from bootstrap.agent_api.spool import Spool, Storage
from bootstrap.secret import Secret
from bootstrap.text import printable

LARGEST = 5 << 30  # bytes of one artifact, as at Buildkite
TOTAL = 8 << 30  # bytes of all bodies that are being received

Show = Callable[[str], object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a replayed job left behind."""

    meta_data: Mapping[str, str]
    artifacts: tuple[Artifact, ...]
    annotations: tuple[Annotation, ...]
    pipelines: tuple[Path, ...]
    step: Mapping[str, str]
    updates: Mapping[str, str]  # of the job


class Offline:
    """A bootstrap.agent_api.model.Backend that reaches nothing but one directory.

    Below `directory` it writes artifacts/, pipelines/ and annotations.html. `base_url` is where the
    job reaches the server. `env` is the job's environment. `show` gets texts for the terminal, in
    several threads, one at a time; nothing in them is interpreted by a terminal. `provided` has
    files that earlier jobs of the build uploaded, under their paths.
    Raises OSError for a directory that cannot be used.
    """

    def __init__(
        self,
        directory: Path,
        own: OwnIds,
        *,
        base_url: str,
        env: Mapping[str, str],
        show: Show,
        meta_data: Mapping[str, str] | None = None,
        secrets: Mapping[str, Secret] | None = None,
        oidc_stub: bool = False,
        provided: Path | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        own_directory(directory)
        step = env.get("BUILDKITE_STEP_KEY", "")
        scopes = frozenset({own.job, own.step, step, env.get("BUILDKITE_LABEL", "")})
        self._files = Files(directory / "artifacts")
        self._own = own
        self._show = show
        self._secrets = secrets or {}
        self._oidc_stub = oidc_stub
        self._clock = clock
        self._meta_data = MetaData(meta_data or {})
        self._provided = Files(provided) if provided else None
        self._artifacts = Artifacts(
            self._files, own, base_url, scopes=scopes, provided=self._provided, now=clock()
        )
        self._annotations = Annotations(directory / "annotations.html", show)
        self._pipelines = Pipelines(directory / "pipelines", own.job, show)
        self._steps = Steps(own, env)
        self._updates: dict[str, str] = {}
        self._turn = threading.Lock()
        self._spool = Spool(Storage(directory=directory, total=TOTAL, upload=LARGEST + (1 << 20)))

    @property
    def spool(self) -> Spool:
        """Where bodies are kept."""
        return self._spool

    def close(self) -> None:
        """Close the directory. What was written stays."""
        self._files.close()
        if self._provided:
            self._provided.close()

    def report(self) -> Report:
        """Return what there is now."""
        with self._turn:
            return Report(
                meta_data=dict(self._meta_data.values),
                artifacts=tuple(one for one in self._artifacts.all if not one.is_provided),
                annotations=self._annotations.all,
                pipelines=tuple(self._pipelines.uploads.values()),
                step=dict(self._steps.attributes),
                updates=dict(self._updates),
            )

    def refuses(self, route: Route) -> str:
        """Return "": a refusal depends on more than the kind of a call."""
        del route
        return ""

    def answer(self, call: Call) -> Answer:
        """Answer a call of the replayed job. Raises MalformedError."""
        if call.route.build not in {"", self._own.build}:
            return problem(404, "this replay has no other build than the job's own")
        if call.route.kind in _OF_ARTIFACTS:
            answer = self._artifacts.answer(call, self._clock())
            if call.route.kind is Kind.ARTIFACTS_SEARCH and answer.body == b"[]":
                with self._turn:
                    self._show(f"no artifact is here for {printable(call.query.get('query', '*'))}")
            return answer
        with self._turn:
            try:
                return self._in_turn(call)
            except OSError as failed:
                return refusal(f"the replay cannot write: {failed.strerror}", status=507)

    def _in_turn(self, call: Call) -> Answer:
        match call.route.kind:
            case Kind.META_DATA_READ | Kind.META_DATA_SET | Kind.META_DATA_SET_BATCH:
                answer = self._meta_data.answer(call)
            case Kind.ANNOTATE | Kind.ANNOTATION_REMOVE:
                answer = self._annotations.answer(call)
            case Kind.PIPELINE_UPLOAD | Kind.PIPELINE_STATUS:
                answer = self._pipelines.answer(call)
            case Kind.STEP_EXPORT | Kind.STEP_UPDATE:
                answer = self._steps.answer(call)
            case Kind.STEP_CANCEL | Kind.BUILD_CANCEL:
                answer = self._cancel(call)
            case Kind.JOB_UPDATE | Kind.PROMISE_FAILURE:
                answer = self._update(call)
            case Kind.OIDC | Kind.SECRET | Kind.REPOSITORY_TOKEN:
                answer = tokens.answer(
                    call, self._own, self._clock(),
                    oidc_stub=self._oidc_stub, secrets=self._secrets,
                )  # fmt: skip
            case Kind.CACHE:
                answer = _cache(call.route.name)
            case (
                Kind.ARTIFACTS_CREATE | Kind.ARTIFACTS_UPDATE | Kind.ARTIFACTS_SEARCH
                | Kind.STORE | Kind.OF_AGENT
            ):  # fmt: skip
                answer = problem(404, "a replay has no such call")
            case _:
                assert_never(call.route.kind)
        return answer

    def _cancel(self, call: Call) -> Answer:
        """A replay has nothing to cancel, and goes on."""
        if call.route.kind is Kind.STEP_CANCEL:
            answer = self._steps.answer(call)
        else:
            answer = json_answer({"uuid": self._own.build})
        if answer.status < 300:
            self._show(f"the job asked to {call.route.kind.value}: a replay goes on")
        return answer

    def _update(self, call: Call) -> Answer:
        document = call.document()
        if call.route.kind is Kind.PROMISE_FAILURE:
            status = document.get("exit_status")
            if not isinstance(status, int) or status == 0:
                raise MalformedError("a promised failure has an 'exit_status' other than 0")
            self._show(f"the job declared that it will fail with exit status {status}")
            return Answer(status=204)
        changes = {str(name): str(value) for name, value in document.items()}
        if len(self._updates | changes) > 100:
            return problem(422, "a replay takes at most 100 attributes of a job")
        self._updates |= changes
        for name, value in changes.items():
            self._show(f"the job changed its {printable(name)} to {printable(value)}")
        return json_answer({"id": self._own.job})


def _cache(verb: str) -> Answer:
    """Nothing is in a cache, and nothing needs to be saved: what is there already is not saved."""
    match verb:
        case "retrieve":
            return problem(404, "Cache entry not found")
        case "peek":
            return json_answer({"message": "a replay saves no cache"})
        case _:
            return refusal("a replay has no cache registry")


_OF_ARTIFACTS = {
    Kind.ARTIFACTS_CREATE,
    Kind.ARTIFACTS_UPDATE,
    Kind.ARTIFACTS_SEARCH,
    Kind.STORE,
}
