"""Which artifacts a job has registered: the only ones whose state it may update.

Nothing says that Buildkite compares an artifact's id with the job in the path, so that a job could
mark another one's as failed.
"""

import json
import threading
from typing import BinaryIO

from bootstrap.agent_api.model import Answer, Call, MalformedError

MOST = 100_000  # artifacts of one job; each takes about 100 bytes of memory


class Uploads:
    """Any thread may call."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._ids: set[str] = set()

    def registered(self, answer: Answer) -> None:
        """Take note of the ids in Buildkite's answer, which stays as it is."""
        ids = _ids(answer.body) if answer.status < 300 else ()
        with self._mutex:
            self._ids.update(ids if len(self._ids) + len(ids) <= MOST else ())

    def refuses(self, call: Call) -> str:
        """Return why the update may not be sent, or "". Raises MalformedError."""
        updated = call.document().get("artifacts")
        if not isinstance(updated, list) or not all(isinstance(one, dict) for one in updated):
            raise MalformedError("'artifacts' is not a list of ids and states")
        with self._mutex:
            foreign = [one for one in updated if not self._is_known(one.get("id"))]
        return "the job may update no artifact but those that it has registered" if foreign else ""

    def _is_known(self, artifact: object) -> bool:
        return isinstance(artifact, str) and artifact in self._ids


def _ids(body: bytes | BinaryIO) -> tuple[str, ...]:
    if isinstance(body, bytes):
        return ()
    try:
        document = json.loads(body.read())
    except (ValueError, RecursionError):
        document = None
    body.seek(0)
    found = document.get("artifact_ids") if isinstance(document, dict) else None
    return tuple(one for one in found if isinstance(one, str)) if isinstance(found, list) else ()
