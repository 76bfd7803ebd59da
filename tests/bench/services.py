"""A job that tests against PostgreSQL and Redis, which are ready beside it.

By hand it is a script of `docker run` for each, as a step would have it, which waits for both and
removes them at the end; with Airlock it is a rule with `services`. Images are on the machine.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.bench import ROUNDS, Bench
from tests.bench.jobs import Ran, run_well
from tests.bench.results import Findings, Goal, Spread, Table, milliseconds, spread
from tests.bench.ways import FIRST, Start
from tests.lab.lab import FIRST_USER, ROLE
from tests.lab.service_images import service_images

BARE, SERVICE = "docker run, by hand", "service, with services"
WITHOUT = "service, without any"
MOST = 1.1  # the goal: not slower than by hand
# What tests do: connections to PostgreSQL, of which each asks whether it speaks TLS, and commands
# of Redis, one after the other.
TESTS = """python3 -c '
import socket
for _ in range(200):
    with socket.create_connection(("postgres", 5432), 5) as postgres:
        postgres.sendall(bytes.fromhex("0000000804d2162f"))
        assert postgres.recv(1) in {b"N", b"S"}
with socket.create_connection(("redis", 6379), 5) as redis:
    for number in range(2000):
        redis.sendall(b"SET key %d\\r\\n" % number)
        assert redis.recv(64) == b"+OK\\r\\n"
'"""


def services(bench: Bench) -> Findings:
    """Measure `ROUNDS` rounds; in each, every way has one job."""
    images = service_images(bench.made.lab.docker)
    rules = {WITHOUT: _rule(""), SERVICE: _rule(_services(images))}
    commands = {WITHOUT: "true", SERVICE: TESTS}
    ran: dict[str, list[Ran]] = {name: [] for name in (BARE, SERVICE, WITHOUT)}
    for number in range(ROUNDS):
        ran[BARE].append(run_well(_by_hand(bench, images, number)))
        for name, rule in rules.items():
            bench.made.policy(rule)
            bench.settle()
            ran[name].append(run_well(bench.ways.service(commands[name], 1)))
    bench.made.policy(_rule(""))
    return _found(ran)


def _found(ran: Mapping[str, Sequence[Ran]]) -> Findings:
    first = {name: spread([one.first for one in of]) for name, of in ran.items()}
    whole = {name: spread([one.ended for one in ran[name]]) for name in (BARE, SERVICE)}
    ratio = first[SERVICE].median / first[BARE].median
    whole_ratio = whole[SERVICE].median / whole[BARE].median
    return Findings(
        tables=[
            _table("PostgreSQL and Redis beside a job: the time to its first byte", first),
            _table("The same, with tests that use them: the time to its end", whole),
        ],
        goals=[
            Goal(what="services, against docker run by hand", measured=ratio, most=MOST),
            Goal(what="tests with services, to their end", measured=whole_ratio, most=MOST),
        ],
        data={
            "seconds": {name: found.json() for name, found in first.items()},
            "seconds_to_end": {name: found.json() for name, found in whole.items()},
        },
    )


def _table(title: str, spreads: Mapping[str, Spread]) -> Table:
    rows: list[list[str | float]] = [
        [name, found.median / spreads[BARE].median, milliseconds(found)]
        for name, found in spreads.items()
    ]
    return Table(title=title, header=["", "ratio", "ms (quartiles)"], rows=rows)


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
    command = [script, bench.made.lab.image, "sh", "-c", f"echo {FIRST.decode()}; {TESTS}"]
    return Start(command=command, env=env)
