"""A step of a pipeline.yml as an input: what Buildkite would send with its job, as far as known.

Source: https://buildkite.com/docs/pipelines/configure/step-types/command-step and
docs/agent-contract.md#who-sets-which-variable
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from bootstrap.buildkite.env_files import checked
from bootstrap.job.facts import AGENT_TAG
from bootstrap.job.plugins import full_source
from bootstrap.replay.inputs import matrix, needed
from bootstrap.replay.inputs.interpolation import Variables, interpolated
from bootstrap.replay.inputs.pipeline_yaml import load, text_of
from bootstrap.replay.inputs.steps import Listed, Step, chosen, commands, steps_of
from bootstrap.replay.model import Kind, MissingPiece, ReplayInput
from bootstrap.text import printable

_NOT_REPLACED = ("signature",)
_COUNT = "BUILDKITE_PARALLEL_JOB_COUNT"
_JOB = "BUILDKITE_PARALLEL_JOB"


def read(
    text: str,
    source: str,
    *,
    step: str | None,
    combination: Mapping[str, str],
    given: Mapping[str, str],
    interpolate: bool = True,
) -> ReplayInput:
    """Return the input. `step` is a key, label or number; None for a pipeline with one step.

    `combination` are values of the step's matrix, by dimension. `given` are variables of the build.
    Without `interpolate` the text is what an upload has sent, or will send, as it is.
    Raises ValueError if there is no such step or if its form is wrong, Refused as a host does.
    """
    pipeline = load(text)
    listed = chosen(commands(steps_of(pipeline)), step)
    name = f"{source}, step {printable(listed.key or listed.label or str(listed.number))}"
    assumed = needed.assumed(name, build=True)
    variables = Variables(known={**assumed, **given})
    whole = listed.step
    if interpolate:
        build, variables = _build_env(pipeline, variables)
        whole = _replaced(whole, variables)
    else:
        build = _text_values(_env_of(pipeline), "env")
    if combination and "matrix" not in whole:
        raise ValueError("the step has no matrix, so that --matrix says nothing about it")
    values, missing = matrix.choice(whole["matrix"], combination) if "matrix" in whole else ({}, ())
    of_step = {key: v if key == "matrix" else matrix.applied(v, values) for key, v in whole.items()}
    env = {**build, **_text_values(of_step.get("env"), "env"), **_standard(of_step, listed)}
    secrets = _secrets(pipeline, of_step)
    if secrets:
        env["BUILDKITE_SECRETS_CONFIG"] = json.dumps(secrets)
    env |= {f"{AGENT_TAG}{_tag(tag)}": value for tag, value in _agents(pipeline, of_step).items()}
    return ReplayInput(
        kind=Kind.STEP,
        source=name,
        env=checked({**assumed, **env}),
        assumed=tuple(sorted(assumed.keys() - env.keys())),
        unknown=tuple(sorted({s["environment_variable"] for s in secrets})),
        missing=(*missing, *_lacking(variables), *_parallel(env)),
    )


def _build_env(pipeline: object, variables: Variables) -> tuple[dict[str, str], Variables]:
    """Return the pipeline's `env`, each replaced with those before it, and all variables so far."""
    found = _text_values(_env_of(pipeline), "env")
    build: dict[str, str] = {}
    for name, value in found.items():
        name, value = interpolated(name, variables), interpolated(value, variables)  # noqa: PLW2901
        build[name] = value
        known = {**variables.known, name: value}
        variables = Variables(known=known, lacking=variables.lacking)
    return build, variables


def _env_of(pipeline: object) -> object:
    return pipeline.get("env") if isinstance(pipeline, dict) else None


def _replaced(value: Any, variables: Variables) -> Any:  # noqa: ANN401 - YAML
    match value:
        case str():
            return interpolated(value, variables)
        case list():
            return [_replaced(item, variables) for item in value]
        case dict():
            return {
                interpolated(key, variables): item
                if key in _NOT_REPLACED
                else _replaced(item, variables)
                for key, item in value.items()
            }
        case _:
            return value


