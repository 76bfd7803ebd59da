"""From what a developer names to one ReplayInput (docs/replay.md#inputs)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, assert_never

from bootstrap.buildkite import rest_api
from bootstrap.buildkite.env_files import checked, parse_json, parse_shell
from bootstrap.errors import CannotStart, WrongConfiguration
from bootstrap.replay.inputs import from_record, from_step, from_url, needed
from bootstrap.replay.inputs.content import STANDARD_INPUT, content, wrong
from bootstrap.replay.inputs.matrix import ANONYMOUS
from bootstrap.replay.inputs.recognised import document_of, is_url, kind_of
from bootstrap.replay.model import Kind, ReplayInput
from bootstrap.text import printable


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What the command line says about an input. None and empty: nothing.

    `given` are variables, by --env. `matrix` are values of a step's matrix, by dimension.
    `log` is the job's log, by --log; without it, that beside a record is used, if there is one.
    """

    kind: Kind | None = None
    given: Mapping[str, str] = field(default_factory=dict)
    step: str | None = None
    matrix: Mapping[str, str] = field(default_factory=dict)
    api_url: str = rest_api.BASE
    log: Path | None = None


def read_input(source: str, env: Mapping[str, str], options: Options | None = None) -> ReplayInput:
    """Return the job that `source` names: a path, `-` for standard input, or a URL.

    `env` is the developer's environment, for the token and the proxy. What the job lacks is in
    `missing` (`needed.require_complete`). Raises WrongConfiguration for an input that cannot be
    used, Refused for variables that no job may bring, and CannotStart if Buildkite does not answer.
    """
    options = options or Options()
    given = checked(options.given)
    kind = options.kind
    if is_url(source) and kind in {None, Kind.URL}:
        _check_options(source, Kind.URL, options)
        found = from_url.read(source, env, options.api_url)
    elif kind is Kind.URL:
        raise wrong(source, "is not a URL, which begins with https://")
    else:
        found = _of_content(source, options)
    return replace(needed.completed(found, given), log=options.log or found.log)


def _of_content(source: str, options: Options) -> ReplayInput:
    data = content(source)
    try:
        kind = options.kind or _recognised(source, data, options)
        _check_options(source, kind, options)
        return _parsed(source, data, kind, options)
    except CannotStart as broken:  # of the agent's own files it is; here a person named the file
        raise wrong(source, f"is not the environment of a job: {broken.problem}") from broken
    except ValueError as broken:
        raise wrong(source, f"cannot be used: {broken}") from broken


def _recognised(source: str, data: bytes, options: Options) -> Kind:
    if options.step is not None or options.matrix or source.endswith((".yml", ".yaml")):
        return Kind.STEP
    try:
        kind = kind_of(data)
    except ValueError as broken:
        raise ValueError(
            f"it begins as JSON and is not, so that it may be cut short: {broken}"
        ) from None
    if kind is None:
        raise wrong(
            source,
            "is neither the record nor the environment of a job, nor a pipeline, as far as can be "
            "seen",
            f"Say what it is with --kind {', '.join(Kind)}.",
        )
    return kind


def _parsed(source: str, data: bytes, kind: Kind, options: Options) -> ReplayInput:
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
                combination=options.matrix, given=options.given,
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
        env = parse_shell(data)
    else:  # as in the file of the agent, or as in an answer of the REST API
        inner = document.get("env") if isinstance(document, dict) else None
        env = checked(_texts(inner)) if isinstance(inner, dict) else parse_json(data)
    if not env:
        raise ValueError("it has no variable")
    return env


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


def _check_options(source: str, kind: Kind, options: Options) -> None:
    if kind is not Kind.STEP and (options.step is not None or options.matrix):
        raise wrong(source, "is no pipeline, so that --step and --matrix say nothing about it")
    if kind is not Kind.URL and options.api_url != rest_api.BASE:
        raise wrong(source, "is not a URL, so that --api-url says nothing about it")


def assignments(texts: Sequence[str], env: Mapping[str, str]) -> dict[str, str]:
    """Return what `--env NAME=VALUE` means; `--env NAME` is the developer's own value of NAME.

    Raises WrongConfiguration for a name that the developer's environment does not have.
    """
    given: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals and name not in env:
            raise WrongConfiguration(
                printable(f"--env {name}: this environment has no {name}"),
                hint=f"Write --env {printable(name)}=VALUE, or export the variable before.",
            )
        given[name] = value if equals else env[name]
    return given


def combination(texts: Sequence[str]) -> dict[str, str]:
    """Return what `--matrix NAME=VALUE`, or VALUE for a matrix without names, means."""
    chosen: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        chosen[name if equals else ANONYMOUS] = value if equals else text
    return chosen
