"""The gateway's edge: what reaches Buildkite, with which headers, and what comes back."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from bootstrap.agent_api.model import AgentApiGrant, RefusedCall
from tests.agent_api.served import AUDIENCE, EVERYTHING, PLACEHOLDER, Served, gateway
from tests.fakes.control_plane import JobOrder, job_env
from tests.fakes.simulator import Call


@pytest.fixture
def live() -> Iterator[Served]:
    with gateway() as served:
        yield served


def last(served: Served) -> Call:
    assert served.control
    return served.control.calls[-1]


def test_the_real_token_replaces_the_placeholder(live: Served) -> None:
    live.job_call("POST", "data/keys")
    assert live.job
    assert last(live).headers["authorization"] == f"Token {live.job.token}"
    assert PLACEHOLDER not in str(last(live))


def test_the_token_of_one_job_is_worthless_to_another(live: Served) -> None:
    with gateway() as other:
        assert live.control
        assert other.job
        assert live.job_call("POST", "data/keys", token=other.job.token)[0] == 401
        assert other.call("POST", f"/jobs/{live.own.job}/data/keys")[0] == 403
        direct = Served(port=int(live.control.url.rpartition(":")[2]), own=live.own, env={})
        assert direct.job_call("POST", "data/keys")[0] == 401


def test_oidc_is_open_without_the_gateway_and_shut_with_it() -> None:
    asked = {"audience": "any.example.com"}
    with gateway(AgentApiGrant(oidc_audiences=(AUDIENCE,))) as live:
        assert live.control
        assert live.job
        port = int(live.control.url.rpartition(":")[2])
        direct = Served(port=port, own=live.own, env={}, token=live.job.token)
        assert direct.job_call("POST", "oidc/tokens", asked)[0] == 200
        status, answer = live.job_call("POST", "oidc/tokens", asked)
        assert status == 403
        assert "'any.example.com'" in answer["message"]
        assert AUDIENCE in answer["message"]
        assert live.job_call("POST", "oidc/tokens", {"audience": AUDIENCE})[0] == 200
    (refused,) = live.refused
    assert refused == RefusedCall(
        method="POST", path=f"/jobs/{live.own.job}/oidc/tokens", why=answer["message"][9:]
    )


def test_headers_are_the_agents_and_the_hosts_own() -> None:
    host = {"BUILDKITE_REQUEST_HEADER_BUILDKITE_CELL": "7", "BUILDKITE_REQUEST_HEADER_HOST": "evil"}
    sent = {
        "User-Agent": "buildkite-agent/3", "Buildkite-Timeout-Milliseconds": "900",
        "X-Buildkite-Backoff-Sequence": "2", "Buildkite-Cell": "8", "Cookie": "a=b",
        "X-HTTP-Method-Override": "DELETE", "X-Forwarded-For": "1.2.3.4",
        "Content-Type": "application/x-www-form-urlencoded",
    }  # fmt: skip
    with gateway(headers=host) as live:
        live.job_call("POST", "data/exists", {"key": "a"}, headers=sent)
        headers = dict(last(live).headers)
    assert headers.pop("host").startswith("127.0.0.1:")
    assert headers.pop("authorization")
    assert headers == {
        "user-agent": "buildkite-agent/3", "buildkite-timeout-milliseconds": "900",
        "x-buildkite-backoff-sequence": "2", "buildkite-cell": "7",
        "accept-encoding": "identity", "connection": "close",
        "content-type": "application/json", "content-length": "12",
    }  # fmt: skip


def test_unknown_parameters_do_not_reach_buildkite(live: Served) -> None:
    live.job_call("POST", "oidc/tokens?audience=evil&async=true", {"audience": AUDIENCE})
    assert last(live).query == {}
    live.job_call("GET", "secrets?key=CONTRACT&job_id=other")
    assert last(live).query == {"key": "CONTRACT"}


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "file:///etc/passwd", "nonsense"])
def test_an_unreachable_buildkite_makes_the_agent_try_again(endpoint: str) -> None:
    with gateway(endpoint=endpoint) as live:
        status, answer = live.job_call("POST", "data/keys")
        assert status == 502
        assert "was not reached" in answer["message"]


def test_a_path_below_the_endpoints_own_is_kept(live: Served) -> None:
    assert live.control
    with gateway(endpoint=f"{live.control.url}/v3/") as below:
        below.job_call("POST", "data/keys")
    assert last(live).path == f"/v3/jobs/{below.own.job}/data/keys"


def test_big_bodies_pass_and_slow_ones_delay_nobody(live: Served) -> None:
    change = {"uuid": "u", "pipeline": {"steps": ["x" * 1000] * 7000}}
    started = time.monotonic()
    assert live.job_call("POST", "pipelines", change)[0] == 200
    assert live.job
    assert live.job.pipelines[0] == change
    assert live.job_call("POST", "data/keys")[0] == 200
    assert time.monotonic() - started < 10


def test_what_was_sent_is_counted_by_what_the_rule_names(live: Served) -> None:
    for _ in range(2):
        live.job_call("POST", "oidc/tokens", {"audience": AUDIENCE})
    live.job_call("POST", "oidc/tokens", {"audience": "other"})
    live.job_call("GET", "secrets?key=CONTRACT")
    live.job_call("POST", "annotations", {"body": "b"})
    assert live.gateway
    assert live.gateway.usage() == {
        f"request an OIDC token: {AUDIENCE}": 2,
        "read a secret: CONTRACT": 1,
        "annotate the build": 1,
    }


def test_other_builds_are_read_only_if_the_rule_says_so() -> None:
    with gateway(replace(EVERYTHING, other_builds=True)) as live:
        assert live.control
        other = live.control.enqueue(JobOrder(env=job_env("true")))
        live.call("POST", f"/builds/{other.build}/data/keys")
        assert last(live).path == f"/builds/{other.build}/data/keys"
        live.call("GET", f"/builds/{other.build}/artifacts/search?query=a")
        assert last(live).path == f"/builds/{other.build}/artifacts/search"
        count = len(live.control.calls)
        assert live.call("POST", f"/builds/{other.build}/cancel")[0] == 403
        assert live.call("POST", f"/jobs/{other.id}/data/keys")[0] == 403
        assert len(live.control.calls) == count


def test_job_updates_no_artifact_of_another_one(live: Served) -> None:
    """Its own ones are in the contract. Buildkite may not compare the id with the path's job."""
    assert live.control
    with gateway() as other:
        batch = {"id": "b", "artifacts": [{"path": "a", "file_size": 1}]}
        _, made = other.job_call("POST", "artifacts", batch)
        (foreign,) = made["artifact_ids"]
    _, own = live.job_call("POST", "artifacts", batch)
    count = len(live.control.calls)
    every: list[list[Any]] = [
        [foreign], [*own["artifact_ids"], foreign], [None], [[foreign]], [{}],
    ]  # fmt: skip
    for ids in every:
        states = {"artifacts": [{"id": one, "state": "error"} for one in ids]}
        assert live.job_call("PUT", "artifacts", states)[0] == 403
    for body in (b'{"artifacts": []', b"[]", b'{"artifacts": {}}', b'{"artifacts": [1]}', b"{}"):
        assert live.job_call("PUT", "artifacts", body=body)[0] == 400
    assert len(live.control.calls) == count
    states = {"artifacts": [{"id": one, "state": "finished"} for one in own["artifact_ids"]]}
    assert live.job_call("PUT", "artifacts", states)[0] == 200
    assert last(live).body == json.dumps(states).encode()
