"""The steps of an uploaded pipeline and the jobs that each stands for, as Buildkite makes them.

Sources below https://buildkite.com/docs/pipelines/configure: step-types/command-step,
step-types/wait-step, workflows/build-matrix, retry, soft-fail, depends-on. A step of another kind
is refused, as is an attribute that this module does not know.
"""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

_KNOWN = {
    "agents", "allow_dependency_failure", "artifact_paths", "command", "depends_on", "env", "id",
    "identifier", "key", "label", "matrix", "name", "parallelism", "plugins", "retry", "secrets",
    "soft_fail", "timeout_in_minutes",
}  # fmt: skip
EVERY = "*"
DEFAULT_LIMIT = 2  # of automatic retries, where a rule names none


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    """What follows runs only once what is before has passed, or has ended."""

    continues_on_failure: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Retry:
    """One rule of `retry.automatic`; `statuses` are texts, as agents report them."""

    statuses: tuple[str, ...]
    limit: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """One job of a step, before it has an id: its author's variables, and what Buildkite adds."""

    env: Mapping[str, str]
    standard: Mapping[str, str]
    soft: tuple[str, ...]  # exit statuses that count as soft failures


@dataclass(frozen=True, kw_only=True, slots=True)
class CommandStep:
    """A step that agents run. `depends_on` None: on the waits before it."""

    id: str
    key: str
    depends_on: tuple[str, ...] | None
    allows_failure: bool  # of what it depends on
    work: tuple[Work, ...]
    retries: tuple[Retry, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Context:
    env: Mapping[str, str]
    secrets: Sequence[Mapping[str, str]]
    group: Mapping[str, str] = field(default_factory=dict)


def steps_of(pipeline: Mapping[str, Any]) -> list[CommandStep | Wait]:
    """Return the steps of what an agent has uploaded. Raises ValueError for what is not known."""
    context = _Context(env=_texts(pipeline.get("env")), secrets=pipeline.get("secrets") or ())
    return list(_steps(pipeline["steps"], context))


def _steps(listed: Sequence[Any], context: _Context) -> Iterator[CommandStep | Wait]:
    for step in listed:
        match step:
            case "wait":
                yield Wait(continues_on_failure=False)
            case {"wait": _}:
                yield Wait(continues_on_failure=bool(step.get("continue_on_failure")))
            case {"group": label, "steps": inner}:
                group = {
                    "BUILDKITE_GROUP_LABEL": str(label),
                    "BUILDKITE_GROUP_KEY": step.get("key", ""),
                }
                of_group = _Context(env=context.env, secrets=context.secrets, group=group)
                yield from _steps(inner, of_group)
            case {"command": _} | {"plugins": _}:
                yield _command_step(step, context)
            case _:
                raise ValueError(f"no command, wait or group: {step}")


def _command_step(step: Mapping[str, Any], context: _Context) -> CommandStep:
    if unknown := sorted(step.keys() - _KNOWN):
        raise ValueError(f"a command step with {', '.join(unknown)} is not known here")
    step_id, key = str(uuid.uuid4()), _first(step, "key", "id", "identifier")
    depends = step.get("depends_on", ())
    return CommandStep(
        id=step_id,
        key=key,
        depends_on=_keys(depends) if "depends_on" in step else None,
        allows_failure=bool(step.get("allow_dependency_failure")),
        work=tuple(_work(step, step_id, key, context)),
        retries=_retries((step.get("retry") or {}).get("automatic")),
    )


def _work(step: Mapping[str, Any], step_id: str, key: str, context: _Context) -> Iterator[Work]:
    for values, adjusted in _combinations(step.get("matrix")):
        chosen = {name: item if name == "matrix" else _filled(item, values)
                  for name, item in step.items()}  # fmt: skip
        standard = {
            **context.group,
            **_of_step(chosen, context),
            "BUILDKITE_STEP_ID": step_id,
            "BUILDKITE_STEP_KEY": key,
        }
        env = {**context.env, **_texts(chosen.get("env"))}
        soft = _soft(adjusted.get("soft_fail", step.get("soft_fail")))
        for parallel in _parallel(step.get("parallelism")):
            yield Work(env=env, standard={**standard, **parallel}, soft=soft)


def _of_step(step: Mapping[str, Any], context: _Context) -> dict[str, str]:
    env = {
        "BUILDKITE_COMMAND": str(step.get("command", "")),
        "BUILDKITE_LABEL": _first(step, "label", "name"),
        "BUILDKITE_TIMEOUT": str(step.get("timeout_in_minutes") or "false"),
        "BUILDKITE_ARTIFACT_PATHS": ";".join(_listed(step.get("artifact_paths"))),
    }
    env["BUILDKITE_SCRIPT_PATH"] = env["BUILDKITE_COMMAND"]
    if plugins := step.get("plugins"):
        env["BUILDKITE_PLUGINS"] = json.dumps(plugins)
    if secrets := [*context.secrets, *(step.get("secrets") or ())]:
        env["BUILDKITE_SECRETS_CONFIG"] = json.dumps(secrets)
    return env


def _parallel(count: int | None) -> Iterator[dict[str, str]]:
    if count is None:
        yield {}
        return
    for number in range(count):
        yield {
            "BUILDKITE_PARALLEL_JOB": str(number),
            "BUILDKITE_PARALLEL_JOB_COUNT": str(count),
        }


def _combinations(matrix: Any) -> Iterator[tuple[dict[str, str], Mapping[str, Any]]]:
    """Yield the values of each job, by the text that stands for them, and its adjustment."""
    if matrix is None:
        yield {}, {}
        return
    setup = matrix if isinstance(matrix, list) else matrix["setup"]
    adjustments = [] if isinstance(matrix, list) else matrix.get("adjustments", [])
    dimensions = {"": setup} if isinstance(setup, list) else setup
    found = [
        dict(zip(dimensions, map(str, values), strict=True))
        for values in product(*dimensions.values())
    ]
    adjusted = [(_with(one["with"]), one) for one in adjustments]
    found += [values for values, _ in adjusted if values not in found]
    for values in found:
        its_own: Mapping[str, Any] = next((one for other, one in adjusted if other == values), {})
        if not its_own.get("skip"):
            yield {_token(name): value for name, value in values.items()}, its_own


def _with(given: Any) -> dict[str, str]:
    return _texts(given if isinstance(given, dict) else {"": given})


def _token(name: str) -> str:
    return "{{matrix" + (f".{name}" if name else "") + "}}"


def _filled(item: Any, values: Mapping[str, str]) -> Any:
    match item:
        case str():
            for token, value in values.items():
                item = item.replace(token, value)
            return item
        case list():
            return [_filled(one, values) for one in item]
        case dict():
            return {name: _filled(one, values) for name, one in item.items()}
        case _:
            return item


def _retries(automatic: Any) -> tuple[Retry, ...]:
    match automatic:
        case None | False:
            return ()
        case True:
            return (Retry(statuses=(EVERY,), limit=DEFAULT_LIMIT),)
        case _:
            rules = automatic if isinstance(automatic, list) else [automatic]
            return tuple(map(_retry, rules))


def _retry(rule: Mapping[str, Any]) -> Retry:
    if unknown := sorted(rule.keys() - {"exit_status", "limit"}):
        raise ValueError(f"a retry by {', '.join(unknown)} is not known here")
    return Retry(
        statuses=_listed(rule.get("exit_status", EVERY)), limit=rule.get("limit", DEFAULT_LIMIT)
    )


def _soft(given: Any) -> tuple[str, ...]:
    match given:
        case None | False:
            return ()
        case True:
            return (EVERY,)
        case _:
            return tuple(str(rule["exit_status"]) for rule in given)


def _keys(depends: Any) -> tuple[str, ...]:
    listed = depends if isinstance(depends, list) else [depends] if depends else []
    return tuple(one["step"] if isinstance(one, dict) else one for one in listed)


def _listed(of: Any) -> tuple[str, ...]:
    if of is None:
        return ()
    return tuple(map(str, of)) if isinstance(of, list) else (str(of),)


def _first(step: Mapping[str, Any], *names: str) -> str:
    return next((str(step[name]) for name in names if step.get(name)), "")


def _texts(of: Mapping[str, Any] | None) -> dict[str, str]:
    return {name: str(value) for name, value in (of or {}).items()}
