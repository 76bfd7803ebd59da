"""Every call of the agent API that a job can make, by method and path.

Where each is in the agent's source: docs/agent-api.md#calls
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

KIB, MIB = 1 << 10, 1 << 20
# Read and set by each checkout, so that Buildkite can show the commit of a build.
COMMIT = "buildkite:git:commit"


class Kind(Enum):
    """What a call does. The value is how messages name it."""

    META_DATA_READ = "read meta-data"
    META_DATA_SET = "set meta-data"
    META_DATA_SET_BATCH = "set meta-data in one batch"
    ARTIFACTS_CREATE = "upload artifacts"
    ARTIFACTS_UPDATE = "update the state of artifacts"
    ARTIFACTS_SEARCH = "search artifacts"
    ANNOTATE = "annotate the build"
    ANNOTATION_REMOVE = "remove an annotation"
    PIPELINE_UPLOAD = "upload a pipeline"
    PIPELINE_STATUS = "see the state of a pipeline upload"
    STEP_EXPORT = "read a step"
    STEP_UPDATE = "update a step"
    STEP_CANCEL = "cancel a step"
    BUILD_CANCEL = "cancel a build"
    JOB_UPDATE = "update the job"
    PROMISE_FAILURE = "declare that the job will fail"
    OIDC = "request an OIDC token"
    SECRET = "read a secret"  # noqa: S105 - what a call does
    REPOSITORY_TOKEN = "request a token for a repository"  # noqa: S105 - what a call does
    CACHE = "use a cache registry"
    STORE = "move an artifact's content"
    OF_AGENT = "make a call of the agent itself"


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """A call's kind, and the names in its path; "" for those that it does not have."""

    kind: Kind
    most: int  # bytes of a body
    job: str = ""
    build: str = ""
    step: str = ""
    name: str = ""  # the last: a verb, a context, an upload's id, the store's key
    registry: str = ""


_TABLE: Final = tuple(
    (kind, method, tuple(path.split("/")), most)
    for kind, method, path, most in (
        (Kind.META_DATA_READ, "POST", "jobs/:job/data/get|exists|keys", 16 * KIB),
        (Kind.META_DATA_READ, "POST", "builds/:build/data/get|exists|keys", 16 * KIB),
        (Kind.META_DATA_SET, "POST", "jobs/:job/data/set", MIB),
        (Kind.META_DATA_SET_BATCH, "POST", "jobs/:job/data/set-batch", 8 * MIB),
        (Kind.ARTIFACTS_CREATE, "POST", "jobs/:job/artifacts", 4 * MIB),
        (Kind.ARTIFACTS_UPDATE, "PUT", "jobs/:job/artifacts", 4 * MIB),
        (Kind.ARTIFACTS_SEARCH, "GET", "builds/:build/artifacts/search", 0),
        (Kind.ANNOTATE, "POST", "jobs/:job/annotations", 8 * MIB),
        (Kind.ANNOTATION_REMOVE, "DELETE", "jobs/:job/annotations/:name", 0),
        (Kind.PIPELINE_UPLOAD, "POST", "jobs/:job/pipelines", 8 * MIB),
        (Kind.PIPELINE_STATUS, "GET", "jobs/:job/pipelines/:name", 0),
        (Kind.STEP_EXPORT, "POST", "steps/:step/export", 16 * KIB),
        (Kind.STEP_UPDATE, "PUT", "steps/:step", 128 * KIB),
        (Kind.STEP_CANCEL, "POST", "steps/:step/cancel", 16 * KIB),
        (Kind.BUILD_CANCEL, "POST", "builds/:build/cancel", 16 * KIB),
        (Kind.JOB_UPDATE, "PUT", "jobs/:job", 64 * KIB),
        (Kind.PROMISE_FAILURE, "PUT", "jobs/:job/promise_failure", 16 * KIB),
        (Kind.OIDC, "POST", "jobs/:job/oidc/tokens", 16 * KIB),
        (Kind.SECRET, "GET", "jobs/:job/secrets", 0),
        (Kind.REPOSITORY_TOKEN, "POST", "jobs/:job/repository_access_token", 16 * KIB),
        (Kind.CACHE, "GET", "cache_registries/:registry", 0),
        (Kind.CACHE, "POST", "cache_registries/:registry/peek|retrieve|expire", 256 * KIB),
        (Kind.CACHE, "PUT", "cache_registries/:registry/store|commit", 256 * KIB),
        (Kind.STORE, "POST", "store/:name", 0),
        (Kind.STORE, "GET", "store/:name", 0),
        (Kind.OF_AGENT, "GET", "jobs/:job", 0),
        (Kind.OF_AGENT, "PUT", "jobs/:job/accept|acquire|start|finish", 0),
        (Kind.OF_AGENT, "POST", "jobs/:job/chunks|header_times", 0),
        (Kind.OF_AGENT, "POST", "register|connect|disconnect|stop|pause|resume|heartbeat", 0),
        (Kind.OF_AGENT, "GET", "ping|token", 0),
    )
)


def find(method: str, path: tuple[str, ...]) -> Route | None:
    """Return the call of this method and path, whose parts are decoded; None if there is none."""
    for kind, of, pattern, most in _TABLE:
        if of == method and len(pattern) == len(path):
            names = _names(pattern, path)
            if names is not None:
                return Route(kind=kind, most=most, **names)
    return None


def _names(pattern: tuple[str, ...], path: tuple[str, ...]) -> dict[str, str] | None:
    names = {}
    for expected, part in zip(pattern, path, strict=True):
        if expected.startswith(":"):
            names[expected[1:]] = part
        elif part not in expected.split("|"):
            return None
        elif "|" in expected:
            names["name"] = part
    return names
