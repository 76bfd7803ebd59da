"""Airlock's own calls through a proxy, which tests/fakes/proxy.py records; all on the loopback."""

import base64
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import botocore.httpsession
import pytest

from bootstrap.aws.client import connect
from bootstrap.buildkite import identity
from bootstrap.buildkite.agent_api import AgentApi, document
from bootstrap.errors import CannotStart, WrongConfiguration
from bootstrap.host.config import Aws, Host, parse
from bootstrap.host.proxy import is_direct
from bootstrap.secret import Secret
from tests.aws.given import client, impatient
from tests.credentials.given import ROLE, request, write_credentials
from tests.fakes.git import self_signed
from tests.fakes.metadata import ACCESS_KEY_ID, Metadata
from tests.fakes.proxy import Proxy
from tests.fakes.simulator import json_reply, loopback
from tests.fakes.sts import StrictSts, Trust
from tests.job.test_identity import Issuer, token

STS = "sts.us-east-1.amazonaws.com"
BUILDKITE = "agent.buildkite.example"
PASSWORD = "p%40ss-word"  # decoded: p@ss-word
AUTHORIZATION = "Basic " + base64.b64encode(b"airlock:p@ss-word").decode()


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A certificate for the real names, trusted by botocore and by Python's ssl."""
    path = self_signed(tmp_path, STS, BUILDKITE)
    monkeypatch.setattr(botocore.httpsession, "where", lambda: f"{path}.crt")
    monkeypatch.setenv("SSL_CERT_FILE", f"{path}.crt")
    return path


