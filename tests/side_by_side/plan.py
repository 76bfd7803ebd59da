"""Which test runs in which stage. The same files make the same plan, on every machine."""

from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECONDS = ROOT / ".ci/seconds"

# Each test is chosen by exactly one: isolated labs run the first, and the host, at the same time,
# the second. The third changes settings of the kernel that all share, so it runs after the others,
# and the fourth after that, in a lab where systemd is the init process.
IN_A_LAB = "lab and not host_namespaces and not systemd"
ON_THE_HOST = "not lab and not host_namespaces and not systemd"
ALONE = "host_namespaces and not systemd"
WITH_SYSTEMD = "systemd"

_UNKNOWN = 20.0  # seconds of a file with tests for labs that .ci/seconds does not name
_MEMORY = 4 << 30  # bytes for one lab: jobs of 2 GiB, dockerd, moto, the agents


def labs_for(cpus: int, memory: int) -> int:
    """Return how many labs a machine with `memory` available bytes can run at once.

    More than its processors would make jobs miss the deadlines that tests hold them to.
    """
    return max(1, min(cpus, memory // _MEMORY, 4))


def all_files() -> list[str]:
    """Return the path of every test file, relative to the repository."""
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py"))


def known_seconds() -> dict[str, float]:
    """Read how long the tests of each file took in a lab: lines of seconds and path."""
    lines = (line.split() for line in SECONDS.read_text().splitlines() if not line.startswith("#"))
    return {name: float(seconds) for seconds, name in lines}


def expected_seconds(files: Iterable[str]) -> dict[str, float]:
    """Return how long each of the files is going to keep a lab busy."""
    known = known_seconds()
    return {file: known.get(file, _UNKNOWN if _needs_lab(file) else 0.0) for file in files}


def _needs_lab(file: str) -> bool:
    text = (ROOT / file).read_text()
    return "mark.lab" in text and "mark.systemd" not in text  # these have a stage of their own


def shards(seconds: Mapping[str, float], number: int) -> list[list[str]]:
    """Divide the files, given with their seconds, so that all shards take about as long.

    Every file is in exactly one shard: the longest first, each to the shard with least to do.
    """
    divided: list[list[str]] = [[] for _ in range(number)]
    loads = [0.0] * number
    for file in sorted(seconds, key=lambda file: (-seconds[file], file)):
        least = loads.index(min(loads))
        divided[least].append(file)
        loads[least] += seconds[file]
    return [sorted(shard) for shard in divided]
