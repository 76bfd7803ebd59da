"""Promise 4: with `agent-api`, the job's token of Buildkite is not in its sandbox.

Without it, a job can have Buildkite sign a token for any audience, whatever its rule grants.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.attacks import search
from tests.attacks.attacker import Attacker, attacker
from tests.attacks.in_prepared_networks import served
from tests.lab import prepared
from tests.lab.lab import Fleet, Lab, fleet

pytestmark = pytest.mark.lab

AUDIENCE = "https://signer.example.com"
RULES = {
    "direct": "{}",
    "granted": f"{{agent-api: {{oidc-audiences: {AUDIENCE}, secrets: MINE, calls: meta-data}}}}",
    "closed": "{agent-api: {}}",
}
ASK = 'buildkite-agent oidc request-token --skip-redaction --audience "{}" | cut -d. -f2'


@dataclass(frozen=True, kw_only=True, slots=True)
class Three:
    """Three jobs that run at the same time, by the rule of each."""

    fleet: Fleet
    direct: Attacker
    granted: Attacker
    closed: Attacker


@pytest.fixture(scope="module", params=["own network", "prepared network"])
def three(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Three]:
    opened = fleet if request.param == "own network" else served
    with ExitStack() as held:
        made = held.enter_context(opened(lab, tmp_path_factory.mktemp("agent-api") / "fleet"))
        made.control.secrets.update(MINE="a secret of the cluster", YOURS="another one")
        for name, allow in RULES.items():
            made.policy(f"  - {{name: {name}, allow: {allow}}}\n", pipeline=name)
        jobs = {
            name: held.enter_context(attacker(made, BUILDKITE_PIPELINE_SLUG=name)) for name in RULES
        }
        if opened is served:
            mode = prepared.network_mode(made, jobs["granted"].job)
            assert mode.startswith("container:")
        yield Three(fleet=made, **jobs)


def printed(sandbox: Attacker, script: str) -> str:
    done = sandbox.tries(script)
    return done.stdout + done.stderr


def variable(sandbox: Attacker, name: str) -> str:
    return printed(sandbox, f"printf %s ${name}")


def call(sandbox: Attacker, path: str, *, token: str = "$BUILDKITE_AGENT_ACCESS_TOKEN") -> str:
    """Return what the job's own endpoint answers."""
    return printed(
        sandbox,
        f'curl -s -w " %{{http_code}}" -H "Authorization: Token {token}" -d \'{{"key": "a"}}\' '
        f'"$BUILDKITE_AGENT_ENDPOINT/{path}"',
    )


def test_any_job_gets_a_token_for_any_audience_without_a_gateway(three: Three) -> None:
    """What the others show closed is open: the tests can fail."""
    claims = printed(three.direct, ASK.format("sts.amazonaws.com"))
    assert claims.strip(), "no token"
    assert "a secret" in printed(three.direct, "buildkite-agent secret get --skip-redaction MINE")


@pytest.mark.parametrize("audience", ["sts.amazonaws.com", "", "*", f"{AUDIENCE}/", "a,b"])
def test_gateway_sends_no_request_for_another_audience(three: Three, audience: str) -> None:
    for sandbox in (three.granted, three.closed):
        output = printed(sandbox, ASK.format(audience))
        assert "403" in output
        assert "the rule does not allow" in output
        signed = three.fleet.control.issuer.signed
        assert {asked for job, asked in signed if job == sandbox.job.id} <= {AUDIENCE}


def test_audience_and_secret_of_the_rule_pass(three: Three) -> None:
    assert "403" not in printed(three.granted, ASK.format(AUDIENCE))
    mine = printed(three.granted, "buildkite-agent secret get --skip-redaction MINE")
    assert "a secret of the cluster" in mine
    yours = printed(three.granted, "buildkite-agent secret get --skip-redaction YOURS")
    assert "another one" not in yours
    assert "the rule does not allow to read the secret 'YOURS'" in yours


