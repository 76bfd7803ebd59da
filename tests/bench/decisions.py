"""How long a decision takes, by the number of pipelines and by where their policies are."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bootstrap import admission
from bootstrap.host import config
from bootstrap.job.assemble import agent_of, claims_of
from bootstrap.job.read import read
from bootstrap.log import JobLog
from bootstrap.record import Record
from tests.bench import plot
from tests.bench.bench import Bench
from tests.bench.results import Findings, Spread, Table, spread
from tests.fakes.ssm import StrictSsm
from tests.lab import world
from tests.lab.lab import AIRLOCK, Fleet
from tests.policy import corpus

PIPELINES = (1, 10, 100, 1000)
PREFIX = "/buildkite/pipelines"
ROUNDS, PROCESSES = 50, 3
KINDS = ("directory", "SSM, cached", "SSM, each time")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Host:
    """A host configuration, and the environment of a job that its policies admit."""

    config: Path
    env: Mapping[str, str]
    cached: Path  # what the host keeps of SSM's answers


def decisions(bench: Bench) -> Findings:
    """Decide about one job of the middle pipeline, in this process and by `airlock admit`."""
    inside: dict[int, dict[str, Spread]] = {}
    outside: dict[int, dict[str, Spread]] = {}
    for count in PIPELINES:
        with _hosts(bench.made, count) as hosts:
            inside[count] = {kind: spread(_decided(hosts[kind], kind)) for kind in KINDS}
            outside[count] = {kind: spread(_admitted(hosts[kind], kind)) for kind in KINDS}
    tables = [
        _table(f"A decision in the process, ms, median of {ROUNDS}", inside),
        _table(f"`airlock admit` alone, ms, median of {PROCESSES}", outside),
    ]
    lines = [
        plot.Bar(
            name=f"{kind}, {count}",
            parts=[(kind, inside[count][kind].median * 1000)],
            label=f"{inside[count][kind].median * 1000:.1f} ms",
        )
        for kind in KINDS
        for count in PIPELINES
    ]
    data = {
        name: {
            str(count): {kind: one.json() for kind, one in of.items()}
            for count, of in found.items()
        }
        for name, found in (("in_process", inside), ("airlock_admit", outside))
    }
    chart = plot.bars("A decision by store and number of pipelines", lines)
    return Findings(tables=tables, data=data, plots={"decisions": chart})


def _table(title: str, found: Mapping[int, Mapping[str, Spread]]) -> Table:
    return Table(
        title=title,
        header=("", *(f"{count} pipelines" for count in PIPELINES), "most / one"),
        rows=[
            [
                kind,
                *(f"{found[count][kind].median * 1000:.1f}" for count in PIPELINES),
                found[PIPELINES[-1]][kind].median / found[PIPELINES[0]][kind].median,
            ]
            for kind in KINDS
        ],
    )


@contextmanager
def _hosts(made: Fleet, count: int) -> Iterator[dict[str, _Host]]:
    """Yield a configuration for each kind of store with this number of pipelines."""
    base = made.base / f"decisions-{count}"
    folder = corpus.write(base / "policies", count)
    name = f"service-{count // 2:03}"
    env = _environment(made, name, folder)
    with ExitStack() as held:
        ssm = held.enter_context(StrictSsm(world.listen(world.WORLD, 0)))
        for path in folder.glob("*[0-9].yaml"):
            ssm.put(f"{PREFIX}/{path.stem}/policy", path.read_text())
        text = made.config.read_text().replace("[aws]", f'[aws]\nssm-endpoint = "{ssm.url}"')
        stores = {KINDS[0]: f"file:{folder}", KINDS[1]: f"ssm:{PREFIX}", KINDS[2]: f"ssm:{PREFIX}"}
        hosts = {}
        for number, (kind, store) in enumerate(stores.items()):
            file, runtime = base / f"{number}.toml", base / f"runtime-{number}"
            chosen = re.sub("^store = .*$", f'store = "{store}"', text, flags=re.MULTILINE)
            file.write_text(chosen.replace("[paths]", f'[paths]\nruntime = "{runtime}"'))
            hosts[kind] = _Host(config=file, env=env, cached=runtime / "policies")
        yield hosts


def _environment(made: Fleet, pipeline: str, folder: Path) -> dict[str, str]:
    sent = made.env(
        "true",
        BUILDKITE_PIPELINE_SLUG=pipeline,
        BUILDKITE_REPO=f"git@github.com:acme/{pipeline}.git",
        BUILDKITE_BRANCH="topic",
    )
    file = folder.with_name(f"job-env-json-{sent['BUILDKITE_JOB_ID']}1")
    file.write_text(json.dumps(sent))
    return {
        "BUILDKITE_ENV_JSON_FILE": str(file),
        "BUILDKITE_AGENT_ACCESS_TOKEN": "bkaj_token",
        "BUILDKITE_BUILD_PATH": str(folder.with_name("builds")),
    }


def _decided(of: _Host, kind: str) -> Iterator[float]:
    """Yield the seconds of decisions in this process, the first one left out."""
    host = config.load(of.config)
    log = JobLog(lambda _: None)

    def decide() -> None:
        record = Record(host.paths.records, "2026-01-01T00:00:00Z")
        env = read(of.env, writable=(host.paths.state,))
        claims, agent = claims_of(env, of.env), agent_of(env, of.env)
        admission.admit(claims, agent, host, record, log)

    yield from _timed(of, kind, ROUNDS, decide)


def _admitted(of: _Host, kind: str) -> Iterator[float]:
    """Yield the seconds of whole processes that decide."""
    command = [*AIRLOCK, "admit", "--config", str(of.config)]

    def admit() -> None:
        done = subprocess.run(command, env=of.env, capture_output=True, text=True, check=True)
        if "admitted by rule" not in done.stdout:
            raise RuntimeError(f"not admitted: {done.stdout}{done.stderr}")

    yield from _timed(of, kind, PROCESSES, admit)


def _timed(of: _Host, kind: str, rounds: int, work: Callable[[], None]) -> Iterator[float]:
    for number in range(rounds + 1):
        if kind == KINDS[2]:
            for path in of.cached.glob("*"):
                path.unlink()
        began = time.monotonic()
        work()
        if number > 0:
            yield time.monotonic() - began
