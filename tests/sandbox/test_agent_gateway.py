"""A job's gateway: opened in the network namespace of its container, and reported at the end."""

import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from bootstrap.agent_api.gateway.use import Use
from bootstrap.agent_api.model import AgentApiGrant
from bootstrap.errors import CannotStart
from bootstrap.host import proxy as proxies
from bootstrap.host.proxy import ProxyFor, no_proxy
from bootstrap.job.assemble import assemble
from bootstrap.job.model import Job
from bootstrap.log import JobLog
from bootstrap.record import Record
from bootstrap.sandbox.agent_gateway import Inside, opened_gateway, report_use
from bootstrap.sandbox.model import Running
from bootstrap.sandbox.network.namespaces import in_network_of
from tests.fakes.proxy import Proxy
from tests.job.given import TOKEN, job_env, process_env

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")


@pytest.fixture
def container() -> Iterator[int]:
    """A process with a network of its own."""
    script = "ip link set lo up; echo ready; exec sleep 60"
    command = ["unshare", "--net", "sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
        process.kill()


def job() -> Job:
    return assemble(job_env(), process_env())


@contextmanager
def opened(
    pid: int,
    uses: list[Use],
    grant: AgentApiGrant,
    of: Job | None = None,
    proxy_for: ProxyFor = no_proxy,
) -> Iterator[Inside]:
    running = Running(id="", name="", pid=pid, address="198.18.240.2", gateway="198.18.240.1")
    with opened_gateway(
        of or job(), grant, running, proxy_for=proxy_for, used=uses.append
    ) as inside:  # fmt: skip
        yield inside


def called(inside: Inside, path: str, token: str, method: str = "GET") -> tuple[int, Any]:
    host, _, port = inside.endpoint.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=5)
    with closing(connection):
        connection.request(method, path, headers={"Authorization": f"Token {token}"})
        with connection.getresponse() as response:
            return response.status, json.load(response)


def test_it_answers_in_the_containers_network_alone(container: int) -> None:
    uses: list[Use] = []
    with opened(container, uses, AgentApiGrant()) as inside:
        assert inside.probe.passed, inside.probe
        token = inside.token.reveal()
        status, answer = in_network_of(container, lambda: called(inside, "/ping", token))
        assert (status, answer["message"]) == (
            403, "Airlock: this call is the agent's own, outside of the sandbox",
        )  # fmt: skip
        assert in_network_of(container, lambda: called(inside, "/ping", TOKEN))[0] == 401
        with pytest.raises(ConnectionRefusedError):
            called(inside, "/ping", token)
    (use,) = uses
    assert [one.path for one in use.refused] == ["/ping", "/ping"]
    assert use.calls == {}, "the probe sends nothing to Buildkite"
    with pytest.raises(ConnectionRefusedError):
        in_network_of(container, lambda: called(inside, "/ping", token))


def test_each_has_a_token_of_its_own(container: int) -> None:
    with (
        opened(container, [], AgentApiGrant()) as one,
        opened(container, [], AgentApiGrant()) as other,
    ):
        assert one.token.reveal() != other.token.reveal()
        assert one.endpoint != other.endpoint
        assert TOKEN not in {one.token.reveal(), other.token.reveal()}


def test_one_that_cannot_be_opened_is_status_125() -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    with (
        pytest.raises(CannotStart, match="the job's gateway to the agent API cannot be opened"),
        opened(ended.pid, [], AgentApiGrant()),
    ):
        raise AssertionError("it was opened")


def test_a_call_without_an_answer_does_not_delay_the_end(container: int) -> None:
    """After a cancellation the agent kills Airlock 1.5 s after the job."""
    with socket.create_server(("127.0.0.1", 0)) as buildkite:
        env = {"BUILDKITE_AGENT_ENDPOINT": f"http://127.0.0.1:{buildkite.getsockname()[1]}"}
        of = assemble(job_env(), {**process_env(), **env})
        path = f"/jobs/{of.claims.job_id}/data/keys"
        with ExitStack() as held:
            inside = held.enter_context(opened(container, [], AgentApiGrant(meta_data=True), of))
            client = held.enter_context(in_network_of(container, socket.socket))
            client.connect(("127.0.0.1", int(inside.endpoint.rpartition(":")[2])))
            client.sendall(
                f"POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Token "
                f"{inside.token.reveal()}\r\nContent-Length: 2\r\n\r\n{{}}".encode()
            )
            sent, _ = buildkite.accept()
            with sent:
                assert sent.recv(1 << 16).startswith(f"POST {path}".encode())
                began = time.monotonic()
                held.close()
                assert time.monotonic() - began < 1


def test_it_reaches_buildkite_by_the_hosts_proxy(container: int) -> None:
    of = assemble(job_env(), {**process_env(), "BUILDKITE_AGENT_ENDPOINT": "http://bk.invalid/v3"})
    path = f"/jobs/{of.claims.job_id}/oidc/tokens"
    grant = AgentApiGrant(meta_data=True)
    with Proxy({}) as proxy:
        through = proxies.proxy(f"http://{proxy.address}")
        with opened(container, [], grant, of, proxy_for=lambda _url: through) as inside:
            token = inside.token.reveal()
            in_network_of(container, lambda: called(inside, path, token, "POST"))
            assert proxy.targets == [], "what the rule does not allow is not sent"
            keys = path.replace("oidc/tokens", "data/keys")
            status, _ = in_network_of(container, lambda: called(inside, keys, token, "POST"))
    assert status == 502
    assert proxy.targets == ["CONNECT bk.invalid:80"]


def test_its_use_is_recorded_and_never_raises(tmp_path: Path) -> None:
    lines: list[bytes] = []
    record = Record(tmp_path / "records.jsonl", "now")
    use = Use(tokens={"a": 1}, secrets={}, calls={}, refused=())
    report_use(JobLog(lines.append), record, "tests", use)
    (event,) = map(json.loads, (tmp_path / "records.jsonl").read_text().splitlines())
    assert event["tokens"] == {"a": 1}
    assert event["refusals"] == 0
    assert lines == []