def in_memory(sandbox: Attacker, secret: str) -> set[str]:
    """Return the processes of the container whose memory has the bytes."""
    inside = Path(f"/proc/{sandbox.pid}/ns/pid").readlink()
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "ns/pid").readlink() == inside and _has(process, secret.encode()):
                found.add((process / "comm").read_text().strip())
        except OSError:
            continue  # it has ended
    return found


def _has(process: Path, secret: bytes) -> bool:
    regions = [line.split()[:2] for line in (process / "maps").read_text().splitlines()]
    with (process / "mem").open("rb", buffering=0) as memory:
        for addresses, rights in regions:
            first, last = (int(address, 16) for address in addresses.split("-"))
            if rights.startswith("r") and last < 1 << 63:
                memory.seek(first)
                try:
                    content = memory.read(last - first)
                except OSError:
                    continue  # of the kernel
                if secret in content:
                    return True
    return False


def test_token_of_the_job_is_nowhere_in_its_sandbox(three: Three) -> None:
    token = {"token": three.direct.job.token}
    assert search.in_sandbox(three.direct, token) == {"token": {"/airlock/env", "/proc/*/environ"}}
    assert in_memory(three.direct, token["token"])
    for sandbox in (three.granted, three.closed):
        printed(sandbox, "buildkite-agent meta-data keys")
        token = {"token": sandbox.job.token}
        assert search.in_sandbox(sandbox, token) == {}
        assert in_memory(sandbox, token["token"]) == set()


def test_what_the_sandbox_has_instead_is_worth_nothing_elsewhere(three: Three) -> None:
    placeholder = variable(three.granted, "BUILDKITE_AGENT_ACCESS_TOKEN")
    assert placeholder.startswith("airlock-")
    buildkite = three.fleet.control.url
    answer = printed(
        three.direct,
        f'curl -s -o /dev/null -w "%{{http_code}}" -H "Authorization: Token {placeholder}" '
        f'"{buildkite}/jobs/{three.granted.job.id}/data/keys" -d ""',
    )
    assert answer == "401"
    mine = f"jobs/{three.closed.job.id}/data/exists"
    assert call(three.closed, mine, token=placeholder).endswith(" 401")


def test_gateway_of_a_neighbour_is_not_reached(three: Three) -> None:
    port = variable(three.granted, "BUILDKITE_AGENT_ENDPOINT").rpartition(":")[2]
    host = f"{three.granted.address.rpartition(chr(46))[0]}.1"  # the bridge has its first
    addresses = ["127.0.0.1", three.granted.address, "169.254.170.2", host]
    connect = "timeout 3 bash -c 'exec 3<>/dev/tcp/{}/{}' && echo connected {}; true"
    script = "\n".join(connect.format(address, port, address) for address in addresses)
    assert printed(three.granted, script).count("connected 127.0.0.1") == 1
    reached = printed(three.closed, script)
    assert not [line for line in reached.splitlines() if line.startswith("connected")], reached


def test_call_in_the_name_of_another_job_is_refused(three: Three) -> None:
    own, other = three.granted.job.id, three.direct.job.id
    assert call(three.granted, f"jobs/{own}/data/exists").endswith(" 200")
    answer = call(three.granted, f"jobs/{other}/data/exists")
    assert answer.endswith(" 403")
    assert "as another job" in answer


def test_job_cannot_end_itself_or_forge_its_log(three: Three) -> None:
    for path in (f"jobs/{three.granted.job.id}/chunks?sequence=1", "connect", "disconnect"):
        assert "the agent's own, outside of the sandbox" in call(three.granted, path)


def test_headers_that_route_the_agents_requests_stay_outside(three: Three) -> None:
    assert "BUILDKITE_REQUEST_HEADER" not in printed(three.granted, "env")
    endpoint = variable(three.granted, "BUILDKITE_AGENT_ENDPOINT")
    assert endpoint.startswith("http://127.0.0.1:")
    everything = json.dumps(printed(three.granted, "cat /run/buildkite/job-env* /airlock/job-env*"))
    assert three.fleet.control.url not in everything
