"""The pipelines that a replayed job uploads: a file each, and shown as a tree. None of it runs."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bootstrap.agent_api.model import Answer, Call, MalformedError, json_answer, problem
from bootstrap.agent_api.offline.files import own_directory, refuse_link
from bootstrap.agent_api.routes import Kind
from bootstrap.files import write
from bootstrap.text import printable

MAX_UPLOADS = 100
MAX_LINES = 200
MAX_YAML = 1 << 18  # bytes; YAML is slow to write, so larger pipelines stay JSON
_NAMES = ("label", "name", "group", "block", "input", "wait", "trigger", "key")


class Pipelines:
    """Its callers take turns. Raises OSError for a directory that is a symbolic link."""

    def __init__(self, directory: Path, job: str, show: Callable[[str], object]) -> None:
        refuse_link(directory)  # now: after a failed upload, the agent tries again for minutes
        self._directory = directory
        self._job = job
        self._show = show
        self.uploads: dict[str, Path] = {}  # by the agent's id of each

    def answer(self, call: Call) -> Answer:
        """Answer a call about pipelines. Raises MalformedError and OSError."""
        if call.route.kind is Kind.PIPELINE_STATUS:
            if call.route.name not in self.uploads:
                return problem(404, "no such pipeline upload")
            return json_answer({"state": "applied", "message": ""})
        document = call.document()
        upload, pipeline = document.get("uuid"), document.get("pipeline")
        if not isinstance(upload, str) or not upload or not isinstance(pipeline, dict | list):
            raise MalformedError("a pipeline upload has a 'uuid' and a 'pipeline'")
        if upload not in self.uploads:
            if len(self.uploads) >= MAX_UPLOADS:
                return problem(422, f"a replay takes at most {MAX_UPLOADS} pipeline uploads")
            try:
                self.uploads[upload] = self._write(pipeline)
            except RecursionError:
                raise MalformedError("the pipeline is nested too deeply") from None
            replaces = ", in place of the steps that follow" if document.get("replace") else ""
            title = f"pipeline upload {len(self.uploads)}{replaces}: {self.uploads[upload]}"
            self._show("\n".join([title, *tree(pipeline)]))
        return json_answer({})

    def _write(self, pipeline: object) -> Path:
        own_directory(self._directory)
        number = len(self.uploads) + 1
        text, suffix = json.dumps(pipeline, indent=2, ensure_ascii=False) + "\n", "json"
        if len(text) <= MAX_YAML:
            import yaml  # noqa: PLC0415 - most jobs upload none

            text, suffix = yaml.safe_dump(pipeline, sort_keys=False, allow_unicode=True), "yml"
        path = self._directory / f"{number}.{suffix}"
        write(path, text.encode("utf-8", "backslashreplace"), mode=0o644)
        return path


def tree(pipeline: object) -> list[str]:
    """Return the steps as lines of a tree, safe to print."""
    shown = list(_lines(_steps(pipeline), ""))
    if len(shown) > MAX_LINES:
        return [*shown[:MAX_LINES], f"… {len(shown) - MAX_LINES} more lines"]
    return shown


def _steps(pipeline: object) -> list[Any]:
    steps = pipeline.get("steps") if isinstance(pipeline, dict) else pipeline
    return steps if isinstance(steps, list) else []


def _lines(steps: list[Any], indent: str) -> Iterator[str]:
    for step in steps:
        last = step is steps[-1]
        yield f"{indent}{'╰' if last else '├'}─ {_shown(step)}"
        if isinstance(step, dict) and isinstance(step.get("steps"), list) and len(indent) < 9:
            yield from _lines(step["steps"], indent + ("   " if last else "│  "))


def _shown(step: object) -> str:
    if not isinstance(step, Mapping):
        return printable(str(step), limit=100)
    kind = next((one for one in ("group", "block", "input", "wait", "trigger") if one in step), "")
    names = [str(step[name]) for name in _NAMES if step.get(name)]
    command = step.get("command") or step.get("commands") or ""
    first = command[0] if isinstance(command, list) and command else command
    text = ": ".join(filter(None, [kind, names[0] if names else "", str(first).split("\n")[0]]))
    return printable(text or "a step", limit=100)
