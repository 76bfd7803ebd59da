"""The time to the first byte of a job that has PostgreSQL and Redis ready beside it.

By hand it is a script of `docker run` for each, as a step would have it, which waits for both; with
Airlock it is a rule with `services`. Images are on the machine already.
"""

from pathlib import Path

from tests.bench.bench import ROUNDS, Bench
from tests.bench.jobs import run_well
from tests.bench.results import Findings, Goal, Table, milliseconds, spread
from tests.bench.ways import FIRST, Start
from tests.lab.lab import FIRST_USER, ROLE
from tests.lab.service_images import service_images

BARE, SERVICE = "docker run, by hand", "service, with services"
WITHOUT = "service, without any"
MOST = 1.1  # the goal: not slower than by hand


def services(bench: Bench) -> Findings:
    """Measure `ROUNDS` rounds; in each, every way has one job."""
    images = service_images(bench.made.lab.docker)
    rules = {WITHOUT: _rule(""), SERVICE: _rule(_services(images))}
    seconds: dict[str, list[float]] = {name: [] for name in (BARE, SERVICE, WITHOUT)}
    for number in range(ROUNDS):
        seconds[BARE].append(run_well(_by_hand(bench, images, number)).first)
        for name, rule in rules.items():
            bench.made.policy(rule)
            bench.settle()
            seconds[name].append(run_well(bench.ways.service("true", 1)).first)
    bench.made.policy(_rule(""))
    spreads = {name: spread(values) for name, values in seconds.items()}
    ratio = spreads[SERVICE].median / spreads[BARE].median
    rows: list[list[str | float]] = [
        [name, found.median / spreads[BARE].median, milliseconds(found)]
        for name, found in spreads.items()
    ]
    table = Table(
        title="PostgreSQL and Redis beside a job: the time to its first byte",
        header=["", "ratio", "ms (quartiles)"],
        rows=rows,
    )
    return Findings(
        tables=[table],
        goals=[Goal(what="services, against docker run by hand", measured=ratio, most=MOST)],
        data={"seconds": {name: found.json() for name, found in spreads.items()}},
    )


def _rule(services: str) -> str:
    return f"  - name: all\n    allow:\n      role: '{ROLE}'\n{services}"


def _services(images: dict[str, str]) -> str:
    return f"""      services:
        postgres:
          image: {images["postgres"]}
          env: {{POSTGRES_PASSWORD: test}}
          tmpfs: /var/run/postgresql
          ready: tcp:5432
        redis:
          image: {images["redis"]}
          command: redis-server --save "" --protected-mode no
          ready: tcp:6379
"""


def _by_hand(bench: Bench, images: dict[str, str], number: int) -> Start:
    owner = FIRST_USER.partition(":")[0]
    passwd = bench.made.base / "services-passwd"
    passwd.write_text(f"root:x:0:0::/:/bin/sh\npostgres:x:{owner}:{owner}::/tmp:/bin/sh\n")
    env = {
        "PATH": "/usr/bin:/bin",
        "HOME": "/nonexistent",
        "DOCKER_HOST": bench.made.lab.docker,
        "NUMBER": str(number),
        "OWNER": owner,
        "PASSWD": str(passwd),
        "POSTGRES": images["postgres"],
        "REDIS": images["redis"],
    }
    script = str(Path(__file__).with_name("by-hand-with-services"))
    command = [script, bench.made.lab.image, "echo", FIRST.decode()]
    return Start(command=command, env=env)
