"""The command steps of a pipeline, and the one that is asked for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bootstrap.replay.inputs.unusable import Unusable
from bootstrap.text import printable

MOST = 5000
SHOWN = 20
_COMMANDS = ("command", "commands", "script", "plugins")
_OTHERS = ("wait", "waiter", "block", "manual", "input", "trigger", "group")
_KEYS = ("key", "id", "identifier")
_LABELS = ("label", "name")

Step = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """What a group gives its steps."""

    key: str = ""
    label: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """A command step, its number from 1 on among all command steps, and its group."""

    number: int
    step: Step
    group: Group

    @property
    def key(self) -> str:
        """The step's key, "" if it has none."""
        return first(self.step, _KEYS)

    @property
    def label(self) -> str:
        """The step's label, "" if it has none."""
        return first(self.step, _LABELS)


def first(step: Step, names: Sequence[str]) -> str:
    """Return the text under the first of these names that the step has, or ""."""
    return next((str(step[name]) for name in names if step.get(name) not in (None, "")), "")


def steps_of(pipeline: object) -> list[Any]:
    """Return the list of steps. Raises ValueError if it is no pipeline."""
    steps = pipeline.get("steps") if isinstance(pipeline, dict) else pipeline
    if not isinstance(steps, list):
        raise Unusable(
            "it has no list of steps",
            hint="--step and --matrix are for a pipeline.yml: leave them out for another input.",
        )
    return steps


def commands(steps: list[Any]) -> list[Listed]:
    """Return the command steps in the order of the file, those of groups too."""
    found = list(_flat(steps, Group()))
    if len(found) > MOST:
        raise ValueError(f"it has more than {MOST} steps")
    return [
        Listed(number=number, step=step, group=group)
        for number, (step, group) in enumerate(found, start=1)
    ]


def _flat(steps: list[Any], group: Group) -> Iterator[tuple[Step, Group]]:
    for step in steps:
        if not isinstance(step, dict):
            continue
        if isinstance(step.get("steps"), list):
            label = first(step, ("group", *_LABELS))
            yield from _flat(step["steps"], Group(key=first(step, _KEYS), label=label))
        elif is_command(step):
            yield step, group


def is_command(step: Step) -> bool:
    """Return whether agents run this step."""
    kind = step.get("type")
    if kind is not None:
        return kind in {"command", "commands", "script"}
    return any(name in step for name in _COMMANDS) and not any(name in step for name in _OTHERS)


def chosen(listed: Sequence[Listed], asked: str | None) -> Listed:
    """Return the step with this key, else this label, else this number; or the only one.

    Raises ValueError with the steps that there are if there is no such step, or if there are
    several.
    """
    if not listed:
        raise ValueError("it has no step with a command or plugins")
    if asked is None:
        if len(listed) == 1:
            return listed[0]
        raise Unusable(
            f"it has {len(listed)} steps, expected one: {_names(listed)}",
            hint="Say which with --step: its key, else its label, else its number.",
        )
    for matches in (
        [one for one in listed if one.key == asked],
        [one for one in listed if one.label == asked],
        [one for one in listed if str(one.number) == asked],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise Unusable(
                f"{len(matches)} of its steps are {printable(asked)!r}: {_names(matches)}",
                hint="Name one of them by its number with --step.",
            )
    raise Unusable(
        f"it has no step {printable(asked)!r}, but {_names(listed)}",
        hint="Name one of them with --step: its key, else its label, else its number.",
    )


def _names(listed: Sequence[Listed]) -> str:
    shown = ", ".join(_name(one) for one in listed[:SHOWN])
    return shown + (f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else "")


def _name(one: Listed) -> str:
    name = one.key or one.label
    return f"{one.number} ({printable(name, limit=60)})" if name else str(one.number)