def _standard(step: Step, listed: Listed) -> dict[str, str]:
    """Return the variables that Buildkite sets from the step's keys."""
    command = _command(step)
    timeout = text_of(step.get("timeout_in_minutes"))
    env = {
        "BUILDKITE_COMMAND": command,
        "BUILDKITE_SCRIPT_PATH": command,
        "BUILDKITE_LABEL": text_of(step.get("label", step.get("name"))),
        "BUILDKITE_STEP_KEY": text_of(step.get("key", step.get("id", step.get("identifier")))),
        "BUILDKITE_ARTIFACT_PATHS": ";".join(_texts(step.get("artifact_paths"), "artifact_paths")),
        "BUILDKITE_TIMEOUT": timeout or "false",
        "BUILDKITE_GROUP_KEY": listed.group.key,
        "BUILDKITE_GROUP_LABEL": listed.group.label,
    }
    if plugins := list(_plugins(step.get("plugins"))):
        env["BUILDKITE_PLUGINS"] = json.dumps(plugins)
    if (count := step.get("parallelism")) is not None:
        env[_COUNT] = text_of(count)
    return env


def _command(step: Step) -> str:
    listed = step.get("commands", step.get("command", step.get("script")))
    return "\n".join(_texts(listed, "command"))


def _plugins(listed: object) -> Iterator[dict[str, Any]]:
    match listed:
        case None:
            return
        case dict():
            yield from ({full_source(name): config} for name, config in listed.items())
        case str():
            yield {full_source(listed): None}
        case list() if all(isinstance(entry, str | dict) for entry in listed):
            for entry in listed:
                yield from _plugins(entry)
        case _:
            raise ValueError("the step's `plugins` is no list of names and mappings")


def _agents(pipeline: object, step: Step) -> dict[str, str]:
    """Return the tags that the step asks agents for: its own, or else the pipeline's."""
    of_pipeline = pipeline.get("agents") if isinstance(pipeline, dict) else None
    asked = step.get("agents", of_pipeline)
    if isinstance(asked, list):
        pairs = (text_of(tag).partition("=") for tag in asked)
        tags = {name.strip(): value.strip() for name, _, value in pairs}
    else:
        tags = _text_values(asked, "agents")
    return {"queue": "default", **tags}


def _tag(name: str) -> str:
    return "".join(char if char.isascii() and char.isalnum() else "_" for char in name).upper()


def _secrets(pipeline: object, step: Step) -> list[dict[str, str]]:
    """Return the secrets that the bootstrap would fetch: the pipeline's, then the step's."""
    of_pipeline = pipeline.get("secrets") if isinstance(pipeline, dict) else None
    found: dict[str, str] = {}  # the secret's key, by the variable
    for listed in (of_pipeline, step.get("secrets")):
        match listed:
            case None:
                continue
            case dict():
                found |= {variable: text_of(key) for variable, key in listed.items()}
            case list():
                found |= dict(map(_secret, listed))
            case _:
                raise ValueError("`secrets` is neither a list nor a mapping")
    return [{"key": key, "environment_variable": variable} for variable, key in found.items()]


def _secret(of: object) -> tuple[str, str]:
    if isinstance(of, dict):
        key = text_of(of.get("key"))
        return text_of(of.get("environment_variable")) or key, key
    return text_of(of), text_of(of)


def _lacking(variables: Variables) -> Iterator[MissingPiece]:
    asked = {piece.name for piece in needed.missing({})}
    for name in variables.lacking:
        if name not in asked:  # it is asked for anyway
            yield MissingPiece(
                name=name,
                why="the pipeline's text has it, and its upload puts the value there",
                example=f"--env {name}=…; for a $ that the job's shell reads, the text has $$",
            )


def _parallel(env: Mapping[str, str]) -> Iterator[MissingPiece]:
    if _COUNT in env:
        last = int(env[_COUNT]) - 1 if env[_COUNT].isascii() and env[_COUNT].isdigit() else "…"
        yield MissingPiece(
            name=_JOB, why=f"the step runs {env[_COUNT]} jobs; this is one of 0 to {last}",
            example=f"--env {_JOB}=0",
        )  # fmt: skip


def _text_values(of: object, what: str) -> dict[str, str]:
    if of is None:
        return {}
    if not isinstance(of, dict):
        raise ValueError(f"`{what}` is not a mapping of names to values")  # noqa: TRY004
    return {name: text_of(value) for name, value in of.items()}


def _texts(of: object, what: str) -> list[str]:
    if of is None:
        return []
    listed = of if isinstance(of, list) else [of]
    try:
        return [text_of(one) for one in listed]
    except ValueError as wrong:
        raise ValueError(f"the step's `{what}`: {wrong}") from None
