"""How a replay differs from the recorded run, as a table."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bootstrap.errors import WrongConfiguration
from bootstrap.replay.model import RecordedEnd, ReplayInput
from bootstrap.replay.phases import HEADING, digest_of, plain
from bootstrap.replay.result import Result

_UNKNOWN = "-"
_OURS = b"~~~ :lock: "  # how the groups of Airlock's own lines begin (bootstrap/log.py)
_WIDEST, _NARROWEST = 48, 16  # characters of a value that a table shows
_MARGIN = 8  # columns before and between the cells: "# ≠ ", and twice two


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One property of both runs. `differs` is None where that means nothing, such as a duration."""

    name: str
    recorded: str
    replayed: str
    differs: bool | None


def require_something(found: ReplayInput) -> None:
    """Raise WrongConfiguration if nothing is known of another run, or if its log is not there."""
    if found.run is None and found.log is None:
        raise WrongConfiguration(
            f"{found.source} is not the record of a job, so that --compare has nothing to compare "
            "with",
            hint="Replay a record (`airlock record export` on the host), name the job's log with "
            "--log, or leave --compare out.",
        )
    try:
        if found.log is not None:
            found.log.open("rb").close()
    except OSError as unreadable:
        raise WrongConfiguration(
            f"the job's log {found.log} cannot be read: {unreadable.strerror}",
            hint="Name the log that Buildkite has of the job with --log, or leave it out.",
        ) from unreadable


def rows(found: ReplayInput, result: Result) -> tuple[Row, ...]:
    """Return every property that both runs may have."""
    return (
        _row("exit status", _status(found.ended), str(result.ended.code)),
        _image(found, result),
        *_mapped("version of ", found.run.versions if found.run else {}, result.versions),
        *_mapped("", _comparable(found.run.spec) if found.run else {}, _comparable(result.spec)),
        _environment(found, result),
        _log(found.log, result.digest),
        *_informative(found, result),
    )


def table(of: Sequence[Row], columns: int | None = None) -> Iterator[str]:
    """Yield the lines of a table that fits into so many columns, and what is different."""
    names = max((len(row.name) for row in of), default=0)
    left = _WIDEST if columns is None else min(_WIDEST, (columns - names - _MARGIN) // 2)
    yield from _listed(of) if left < _NARROWEST else _columned(of, left)
    different = [row.name for row in of if row.differs]
    yield f"different: {', '.join(different) or 'nothing'}"


def _columned(of: Sequence[Row], widest: int) -> Iterator[str]:
    lines = [("", "recorded", "replayed"), *((row.name, row.recorded, row.replayed) for row in of)]
    marks = [" ", *("≠" if row.differs else " " for row in of)]
    cut = [(name, *(_cut(text, widest) for text in texts)) for name, *texts in lines]
    widths = [max(len(line[column]) for line in cut) for column in range(3)]
    for mark, line in zip(marks, cut, strict=True):
        cells = (f"{text:<{width}}" for text, width in zip(line, widths, strict=True))
        yield f"{mark} {'  '.join(cells)}".rstrip()


def _listed(of: Sequence[Row]) -> Iterator[str]:
    for row in of:
        change = "" if row.recorded == row.replayed else f" -> {row.replayed}"
        yield f"{'≠' if row.differs else ' '} {row.name}: {row.recorded}{change}"


def _cut(text: str, widest: int) -> str:
    return text if len(text) <= widest else f"{text[: widest - 1]}…"


def _row(name: str, recorded: str | None, replayed: str | None) -> Row:
    known = recorded is not None and replayed is not None
    return Row(
        name=name, recorded=recorded or _UNKNOWN, replayed=replayed or _UNKNOWN,
        differs=recorded != replayed if known else None,
    )  # fmt: skip


def _status(ended: RecordedEnd | None) -> str | None:
    if ended is None:
        return None
    return str(ended.code) if ended.code is not None else ended.signal


def _image(found: ReplayInput, result: Result) -> Row:
    """The same image has the same id, or the same digest in a registry."""
    recorded = found.run.image_id if found.run else None
    same = recorded == result.image_id or (found.image == result.image and "@" in result.image)
    known = recorded is not None or found.image is not None
    return Row(
        name="image",
        recorded=found.image or recorded or _UNKNOWN,
        replayed=result.image,
        differs=not same if known else None,
    )


def _comparable(spec: Mapping[str, object]) -> dict[str, object]:
    """Leave out what always differs: each job has a user of its own."""
    return {name: value for name, value in spec.items() if name != "user"}


def _mapped(
    prefix: str, recorded: Mapping[str, object], replayed: Mapping[str, object]
) -> Iterator[Row]:
    for name in sorted(replayed):
        then, now = recorded.get(name), replayed[name]
        if isinstance(then, Mapping) and isinstance(now, Mapping):
            yield from _each(f"{prefix}{name}", then, now)
        else:
            yield _row(f"{prefix}{name}", None if then is None else str(then), str(now))


def _each(
    name: str, recorded: Mapping[str, object], replayed: Mapping[str, object]
) -> Iterator[Row]:
    """Yield what is in a mapping, such as the mounts; what is not in it, is known not to be."""
    for key in sorted({*recorded, *replayed}):
        then, now = (str(of.get(key, _UNKNOWN)) for of in (recorded, replayed))
        yield Row(name=f"{name} {key}", recorded=then, replayed=now, differs=then != now)


def _environment(found: ReplayInput, result: Result) -> Row:
    recorded = {*found.env, *found.unknown} - {*found.assumed}
    replayed = set(result.env)
    text = ", ".join(
        (*(f"-{name}" for name in sorted(recorded - replayed)),
         *(f"+{name}" for name in sorted(replayed - recorded - {*found.assumed})))
    )  # fmt: skip
    return Row(
        name="variables of the job",
        recorded=str(len(recorded)),
        replayed=text or str(len(recorded & replayed)),
        differs=bool(text) if found.run else None,
    )


def _log(recorded: Path | None, replayed: str | None) -> Row:
    digest = digest_of(without_ours(recorded.read_bytes().split(b"\n"))) if recorded else None
    return _row("digest of the log", digest and digest[:16], replayed and replayed[:16])


def without_ours(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of a job's log that are not Airlock's: a replay prints those elsewhere."""
    ours = False
    for line in lines:
        if HEADING.match(plain(line)):
            ours = plain(line).startswith(_OURS)
        if not ours:
            yield line


def _informative(found: ReplayInput, result: Result) -> Iterator[Row]:
    decision = found.run.decision if found.run else {}
    if rule := decision.get("rule"):
        yield Row(name="rule", recorded=str(rule), replayed=_UNKNOWN, differs=None)
    for name, seconds in (found.run.timings if found.run else {}).items():
        now = result.timings.get(name)
        yield Row(
            name=f"seconds for {name}", recorded=f"{seconds:.2f}",
            replayed=_UNKNOWN if now is None else f"{now:.2f}", differs=None,
        )  # fmt: skip
