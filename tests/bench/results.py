"""What a subject has found: tables for a reader, goals, and the same numbers for programs."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """The median of some measurements, and between which values half of them are."""

    median: float
    low: float
    high: float
    count: int

    def json(self) -> dict[str, float]:
        return {"median": self.median, "q1": self.low, "q3": self.high, "n": self.count}


def spread(values: Iterable[float]) -> Spread:
    """Return the spread of measurements. Raises StatisticsError if there are none."""
    taken = sorted(values)
    low, _, high = (
        statistics.quantiles(taken, n=4, method="inclusive") if len(taken) > 1 else taken * 3
    )
    return Spread(median=statistics.median(taken), low=low, high=high, count=len(taken))


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """A number of the issue that asks for it, and what was measured. `most` is an upper bound."""

    what: str
    measured: float
    most: float | None = None
    least: float | None = None
    unit: str = ""

    @property
    def met(self) -> bool:
        return (self.most is None or self.measured <= self.most) and (
            self.least is None or self.measured >= self.least
        )

    def __str__(self) -> str:
        sign, bound = ("≤", self.most) if self.most is not None else ("≥", self.least)
        verdict = "met" if self.met else "not met"
        goal = f"goal {sign} {bound}{self.unit}"
        return f"{self.what}: {self.measured:.2f}{self.unit}, {goal}: {verdict}"

    def json(self) -> dict[str, Any]:
        bounds = {"most": self.most, "least": self.least}
        kept = {name: bound for name, bound in bounds.items() if bound is not None}
        return {"what": self.what, "measured": self.measured, **kept, "met": self.met}


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows under a heading; the first column is text, and so may be the others."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str | float]]
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        cells = [list(self.header), *([_shown(cell) for cell in row] for row in self.rows)]
        widths = [max(len(row[at]) for row in cells) for at in range(len(self.header))]
        lines = [
            "  "
            + "  ".join(
                cell.ljust(width) if at == 0 else cell.rjust(width)
                for at, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in cells
        ]
        notes = [f"  {note}" for note in self.notes]
        return "\n".join([self.title, "", *lines, *([""] if notes else []), *notes, ""])


def _shown(cell: str | float) -> str:
    return cell if isinstance(cell, str) else f"{cell:.2f}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """All of one subject. `data` is for programs, `plots` are SVG documents by name."""

    tables: Sequence[Table]
    goals: Sequence[Goal] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    plots: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> dict[str, Any]:
        return {"goals": [goal.json() for goal in self.goals], **self.data}


def milliseconds(found: Spread) -> str:
    """Return a duration with the quartiles around it."""
    return f"{found.median * 1000:.0f} ({found.low * 1000:.0f}-{found.high * 1000:.0f})"
