"""All AWS clients in one sandbox, for three sessions, STS down for most of the middle one.

One job runs them all, since it takes minutes: sessions last a minute, the shortest time whose last
tenth is longer than the longest pause between two attempts at a renewal.
"""

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from tests.fakes.sts import StrictSts, Trust, request_of
from tests.lab.clients import find_go
from tests.lab.engine import eventually
from tests.lab.lab import ROLE, Lab, fleet

pytestmark = pytest.mark.lab

AUDIT = "arn:aws:iam::444455556666:role/storefront-audit"
RULE = f"""  - name: deploy
    when: {{branch: main}}
    allow: {{role: "{ROLE}", roles: {{audit: "{AUDIT}"}}}}
"""
SESSION = 60.0  # seconds
HOME = "/opt/clients"


@dataclass(frozen=True, kw_only=True, slots=True)
class Client:
    """A command that takes URL, seconds and profile, and the user agent that STS receives."""

    command: str
    agent: str
    then: str = ""
    needs_go: bool = False


CLIENTS = {
    "AWS CLI v1": Client(
        command=f"PYTHONPATH={HOME}/python/lib sh {HOME}/python/awscli.sh",
        then="python3 -m awscli",
        agent=r"aws-cli/1\.46\.3 ",
    ),
    "AWS CLI v2": Client(
        command=f"sh {HOME}/python/awscli.sh", then="aws", agent=r"aws-cli/2\.9\.19 "
    ),
    "boto3": Client(
        command=f"PYTHONPATH={HOME}/python/lib python3 {HOME}/python/whoami.py",
        agent=r"Boto3/1\.44\.3 ",
    ),
    "boto3 of Debian 12": Client(
        command=f"python3 {HOME}/python/whoami.py", agent=r"Boto3/1\.26\.27 "
    ),
    "JavaScript v3": Client(
        command=f"node {HOME}/javascript/whoami.js",
        agent=r"aws-sdk-js/3\.1168\.0 ",  # the user agent of release 3.1169.0
    ),
    "Go v2": Client(command=f"{HOME}/go/whoami", agent=r"aws-sdk-go-v2/1\.47\.8 ", needs_go=True),
    "Terraform": Client(
        command=f"{HOME}/terraform/whoami", agent="terraform-provider-aws", needs_go=True
    ),
    "Java v2": Client(
        command=f"java -cp '{HOME}/java/lib:{HOME}/java/lib/*' Whoami",
        agent=r"aws-sdk-java/2\.40\.2 ",
    ),
    "Ruby v3": Client(command=f"ruby {HOME}/ruby/whoami.rb", agent=r"aws-sdk-ruby3/3\.168\.1 "),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """The one job after its end."""

    result: tuple[str, str, str]
    log: str
    sts: StrictSts
    refused: int  # renewals that STS did not answer

    def sessions(self, client: Client) -> Mapping[str, set[str]]:
        """Return the access keys with which a client asked STS, by their role's name."""
        seen: dict[str, set[str]] = {}
        for call in self.sts.calls:
            request = request_of(call)
            if request.action == "GetCallerIdentity" and re.search(
                client.agent, call.headers["user-agent"]
            ):
                role = self.sts.issued[request.key or ""].arn.split("/")[1]
                seen.setdefault(role, set()).add(request.key or "")
        return seen

    def user_agents(self) -> set[str]:
        return {" ".join(call.headers["user-agent"].split()[:2]) for call in self.sts.calls}


@pytest.fixture(scope="module")
def ran(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    base = tmp_path_factory.mktemp("clients") / "fleet"
    with fleet(lab, base, lifetime=SESSION, settings="cpus = 2.0\n") as made:
        made.sts.roles[AUDIT] = Trust()
        made.policy(RULE)
        with made.agent():
            job = made.control.enqueue(made.env(script(made.sts.url, int(3 * SESSION))))
            eventually(lambda: len(made.sts.asked) == 4, "both roles are renewed", 2 * SESSION)
            refused = outage(made.sts, seconds=0.9 * SESSION)
            result = made.control.finished(job, 4 * SESSION)
        yield Ran(result=result, log=job.log.decode(), sts=made.sts, refused=refused)


def script(url: str, seconds: int) -> str:
    """Start all clients in parallel, and fail if any of them fails."""
    here = [client for client in CLIENTS.values() if find_go() or not client.needs_go]
    starts = (f"{c.command} {url} {seconds} audit {c.then} & pids+=($!)" for c in here)
    return "\n".join((*starts, 'for pid in "${pids[@]}"; do wait "$pid"; done'))


def outage(sts: StrictSts, *, seconds: float) -> int:
    """Let STS issue nothing for that long; return how many requests it refused."""
    until, before = time.monotonic() + seconds, len(sts.calls)
    sts.down = True
    eventually(lambda: time.monotonic() > until, "the outage is over", 2 * seconds)
    sts.down = False
    down = [request_of(call).action for call in sts.calls[before:]]
    return down.count("AssumeRole")


def test_clients_through_sts_outage_succeed(ran: Ran) -> None:
    assert ran.result == ("0", "", ""), ran.log
    assert ran.refused >= 4, "too few requests while STS was down"


@pytest.mark.parametrize("name", CLIENTS)
def test_client_reads_role_and_profile_across_renewals(ran: Ran, name: str) -> None:
    client = CLIENTS[name]
    if client.needs_go and not find_go():
        pytest.skip("no Go: install Go 1.26")
    seen = ran.sessions(client)
    assert set(seen) == {"storefront-deploy", "storefront-audit"}, ran.user_agents()
    assert min(map(len, seen.values())) >= 3, f"sessions seen: {seen}"


def test_sts_outage_and_recovery_are_logged_once_per_role(ran: Ran) -> None:
    assert ran.log.count("credentials cannot be renewed") == 2, "one for each role"
    assert ran.log.count("credentials were renewed after an outage") == 2
