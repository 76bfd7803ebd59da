"""The gateway towards a Buildkite with TLS: verified, directly and through a proxy."""

import socket
import ssl
from pathlib import Path

import pytest

from bootstrap.host import proxy as proxies
from tests.agent_api.served import gateway
from tests.fakes.git import self_signed
from tests.fakes.proxy import Proxy
from tests.fakes.simulator import loopback

BUILDKITE = "agent.buildkite.example"
AUTHORIZATION = "Basic dTpwQHE="  # u:p@q


@pytest.fixture
def listening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[socket.socket, tuple[str, int]]:
    """A listener with a certificate that is trusted, for BUILDKITE and for no other name."""
    certificate = self_signed(tmp_path, BUILDKITE)
    monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = loopback()
    address = listener.getsockname()
    return context.wrap_socket(listener, server_side=True), address


def test_the_proxy_tunnels_and_gets_nothing_of_the_job(
    listening: tuple[socket.socket, tuple[str, int]],
) -> None:
    opened, address = listening
    with Proxy({f"{BUILDKITE}:443": address}, authorization=AUTHORIZATION) as proxy:
        through = proxies.proxy(f"http://u:p%40q@{proxy.address}")
        endpoint = f"https://{BUILDKITE}/v3"
        with gateway(buildkite=opened, endpoint=endpoint, proxy_for=lambda _url: through) as live:
            status, _ = live.job_call("POST", "data/keys")
            assert live.control
            assert live.job
            (call,) = live.control.calls
            assert (status, call.path) == (404, f"/v3/jobs/{live.own.job}/data/keys")
            assert "proxy-authorization" not in call.headers
            assert proxy.targets == [f"CONNECT {BUILDKITE}:443"]
            assert live.job.token not in repr(proxy.asked)


def test_a_proxy_that_refuses_is_an_unreachable_buildkite() -> None:
    with Proxy({}) as proxy:
        through = proxies.proxy(f"http://{proxy.address}")
        endpoint = f"https://{BUILDKITE}"
        with gateway(endpoint=endpoint, proxy_for=lambda _url: through) as live:
            assert live.job_call("POST", "data/keys")[0] == 502


def test_a_server_of_another_name_gets_no_token(
    listening: tuple[socket.socket, tuple[str, int]],
) -> None:
    opened, (_, port) = listening
    with gateway(buildkite=opened, endpoint=f"https://localhost:{port}") as live:
        status, answer = live.job_call("POST", "data/keys")
        assert status == 502
        assert answer["message"].endswith("SSLCertVerificationError")
        assert live.control
        assert live.control.calls == []


def test_a_certificate_that_nobody_signed_gets_no_token(
    listening: tuple[socket.socket, tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, address = listening
    monkeypatch.delenv("SSL_CERT_FILE")
    with Proxy({f"{BUILDKITE}:443": address}) as proxy:
        through = proxies.proxy(f"http://{proxy.address}")
        endpoint = f"https://{BUILDKITE}"
        with gateway(buildkite=opened, endpoint=endpoint, proxy_for=lambda _url: through) as live:
            assert live.job_call("POST", "data/keys")[0] == 502
            assert live.control
            assert live.control.calls == []
