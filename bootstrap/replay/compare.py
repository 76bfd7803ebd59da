"""How a replay differs from the recorded run, as a table."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bootstrap.replay.model import RecordedEnd, ReplayInput
from bootstrap.replay.phases import HEADING, digest_of, plain
from bootstrap.replay.result import Result

_UNKNOWN = "-"
_OURS = b"~~~ :lock: "  # how the groups of Airlock's own lines begin (bootstrap/log.py)
_WIDEST = 48  # characters of a value that are shown


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One property of both runs. `differs` is None where that means nothing, such as a duration."""

    name: str
    recorded: str
    replayed: str
    differs: bool | None


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


def table(of: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of a table, and how many differences it shows."""
    lines = [("", "recorded", "replayed"), *((row.name, row.recorded, row.replayed) for row in of)]
    marks = [" ", *("≠" if row.differs else " " for row in of)]
    widths = [max(len(_cut(line[column])) for line in lines) for column in range(3)]
    for mark, line in zip(marks, lines, strict=True):
        cells = (f"{_cut(text):<{width}}" for text, width in zip(line, widths, strict=True))
        yield f"{mark} {'  '.join(cells)}".rstrip()
    different = [row.name for row in of if row.differs]
    yield f"different: {', '.join(different) or 'nothing'}"


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


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
        then = str(recorded[name]) if name in recorded else None
        yield _row(f"{prefix}{name}", then, str(replayed[name]))


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
