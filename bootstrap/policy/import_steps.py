"""Proposals from a pipeline.yml whose plugins assume roles.

Known are cultureamp's and others' aws-assume-role (`role`), Buildkite's
aws-assume-role-with-web-identity (`role-arn`), plugins with `assume-role: {role-arn: …}` such as
ecr, and the variable AWS_ASSUME_ROLE_ARN that the first of them reads.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from bootstrap.policy.proposals import TO_COMPLETE, Proposal, ProposedRule
from bootstrap.text import printable

MAX_TEXT = 1 << 20  # characters
_ROLE_KEYS = ("role", "role-arn", "role_arn")
_NESTED = ("assume-role", "assume_role")
_VARIABLE = "AWS_ASSUME_ROLE_ARN"
_DURATIONS = ("duration", "role-session-duration")
_ARN = re.compile(r"arn:aws(-[a-z]+)*:iam::\d{12}:role/\S+", re.ASCII)
_IS_BRANCH = re.compile(r"""\s*build\.branch\s*==\s*(["'])([^"'*!]+)\1\s*""")
_MOST_STEPS = 5000

_PULL_REQUESTS = (
    "Not known: whether pull requests need this. Without `pull-request`, no build of one gets it."
)
_STEP = 'Without identity = "signed" on the hosts, any step can claim to be this one.'
_NO_KEY = "Not known: which step this is, since it has no key. Give it one, and name it in `step`."
_REST = "Steps without a role, so that the pipeline runs. Forks are refused."


@dataclass(frozen=True, kw_only=True, slots=True)
class _Use:
    """One role in one step."""

    role: str
    duration: str | None
    label: str
    key: str | None
    branches: tuple[str, ...]
    queue: str | None
    notes: tuple[str, ...]


def found(text: str, pipeline: str) -> Proposal:
    """Return the proposal for one pipeline, without rules if no step assumes a role.

    Raises ValueError if the text is not a pipeline's YAML.
    """
    steps, env = _loaded(text)
    uses = [use for step in _steps(steps) for use in _uses(step, env)]
    rules = tuple(_rule(use) for use in uses)
    if rules:
        when = {"branch": "*", "pull-request": "same-repository"}
        rest = ProposedRule(name="other steps", when=when, allow={}, notes=(_REST,))
        rules = (*rules, rest)
    return Proposal(pipeline=pipeline, rules=rules)


def _loaded(text: str) -> tuple[list[Any], object]:
    """Return the steps and the variables of a pipeline."""
    if len(text) > MAX_TEXT:
        raise ValueError(f"it has {len(text)} characters; expected at most {MAX_TEXT}")
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as broken:  # ValueError: dates and numbers
        raise ValueError(f"it is not YAML: {printable(str(broken))}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (LookupError, AttributeError, TypeError):  # PyYAML's own, for `!!bool x`
        raise ValueError("a value does not have the form of its tag") from None
    is_mapping = isinstance(content, dict)
    steps = content.get("steps") if is_mapping else content
    if not isinstance(steps, list):
        raise ValueError("it has no list of steps")  # noqa: TRY004 - the caller reports ValueError
    return steps, content.get("env") if is_mapping else None


def _steps(listed: list[Any]) -> Iterator[dict[str, Any]]:
    """Yield every step, those of groups too. Aliases can make one list refer to itself."""
    left, seen = [listed], 0
    while left:
        for step in left.pop():
            seen += 1
            if seen > _MOST_STEPS:
                raise ValueError(f"it has more than {_MOST_STEPS} steps")
            if isinstance(step, dict):
                yield step
                if isinstance(step.get("steps"), list):
                    left.append(step["steps"])


def _uses(step: dict[str, Any], env: object) -> Iterator[_Use]:
    branches, notes = _branches(step)
    key = step.get("key") or step.get("id") or step.get("identifier")
    for role, duration in dict.fromkeys(_roles(step, env)):
        yield _Use(
            role=role,
            duration=duration,
            label=str(step.get("label") or step.get("name") or key or "a step"),
            key=str(key) if key else None,
            branches=branches,
            queue=_queue(step.get("agents")),
            notes=notes,
        )


def _roles(step: dict[str, Any], env: object) -> Iterator[tuple[str, str | None]]:
    variables = [of[_VARIABLE] for of in (step.get("env"), env)
                 if isinstance(of, dict) and _VARIABLE in of]  # fmt: skip
    for name, config in _plugins(step.get("plugins")):
        settings = config if isinstance(config, dict) else {}
        nested = [settings.get(key) for key in _NESTED]
        for of in (settings, *(one for one in nested if isinstance(one, dict))):
            for key in _ROLE_KEYS:
                if isinstance(of.get(key), str):
                    yield of[key], _duration(of)
        if "assume-role" in name and not any(key in settings for key in _ROLE_KEYS):
            yield from ((str(value), _duration(settings)) for value in variables[:1])


def _plugins(listed: object) -> Iterator[tuple[str, Any]]:
    entries = listed if isinstance(listed, list) else [listed]
    for entry in entries:
        if isinstance(entry, str):
            yield entry, None
        elif isinstance(entry, dict):
            yield from ((str(name), config) for name, config in entry.items())


def _duration(settings: dict[str, Any]) -> str | None:
    seconds = next((settings[key] for key in _DURATIONS if key in settings), None)
    return f"{seconds}s" if isinstance(seconds, int) and 900 <= seconds <= 43200 else None


def _branches(step: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the branches that a step is for, and what is not known about them."""
    listed = step.get("branches")
    names = listed.split() if isinstance(listed, str) else listed
    branches = tuple(map(str, names)) if isinstance(names, list) else ()
    condition = step.get("if")
    if condition is None:
        return branches, ()
    if not branches and (exact := _IS_BRANCH.fullmatch(str(condition))):
        return (exact[2],), ()
    note = f"Not known: what the step's `if` means for a policy: {condition}"
    return branches or (TO_COMPLETE,), (note,)


def _queue(agents: object) -> str | None:
    if isinstance(agents, dict):
        return str(agents["queue"]) if "queue" in agents else None
    tags = agents if isinstance(agents, list) else []
    pairs = (str(tag).partition("=") for tag in tags)
    return next((value for name, _, value in pairs if name == "queue"), None)


def _rule(use: _Use) -> ProposedRule:
    when: dict[str, Any] = {}
    notes = list(use.notes)
    if use.branches:
        when["branch"] = list(use.branches)
    else:
        notes.append("Not known: the branches that may have this; the step runs for all of them.")
    when["step"] = use.key or TO_COMPLETE
    notes.append(_STEP if use.key else _NO_KEY)
    if use.queue and "$" not in use.queue:
        when["queue"] = use.queue
    if not _ARN.fullmatch(use.role):
        notes.append("Not known: the role, which the pipeline composes from variables.")
    session = {"session": {"duration": use.duration}} if use.duration else {}
    return ProposedRule(
        name=use.label,
        when=when,
        allow={"role": use.role, **session},
        notes=tuple(_unique((*notes, _PULL_REQUESTS))),
    )


def _unique(notes: Iterable[str]) -> Iterable[str]:
    return dict.fromkeys(notes)
