"""A job's record as an input (docs/audit.md#versions-of-the-schema)."""

from collections.abc import Iterable, Mapping
from typing import Any

from bootstrap.buildkite.env_files import NAME, checked
from bootstrap.images import repository_of
from bootstrap.replay.inputs.unusable import Unusable
from bootstrap.replay.model import Kind, RecordedEnd, RecordedRun, ReplayInput
from bootstrap.text import MASK, printable

NEWEST = 3  # the schema that this version writes: bootstrap.record.SCHEMA
Json = Mapping[str, Any]


def schema_of(document: Json) -> int:
    """Return the schema. Raises ValueError if this version cannot read it."""
    schema = document.get("schema", 1)
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise ValueError(f"its schema is {schema!r}, expected a number from 1 to {NEWEST}")
    if schema > NEWEST:
        wrote = printable(str(document.get("version")), limit=40)
        raise Unusable(
            f"its schema is {schema}, and this version of Airlock reads records up to {NEWEST}",
            hint=f"Use Airlock {wrote}, which wrote it, or a newer one.",
        )
    return schema


def events_of(document: Json) -> list[Json]:
    """Return the events in order. In schema 1 each was a member of the record, by its name."""
    if schema_of(document) > 1:
        return [event for event in _list(document.get("events")) if isinstance(event, dict)]
    found = {_NAMES.get(name, name): document.get(name) for name in _FIRST}
    return [{"event": name, **_renamed(of)} for name, of in found.items() if isinstance(of, dict)]


_FIRST = ("denied", "admitted", "session", "secrets", "room", "ssh_agent", "cancelled", "failed",
          "end")  # fmt: skip
_NAMES = {"room": "sandbox", "end": "ended", "laps": "timings"}


def _renamed(event: Json) -> dict[str, Any]:
    return {_NAMES.get(name, name): value for name, value in event.items()}


def read(document: Json, source: str) -> ReplayInput:
    """Return the input. Raises ValueError if it is no record that can be read, Refused as a host.

    URLs lose the mask of their credentials: without any they are what comes nearest.
    """
    schema, env = schema_of(document), document.get("env")
    if not isinstance(env, dict):
        raise ValueError("it is not the record of a job: it has no `env`")  # noqa: TRY004
    masked = {name for name in _list(document.get("masked")) if isinstance(name, str)}
    known = {name: value for name, value in env.items() if isinstance(value, str)}
    odd = sorted(name for name, value in env.items() if not isinstance(value, str | None))
    if odd:
        raise ValueError(f"the value of {odd[0]!r} in `env` is neither text nor null")
    events = events_of(document)
    image, image_id = _image(events)
    return ReplayInput(
        kind=Kind.RECORD,
        source=source,
        env=checked({name: value.replace(f"{MASK}@", "") for name, value in known.items()}),
        unknown=tuple(sorted({*(env.keys() - known.keys()), *(masked & known.keys())})),
        image=image,
        ended=ended_of(events),
        run=RecordedRun(
            schema=schema,
            version=str(document.get("version", "")),
            started=str(document.get("started", "")),
            image_id=image_id,
            decision=_last(events, ("admitted", "denied")),
            spec=_mapping(_last(events, ("sandbox",)).get("spec")),
            versions=_mapping(_last(events, ("sandbox",)).get("versions")),
            timings=_timings(events),
            agent=_agent(document),
            events=tuple(events),
        ),
    )


def _agent(document: Json) -> dict[str, str]:
    found = _mapping(document.get("agent_env"))
    return {name: value for name, value in found.items()
            if NAME.fullmatch(name) and isinstance(value, str)}  # fmt: skip


def _image(events: Iterable[Json]) -> tuple[str | None, str | None]:
    """Return the image by its digest in a registry, else by its name, and its id on that host."""
    sandbox = _last(events, ("sandbox",))
    reference = _text(sandbox.get("reference")) or ""
    digests = [text for text in _list(sandbox.get("digests")) if isinstance(text, str)]
    digests.sort(key=lambda digest: repository_of(digest) != repository_of(reference))
    return next(iter(digests), reference or None), _text(sandbox.get("image"))


def _timings(events: Iterable[Json]) -> dict[str, float]:
    found = _mapping(_last(events, ("sandbox",)).get("timings"))
    return {
        name: float(value)
        for name, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def ended_of(events: Iterable[Json]) -> RecordedEnd | None:
    """Return how the job ended, None if the events do not say it."""
    last = _last(events, ("ended", "failed", "cancelled", "denied"))
    match last.get("event"):
        case "ended":
            status, ended = _mapping(last.get("status")), _mapping(last.get("ended"))
            code, signal = status.get("code"), status.get("signal")
            return RecordedEnd(
                code=code if isinstance(code, int) else None,
                signal=None if signal is None else str(signal),
                whose=_text(status.get("whose")),
                how=_text(ended.get("kind")),
                problem=_text(ended.get("why")) or "",
            )
        case "failed":
            code = last.get("exit_code")
            return RecordedEnd(
                code=code if isinstance(code, int) else None, signal=None, whose="airlock",
                how=None, problem=_text(last.get("problem")) or "",
            )  # fmt: skip
        case "cancelled":
            by = _text(last.get("by"))
            return RecordedEnd(code=None, signal=by, whose="airlock", how=None)
        case "denied" if last.get("enforced") is not False:  # by the hook: nothing follows
            problem = _text(last.get("problem")) or ""
            return RecordedEnd(code=77, signal=None, whose="airlock", how=None, problem=problem)
        case _:
            return None


def _last(events: Iterable[Json], names: tuple[str, ...]) -> Json:
    found: Json = next((e for e in reversed(list(events)) if e.get("event") in names), {})
    return found


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
