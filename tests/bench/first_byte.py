"""The time to a job's first byte, each way, in turn in one run."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.bench import plot
from tests.bench.bench import ROUNDS, Bench
from tests.bench.floor import floor
from tests.bench.jobs import run_well
from tests.bench.results import Findings, Goal, Spread, Table, median, milliseconds, spread
from tests.bench.steps import steps, steps_of
from tests.bench.ways import Way

LATENCY = 0.1  # seconds for one answer of STS
BARE = "docker run"
SLOW = ", STS 100 ms"
COLD = "service, its first job"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Series:
    """The measurements of one way: seconds, and seconds of processor time by group."""

    seconds: list[float] = field(default_factory=list)
    used: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    steps: list[dict[str, float]] = field(default_factory=list)


def first_byte(bench: Bench) -> Findings:
    """Measure `ROUNDS` rounds; in each, every way has one job."""
    plan = _plan(bench)
    series = {name: _Series() for name in plan}
    for way, latency in plan.values():  # caches, the bridge and the ruleset, once for all
        _measured(bench, way, latency, _Series())
    for number in range(ROUNDS):
        bench.service.stop()
        bench.service.start()
        bench.settle()
        _measured(bench, *plan[COLD], series[COLD])
        names = [name for name in plan if name != COLD]
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            _measured(bench, *plan[name], series[name])
    lowest = floor(bench.ways, ROUNDS)
    return _findings(series, lowest)


def _plan(bench: Bench) -> dict[str, tuple[Way, float]]:
    """Return the ways by name, each with the latency of STS."""
    ways = bench.ways
    quick: dict[str, Way] = {
        BARE: ways.bare,
        "shell script": ways.shell,
        COLD: ways.service,
        "service": ways.service,
        "service, with hook": ways.service_with_hook,
        "alone": ways.alone,
        "alone, with hook": ways.alone_with_hook,
    }
    slow = ("shell script", "service", "service, with hook", "alone")
    return {
        **{name: (way, 0.0) for name, way in quick.items()},
        **{name + SLOW: (quick[name], LATENCY) for name in slow},
    }


def _measured(bench: Bench, way: Way, latency: float, series: _Series) -> None:
    start = way("true", 1)
    bench.settle()
    bench.made.sts.latency = latency
    before = bench.cpu.read()
    first = run_well(start).first
    bench.settle()
    for group, used in bench.cpu.since(before).items():
        series.used[group].append(used)
    bench.made.sts.latency = 0
    series.seconds.append(first)
    series.steps.append(steps_of(bench.made, start, first))


def _findings(series: Mapping[str, _Series], lowest: list[float]) -> Findings:
    found = {name: spread(one.seconds) for name, one in series.items()}
    base = found[BARE].median
    ratios = {name: _ratio(series[name].seconds, series[BARE].seconds) for name in found}
    used = {
        name: {group: median(values) for group, values in one.used.items()}
        for name, one in series.items()
    }
    rows: list[Sequence[str | float]] = [
        [
            name,
            ratios[name].median,
            milliseconds(one),
            used[name]["all"] / used[BARE]["all"],
            f"{used[name]['all'] * 1000:.0f}",
        ]
        for name, one in found.items()
    ]
    table = Table(
        title=f"Time from exec to the job's first byte, {ROUNDS} rounds in turn",
        header=("", "ratio", "ms (half of all)", "CPU ratio", "CPU ms per job"),
        rows=rows,
        notes=[
            "The ratio is the median of each round's ratio to the `docker run` of that round.",
            f"Engine API alone, over one kept connection: {milliseconds(spread(lowest))} ms.",
        ],
    )
    by_step, drawn = steps({name: one.steps for name, one in series.items()}, base)
    return Findings(
        tables=[table, by_step],
        goals=_goals(ratios),
        data=_data(found, ratios, used, lowest),
        plots={"first-byte": _plot(found, base), "steps": drawn},
    )


def _ratio(seconds: list[float], base: list[float]) -> Spread:
    """Return the ratios of measurements of the same round, after the warm-up."""
    return spread(one / other for one, other in zip(seconds, base, strict=True))


def _goals(ratios: Mapping[str, Spread]) -> list[Goal]:
    bounds = {"service": 1.10, "service, with hook": 1.15, "alone": 1.8}
    return [
        Goal(what=f"{name}, to docker run", measured=ratios[name].median, most=most)
        for name, most in bounds.items()
        if name in ratios
    ]


def _data(
    found: Mapping[str, Spread],
    ratios: Mapping[str, Spread],
    used: Mapping[str, Mapping[str, float]],
    lowest: list[float],
) -> dict[str, Any]:
    ways = {
        name: {
            "seconds": found[name].json(),
            "ratio": ratios[name].json(),
            "cpu_seconds": used[name],
        }
        for name in found
    }
    return {"ways": ways, "engine_api_seconds": spread(lowest).json()}


def _plot(found: Mapping[str, Spread], base: float) -> str:
    lines = [
        plot.Bar(
            name=name,
            parts=[("", one.median / base)],
            low=one.low / base,
            high=one.high / base,
            label=f"{one.median / base:.2f}  ({one.median * 1000:.0f} ms)",
        )
        for name, one in found.items()
    ]
    return plot.bars("Time to the first byte, docker run = 1", lines, goal=1.10)
