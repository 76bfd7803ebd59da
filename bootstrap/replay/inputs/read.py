"""From what a developer names to one ReplayInput (docs/replay.md#inputs)."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, assert_never

from bootstrap.buildkite.env_files import NAME, checked, parse_json, parse_shell
from bootstrap.errors import CannotStart
from bootstrap.replay.inputs import from_record, from_step, from_url, needed
from bootstrap.replay.inputs.content import HINT, STANDARD_INPUT, content, wrong
from bootstrap.replay.inputs.recognised import document_of, is_url, kind_of
from bootstrap.replay.inputs.unusable import Unusable
from bootstrap.replay.model import API_URL, InputOptions, Kind, ReplayInput
from bootstrap.text import printable


def read_input(
    source: str, env: Mapping[str, str], options: InputOptions | None = None
) -> ReplayInput:
    """Return the job that `source` names: a path, `-` for standard input, or a URL.

    `env` is the developer's environment, for the token and the proxy. What the job lacks is in
    `missing` (`needed.require_complete`). Raises WrongConfiguration for an input that cannot be
    used, Refused for variables that no job may bring, and CannotStart if Buildkite does not answer.
    """
    options = options or InputOptions()
    given = checked(options.given)
    kind = options.kind
    if is_url(source) and kind in {None, Kind.URL}:
        _check_options(source, Kind.URL, options)
        found = from_url.read(source, env, options.api_url)
    elif kind is Kind.URL:
        raise wrong(source, "is not a URL, which begins with https://")
    else:
        found = _of_content(source, options)
    return replace(needed.completed(found, given, options.fallback), log=options.log or found.log)


def _of_content(source: str, options: InputOptions) -> ReplayInput:
    data = content(source)
    try:
        kind = options.kind or _recognised(source, data, options)
        _check_options(source, kind, options)
        return _parsed(source, data, kind, options)
    except CannotStart as broken:  # of the agent's own files it is; here a person named the file
        raise wrong(source, f"is not the environment of a job: {broken.problem}") from broken
    except ValueError as broken:
        hint = broken.hint if isinstance(broken, Unusable) else HINT
        raise wrong(source, f"cannot be used: {broken}", hint) from broken


def _recognised(source: str, data: bytes, options: InputOptions) -> Kind:
    if options.step is not None or options.matrix or source.endswith((".yml", ".yaml")):
        return Kind.STEP
    try:
        kind = kind_of(data)
    except ValueError as broken:
        raise Unusable(
            f"it begins as JSON and is not, so that it may be cut short: {broken}",
            hint="Copy it again, the whole file.",
        ) from None
    if kind is None:
        raise wrong(
            source,
            "is neither the record nor the environment of a job, nor a pipeline, as far as can be "
            "seen",
            f"{HINT} If it is one of these, say which with --kind {', '.join(Kind)}.",
        )
    return kind


def _parsed(source: str, data: bytes, kind: Kind, options: InputOptions) -> ReplayInput:
    shown = "standard input" if source == STANDARD_INPUT else printable(source, limit=300)
    match kind:
        case Kind.RECORD:
            found = from_record.read(_object(data), shown)
            return replace(found, log=_log_beside(source))
        case Kind.ENV:
            return ReplayInput(kind=kind, source=shown, env=_env(data))
        case Kind.STEP:
            return from_step.read(
                data.decode("utf-8-sig"), shown, step=options.step,
                combination=options.matrix, interpolate=options.interpolate,
                given={**options.fallback, **options.given},
            )  # fmt: skip
        case Kind.URL:
            raise AssertionError(kind)
        case _:
            assert_never(kind)


def _object(data: bytes) -> dict[str, Any]:
    document = document_of(data)
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004
    return document


def _env(data: bytes) -> dict[str, str]:
    document = document_of(data)
    if document is None:
        _check_lines(data)
        env = parse_shell(data)
    else:  # as in the file of the agent, or as in an answer of the REST API
        inner = document.get("env") if isinstance(document, dict) else None
        env = checked(_texts(inner)) if isinstance(inner, dict) else parse_json(data)
    if not env:
        raise ValueError("it has no variable")
    return env


def _check_lines(data: bytes) -> None:
    """Raise ValueError for a line that says nothing: the agent writes no such line."""
    for number, line in enumerate(data.split(b"\n"), start=1):
        text = line.decode("utf-8", "replace").strip()
        if "=" not in text and text and not NAME.fullmatch(text):
            raise Unusable(
                f'its line {number} is not NAME="value": {printable(text, limit=60)!r}',
                hint="Copy the agent's file as it is, and give further variables with --env.",
            )


def _texts(of: Mapping[str, Any]) -> Mapping[str, str]:
    odd = sorted(name for name, value in of.items() if not isinstance(value, str))
    if odd:
        raise ValueError(f"{printable(odd[0])!r} in `env` is {type(of[odd[0]]).__name__}, not text")
    return of


def _log_beside(source: str) -> Path | None:
    """Return the file with the record's name and the ending .log, if there is one."""
    if source == STANDARD_INPUT:
        return None
    path = Path(source).with_suffix(".log")
    return path if path.is_file() else None


def _check_options(source: str, kind: Kind, options: InputOptions) -> None:
    if kind is not Kind.STEP and (options.step is not None or options.matrix):
        raise wrong(source, "is no pipeline, so that --step and --matrix say nothing about it")
    if kind is not Kind.STEP and not options.interpolate:
        raise wrong(source, "is no pipeline, so that --no-interpolation says nothing about it")
    if kind is not Kind.URL and options.api_url != API_URL:
        raise wrong(source, "is not a URL, so that --api-url says nothing about it")
