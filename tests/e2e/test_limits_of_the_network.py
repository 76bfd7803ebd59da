"""A job that hits a limit of the network reads which one at the end of its log."""

from collections.abc import Iterator

import pytest

from tests.lab import world
from tests.lab.lab import Lab
from tests.lab.ways import SERVICE, Host, host

pytestmark = pytest.mark.lab

FLOWS = f"""
python3 - <<'PY'
import socket
sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range({{sockets}})]
for port in range({{first}}, {{last}}):
    for each in sockets:
        try: each.sendto(b"x", ("{world.WORLD}", port))
        except OSError: pass
PY
exit 4
"""


@pytest.fixture(scope="module")
def here(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with host(lab, SERVICE, tmp_path_factory.mktemp("limits")) as made, made.working():
        yield made


@pytest.mark.parametrize(
    ("sockets", "first", "last", "limit", "sentence"),
    [
        (3, 2000, 4000, "over_open", "the job had 4096 connections open"),
        (3000, 53, 54, "over_asked", "the job sent more than 400 DNS queries in a second"),
    ],
    ids=["open", "queries"],
)
def test_a_limit_of_the_network_speaks(
    here: Host, *, sockets: int, first: int, last: int, limit: str, sentence: str
) -> None:
    command = FLOWS.format(sockets=sockets, first=first, last=last)
    job, result = here.done(command)
    log = job.log.decode()
    assert result.ending == ("4", "", ""), log
    (line,) = [line for line in log.splitlines() if "a sandbox's limit" in line]
    assert sentence in line
    event = here.fleet.event(job.id, "connections")
    assert event[limit] > 0
