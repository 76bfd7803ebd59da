"""Where the time to the first byte goes: the steps that Airlock times, a bar for each way."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from tests.bench import plot
from tests.bench.results import Table, median
from tests.bench.ways import Start
from tests.lab.lab import Fleet


def steps_of(made: Fleet, start: Start, first: float) -> dict[str, float]:
    """Return the seconds of each step of a job that has run; {} if it was not Airlock's."""
    job = start.env.get("BUILDKITE_ENV_JSON_FILE", "").rpartition("job-env-json-")[2][:-1]
    found = [event["timings"] for event in made.events(job) if event["event"] == "sandbox"]
    if not found:
        return {}
    timed = {step: float(took) for step, took in found[0].items()}
    return {**timed, "the rest": max(0.0, first - sum(timed.values()))}


def steps(series: Mapping[str, Sequence[Mapping[str, float]]], bare: float) -> tuple[Table, str]:
    """Return a table and a chart of the medians of each step, for ways that have steps."""
    known = {name: _medians(jobs) for name, jobs in series.items() if any(jobs)}
    names = list(dict.fromkeys(step for of in known.values() for step in of))
    table = Table(
        title="Where the time goes, ms (medians of what Airlock itself times)",
        header=("", *names),
        rows=[
            [name, *(f"{of.get(step, 0.0) * 1000:.0f}" for step in names)]
            for name, of in known.items()
        ],
        notes=[
            "The rest: the program's start, the job's files and the way to the service before the "
            "first step,",
            "and from the start gate to the first byte. Steps that overlap are timed where waited "
            "for.",
        ],
    )
    lines = [
        plot.Bar(name="docker run", parts=[("docker run", bare * 1000)]),
        *(
            plot.Bar(name=name, parts=[(step, took * 1000) for step, took in of.items()])
            for name, of in known.items()
        ),
    ]
    return table, plot.bars("Milliseconds to the first byte, by step", lines, unit=" ms")


def _medians(jobs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    values: dict[str, list[float]] = defaultdict(list)
    for job in jobs:
        for step, took in job.items():
            values[step].append(took)
    return {step: median(of) for step, of in values.items()}