def tls(certificate: Path) -> tuple[socket.socket, tuple[str, int]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = loopback()
    address = listener.getsockname()
    return context.wrap_socket(listener, server_side=True), address


@pytest.fixture
def sts(certificate: Path) -> Iterator[tuple[StrictSts, Proxy]]:
    listener, address = tls(certificate)
    with (
        StrictSts(listener, {ROLE: Trust()}) as strict,
        Proxy({f"{STS}:443": address}, authorization=AUTHORIZATION) as proxy,
    ):
        yield strict, proxy


def aws(proxy: Proxy, **settings: object) -> Aws:
    url = f"http://airlock:{PASSWORD}@{proxy.address}"
    return Aws.model_validate({"https-proxy": url, **settings})


def from_file(tmp_path: Path) -> dict[str, object]:
    write_credentials(tmp_path / "keys", ACCESS_KEY_ID)
    return {"credentials": f"file:{tmp_path}/keys"}


def test_aws_is_called_through_the_proxy_and_verified_end_to_end(
    sts: tuple[StrictSts, Proxy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict, proxy = sts
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "*")
    session = client(aws(proxy, **from_file(tmp_path))).assume(request())
    assert session.access_key_id.startswith("ASIA")
    assert proxy.targets == [f"CONNECT {STS}:443"]
    assert len(strict.calls) == 1
    monkeypatch.undo()  # the certificate is not trusted any more
    with pytest.raises(CannotStart, match="CERTIFICATE_VERIFY_FAILED"):
        impatient(aws(proxy, **from_file(tmp_path))).assume(request())
    assert len(strict.calls) == 1


def test_the_metadata_service_is_asked_directly(sts: tuple[StrictSts, Proxy]) -> None:
    _, proxy = sts
    with Metadata(loopback()) as metadata:
        assert client(aws(proxy), metadata=f"{metadata.url}/").assume(request()).access_key_id
        assert metadata.calls
    assert proxy.targets == [f"CONNECT {STS}:443"]


def test_endpoints_of_the_configuration_are_reached_directly(tmp_path: Path) -> None:
    with Proxy({}) as proxy, StrictSts(loopback(), {ROLE: Trust()}) as strict:
        own = aws(proxy, **{"sts-endpoint": strict.url}, **from_file(tmp_path))
        assert client(own).assume(request()).access_key_id
        assert proxy.asked == []


@pytest.mark.parametrize(
    ("exceptions", "proxied"),
    [([], True), (["amazonaws.com.cn"], True), ([".amazonaws.com"], False), ([STS], False)],
)
def test_exceptions_are_reached_directly(exceptions: list[str], *, proxied: bool) -> None:
    with Proxy({}) as proxy:
        made = connect("sts", aws(proxy, **{"no-proxy": exceptions}))
        assert bool(made.meta.config.proxies) is proxied


@pytest.fixture
def buildkite(certificate: Path) -> Iterator[tuple[Issuer, Proxy]]:
    listener, address = tls(certificate)
    with Issuer(listener) as issuer, Proxy({f"{BUILDKITE}:443": address}) as proxy:
        issuer.url = f"https://{BUILDKITE}"
        yield issuer, proxy


def test_buildkites_api_and_keys_are_reached_through_the_proxy(
    buildkite: tuple[Issuer, Proxy], tmp_path: Path
) -> None:
    issuer, proxy = buildkite
    here = host(tmp_path, f"http://{proxy.address}", issuer.url)
    assert identity.verified(token(issuer), here)["sub"]
    issuer.fail("POST *", json_reply({"token": "signed"}))
    endpoint = {"BUILDKITE_AGENT_ENDPOINT": f"{issuer.url}/v3"}
    api = AgentApi("j", endpoint, Secret("bkaj_x"), proxy_for=here.aws.proxy_for)
    assert api.oidc_token("airlock", ()).reveal() == "signed"
    assert proxy.targets == [f"CONNECT {BUILDKITE}:443"] * 2
    assert "bkaj_x" not in repr(proxy.asked)
    assert all("proxy-authorization" not in call.headers for call in issuer.calls)


def host(tmp_path: Path, proxy: str, issuer: str) -> Host:
    document = {
        "policy": {"issuer": issuer},
        "aws": {"https-proxy": proxy},
        "sandbox": {"image": "x"},
        "paths": {"runtime": f"{tmp_path}/run"},
    }
    return parse(document, tmp_path)


def test_a_proxy_that_refuses_is_named_without_its_password(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bootstrap.buildkite.http.PATIENCE", 0)
    with Proxy({}, authorization="Basic another") as proxy:
        settings = aws(proxy, **from_file(tmp_path))
        with pytest.raises(CannotStart, match="407") as api:
            document(f"https://{BUILDKITE}/keys", proxy_for=settings.proxy_for)
        with pytest.raises(CannotStart) as sts:
            impatient(settings).assume(request())
        assert {asked.authorization for asked in proxy.asked} == {AUTHORIZATION}
        for caught in (api.value, sts.value):
            shown = " ".join((caught.problem, caught.hint, *caught.details))
            assert proxy.address in shown
            assert "ss-word" not in shown
        assert "ss-word" not in repr(settings) + str(settings)


@pytest.mark.parametrize(
    "url",
    [
        "https://proxy:3128", "proxy:3128", "http://proxy", "socks5://proxy:1080",
        "http://user:se/cret@proxy:3128", "http//user:se cret@proxy:3128", "user:secret@proxy", 7,
    ],
)  # fmt: skip
def test_another_url_is_refused_and_not_shown(tmp_path: Path, url: object) -> None:
    with pytest.raises(WrongConfiguration) as wrong:
        parse({"sandbox": {"image": "x"}, "aws": {"https-proxy": url}}, tmp_path)
    (detail,) = wrong.value.details
    assert detail.startswith('aws.https-proxy: expected "http://host:port"')
    assert "se" not in detail.partition("got")[2].replace("text", "")


def test_the_password_is_masked_in_both_spellings(tmp_path: Path) -> None:
    here = host(tmp_path, f"http://airlock:{PASSWORD}@proxy:3128", "https://agent.buildkite.com")
    assert [secret.reveal() for secret in here.secrets] == [PASSWORD, "p@ss-word"]


@pytest.mark.parametrize(
    ("url", "exceptions", "direct"),
    [
        ("https://ssm.eu-central-1.amazonaws.com/", [], False),
        ("http://localhost:80/", [], True),
        ("https://10.1.2.3:8443/", ["10.0.0.0/8"], True),
        ("https://10.1.2.3/", ["10.1.2.4"], False),
        ("https://api.INTERNAL/", [".internal"], True),
        ("https://internal/", [".internal"], True),
        ("https://notinternal/", ["internal"], False),
        ("https://internal.evil.example/", ["internal"], False),
        ("https://[fd00::1]/", ["fd00::/8"], True),
        ("https://[fd00::1]/", ["10.0.0.0/8", "internal"], False),
    ],
)
def test_what_is_reached_directly(url: str, exceptions: list[str], *, direct: bool) -> None:
    assert is_direct(url, exceptions) is direct


@pytest.mark.parametrize("exception", ["*", "https://x", "10.0.0.0/33", "", "a b", "x:80"])
def test_another_exception_is_refused(tmp_path: Path, exception: str) -> None:
    with pytest.raises(WrongConfiguration, match="1 mistake"):
        parse({"sandbox": {"image": "x"}, "aws": {"no-proxy": [exception]}}, tmp_path)
