"""Tokens are accepted from this issuer, for Airlock, while valid; without a key no job runs."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from bootstrap.buildkite.agent_api import AgentApi
from bootstrap.buildkite.identity import verified
from bootstrap.errors import CannotStart, Refused
from bootstrap.host.config import Host, parse
from bootstrap.secret import Secret
from tests.fakes.simulator import Call, Reply, Simulator, json_reply, loopback, problem

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Issuer(Simulator):
    """Publishes one key."""

    kid = "one"

    def answer(self, call: Call) -> Reply:
        if call.path != "/.well-known/jwks":
            return problem(404, "no such document")
        public = json.loads(RSAAlgorithm.to_jwk(KEY.public_key()))
        return json_reply({"keys": [{**public, "kid": self.kid, "alg": "RS256", "use": "sig"}]})


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer(loopback()) as publishing:
        yield publishing


def host(tmp_path: Path, issuer: Simulator) -> Host:
    document: dict[str, Any] = {
        "policy": {"identity": "signed", "issuer": issuer.url},
        "sandbox": {"image": "job:1"},
        "paths": {"runtime": f"{tmp_path}/run"},
    }
    return parse(document, tmp_path)


def token(issuer: Simulator, *, key: Any = KEY, kid: str = "one", algorithm: str = "RS256",
          **claims: Any) -> Secret:  # fmt: skip
    now = int(time.time())
    standard = {"iss": issuer.url, "aud": "airlock", "iat": now, "exp": now + 300, "sub": "x"}
    signed = {name: value for name, value in {**standard, **claims}.items() if value is not None}
    return Secret(jwt.encode(signed, key, algorithm=algorithm, headers={"kid": kid}))


def test_a_valid_token_is_verified_with_cached_keys(issuer: Issuer, tmp_path: Path) -> None:
    here = host(tmp_path, issuer)
    assert (
        verified(token(issuer, pipeline_slug="storefront"), here)["pipeline_slug"] == "storefront"
    )
    verified(token(issuer), here)
    assert len(issuer.calls) == 1  # the keys are remembered


@pytest.mark.parametrize(
    "wrong",
    [
        {"iss": "https://evil.example"},
        {"aud": "sts.amazonaws.com"},
        {"aud": None},
        {"exp": 1},
        {"exp": None},
        {"iat": int(time.time()) + 3600},
        {"nbf": int(time.time()) + 3600},
        {"key": OTHER},
        {"key": "a-shared-secret-that-is-long-enough-for-hs256", "algorithm": "HS256"},
        {"key": None, "algorithm": "none"},
    ],
)
def test_invalid_tokens_are_refused(issuer: Issuer, tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="is not valid"):
        verified(token(issuer, **wrong), host(tmp_path, issuer))


@pytest.mark.parametrize("text", ["", "a.b.c", "not a token"])
def test_text_that_is_not_a_token_is_refused(issuer: Issuer, tmp_path: Path, text: str) -> None:
    with pytest.raises(Refused, match="is not valid"):
        verified(Secret(text), host(tmp_path, issuer))


def test_a_key_that_the_issuer_does_not_have_cannot_start_a_job(
    issuer: Issuer, tmp_path: Path
) -> None:
    with pytest.raises(CannotStart, match='has no key "two"'):
        verified(token(issuer, kid="two"), host(tmp_path, issuer))


def test_a_new_key_is_fetched_at_once(issuer: Issuer, tmp_path: Path) -> None:
    here = host(tmp_path, issuer)
    verified(token(issuer), here)
    issuer.kid = "two"
    assert verified(token(issuer, kid="two"), here)


def test_an_issuer_without_a_reply_cannot_start_a_job(
    issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bootstrap.buildkite.http.PATIENCE", 0)
    issuer.fail("*", problem(500, "away"), times=100)
    with pytest.raises(CannotStart, match="did not answer"):
        verified(token(issuer), host(tmp_path, issuer))


def test_a_token_is_requested_on_behalf_of_the_job(issuer: Issuer) -> None:
    agent = {
        "BUILDKITE_AGENT_ENDPOINT": f"{issuer.url}/v3/",
        "BUILDKITE_REQUEST_HEADER_BUILDKITE_HOST_GROUP": "7",
    }
    issuer.fail("*", problem(429, "slow down"))
    issuer.fail("*", json_reply({"token": "a.b.c"}))
    api = AgentApi("a.b", agent, Secret("bkaj_secret"))
    assert api.oidc_token("airlock", ("queue_key",)).reveal() == "a.b.c"
    call = issuer.calls[-1]
    assert call.path == "/v3/jobs/a%2Eb/oidc/tokens"
    assert call.headers["authorization"] == "Token bkaj_secret"
    assert call.headers["buildkite-host-group"] == "7"
    assert call.json() == {"audience": "airlock", "claims": ["queue_key"]}


@pytest.mark.parametrize("status", [301, 302, 401, 403, 404])
def test_a_refusal_or_redirect_is_final(issuer: Issuer, status: int) -> None:
    headers = {"Location": f"{issuer.url}/elsewhere"}
    issuer.fail("*", Reply(status=status, headers=headers), times=5)
    api = AgentApi("j", {"BUILDKITE_AGENT_ENDPOINT": issuer.url}, Secret("t"))
    with pytest.raises(CannotStart, match="Buildkite did not sign a token"):
        api.oidc_token("airlock", ())
    assert len(issuer.calls) == 1


@pytest.mark.parametrize("endpoint", ["", "file:///etc/passwd", "ftp://x", "not a url"])
def test_an_endpoint_that_is_not_http_is_an_error(endpoint: str) -> None:
    api = AgentApi("j", {"BUILDKITE_AGENT_ENDPOINT": endpoint}, Secret("t"))
    with pytest.raises(CannotStart, match="Buildkite did not annotate the build"):
        api.annotate("x", context="c")
