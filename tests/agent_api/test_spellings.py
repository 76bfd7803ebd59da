"""Promise 4: no spelling of a request gets past what the rule of a job with a gateway lists."""

import gzip
import json
from collections.abc import Iterator
from operator import attrgetter

import pytest

from bootstrap.agent_api import serve
from bootstrap.agent_api.gateway import permit
from bootstrap.agent_api.model import AgentApiGrant
from tests.agent_api.served import PLACEHOLDER, Served, gateway
from tests.fakes.control_plane import JobOrder, job_env

MINE, OTHERS = "https://signer.example.com", "sts.amazonaws.com"
GRANT = AgentApiGrant(oidc_audiences=(MINE,), secrets=("MINE",), meta_data=True)
OTHER = "another"  # replaced by the id of another job


@pytest.fixture(scope="module")
def one() -> Iterator[Served]:
    with gateway(GRANT) as served:
        assert served.control
        served.control.secrets.update(MINE="mine", YOURS="yours")
        yield served


@pytest.fixture
def live(one: Served) -> Served:
    """One gateway for all, whose Buildkite has forgotten what it was asked before."""
    assert one.control
    one.control.calls.clear()
    one.control.issuer.signed.clear()
    return one


def raw(served: Served, line: str, *headers: str, body: bytes = b"") -> bytes:
    """Send a request as it is written, and return the answer."""
    given = ["Host: a", f"Authorization: Token {PLACEHOLDER}", "Connection: close",
             f"Content-Length: {len(body)}"]  # fmt: skip
    names = {header.partition(":")[0] for header in headers}
    lines = [line, *headers, *(one for one in given if one.partition(":")[0] not in names)]
    with served.dial() as client:
        client.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        received = b""
        while chunk := client.recv(65536):
            received += chunk
    return received


def ids(served: Served, text: str) -> str:
    assert served.control
    another = served.control.enqueue(JobOrder(env=job_env("true")))
    return text.replace("own", served.own.job).replace(OTHER, another.id)


PATHS = (
    "POST /jobs/another/data/keys", "POST //jobs/another/data/keys",
    "POST /jobs/own/../another/data/keys", "POST /jobs/own/%2e%2e/another/data/keys",
    "POST /jobs/own%2F..%2Fanother/data/keys", "POST /jobs/own%252F..%252Fanother/data/keys",
    "POST /jobs/own/..%5Canother/data/keys", "POST /jobs/%6fwn/../another/data/keys",
    "POST /JOBS/another/data/keys", "POST /jobs/another/data/keys/",
    "POST /jobs/another/data/keys;a", "POST /jobs/%c0%ae%c0%ae/another/data/keys",
    "POST /jobs/own/data/keys/../../../another/data/keys",
    "POST http://a/jobs/another/data/keys", "POST /jobs/own%00/../another/data/keys",
    "post /jobs/another/data/keys", "POST /jobs/own%0d%0aX:%20a/data/keys",
    "POST /jobs/own/data/keys%3fjob=another", "POST jobs/another/data/keys", "CONNECT a:80",
    "POST /jobs/{another}/data/keys", "POST /jobs/own%20/data/keys", "POST /jobs/own./data/keys",
    "POST /jobs/own/oidc%2Ftokens", "PUT /jobs/own/finish", "PUT /jobs/own/%66inish",
    "POST /jobs/own/pipelines", "POST /jobs/own/pipelines?async=true", "GET /jobs/own",
    "GET /jobs/own/secrets?key=YOURS", "GET /jobs/own/secrets?key=MINE&key=YOURS",
    "GET /jobs/own/secrets?key=MINE%00YOURS", "GET /jobs/own/secrets?key=mine",
    "GET /jobs/own/secrets?key[]=YOURS", "GET /jobs/own/secrets?key=MINE%2CYOURS",
    "GET /jobs/own/secrets?%6bey=YOURS", "GET /jobs/own/secrets/?key=YOURS",
    "GET /jobs/own/secrets;key=YOURS", "GET /jobs/own/secrets?key=MINE;key=YOURS",
)  # fmt: skip
HEADERS = (
    ("X-HTTP-Method-Override: PUT",), ("X-Method-Override: PUT",), ("Host: 169.254.169.254",),
    ("X-Original-URL: /jobs/another/data/keys", "X-Rewrite-URL: /jobs/another/data/keys"),
    ("X-Forwarded-Host: a", "Forwarded: host=a"), ("Authorization: Token other",),
    ("Authorization: Bearer placeholder-of-one-job",), ("Authorization : Token a",),
    ("Host: a", "Host: b"), (" Host: a",), ("Transfer-Encoding: chunked",), ("Host: a\nX: b",),
)  # fmt: skip
TOKENS = tuple(
    text.encode() if isinstance(text, str) else text
    for text in (
        f'{{"audience": "{MINE}", "audience": "{OTHERS}"}}',
        f'{{"audience": "{OTHERS}", "audience": "{MINE}"}}',
        f'{{"\\u0061udience": "{OTHERS}", "audience": "{MINE}"}}',
        f'{{"audience": ["{MINE}", "{OTHERS}"]}}', f'{{"audience": "{MINE},{OTHERS}"}}',
        f'{{"audience": "{MINE}", "Audience": "{OTHERS}"}}',
        f'{{"audience": "{MINE}", "audience[]": "{OTHERS}"}}',
        f'{{"audience": "{MINE}"}}{{"audience": "{OTHERS}"}}',
        f'{{"audience": "{MINE}"}}\0{{"audience": "{OTHERS}"}}',
        f'{{"audience": "{MINE}/"}}', f'{{"audience": "{MINE.upper()}"}}',
        f'{{"audience": "{MINE}\\u0000"}}', f'{{"audience": "{MINE} "}}', '{"audience": null}', "",
        f'{{"claims": [], "aud": "{OTHERS}", "audience": "{MINE}"}}', f'["{MINE}"]', '"a"',
        f'{{"audience": "{MINE}", "job_id": "another"}}',
        f"audience={OTHERS}", f"audience={MINE}&audience={OTHERS}",
        f'{{"audience": "{MINE}", "subject_claim": "build_branch"}}',
        gzip.compress(f'{{"audience": "{MINE}"}}'.encode()),
        f'\ufeff{{"audience": "{OTHERS}"}}', f'{{"audience": "{OTHERS}"}}'.encode("utf-16"),
    )
)  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_path_that_is_no_call_of_the_rule_reaches_nothing(
    live: Served, path: str, version: str
) -> None:
    assert live.control
    body = b'{"audience": "a"}' if path.startswith("POST") else b""
    answer = raw(live, ids(live, f"{path} HTTP/{version}"), body=body)
    assert answer.split(b" ")[1].startswith(b"4"), answer
    assert live.control.calls == []


@pytest.mark.parametrize("headers", HEADERS, ids=str)
def test_header_changes_neither_the_call_nor_who_makes_it(
    live: Served, headers: tuple[str, ...]
) -> None:
    assert live.control
    assert live.job
    own = f"/jobs/{live.own.job}/data/keys"
    raw(live, f"POST {own} HTTP/1.1", *(ids(live, header) for header in headers))
    for call in live.control.calls:
        assert (call.method, call.path) == ("POST", own)
        assert call.headers["authorization"] == f"Token {live.job.token}"
        assert call.headers["host"].startswith("127.0.0.1:")
        assert not {name for name in call.headers if name.startswith(("x-", "forwarded"))}


@pytest.mark.parametrize("body", TOKENS, ids=repr)
@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded"])
def test_no_spelling_gets_a_token_for_another_audience(
    live: Served, body: bytes, kind: str
) -> None:
    assert live.control
    for more in ("", f"?audience={OTHERS}"):
        path = f"POST /jobs/{live.own.job}/oidc/tokens{more} HTTP/1.1"
        answer = raw(live, path, f"Content-Type: {kind}", body=body)
        assert answer.split(b" ")[1] in {b"400", b"403"}
    assert live.control.issuer.signed == []


def test_attacks_succeed_where_the_gateway_does_not_judge(
    live: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others can fail: the control plane signs and answers whatever reaches it."""
    assert live.control
    unread = attrgetter("_unread")(permit)
    monkeypatch.setattr(attrgetter("_Gate")(serve), "_refuses", lambda *_: "")
    for judge in ("_oidc", "_secret"):
        monkeypatch.setattr(permit, judge, lambda call, _grant: unread(call))
    raw(live, ids(live, "POST /jobs/another/data/keys HTTP/1.1"))
    assert live.control.calls[-1].path != f"/jobs/{live.own.job}/data/keys"
    raw(live, f"POST /jobs/{live.own.job}/oidc/tokens HTTP/1.1", body=TOKENS[0])
    assert [asked for _, asked in live.control.issuer.signed] == [OTHERS]
    assert b"yours" in raw(live, f"GET /jobs/{live.own.job}/secrets?key=YOURS HTTP/1.1")


def test_what_may_be_asked_is_answered(live: Served) -> None:
    assert live.control
    path = f"/jobs/{live.own.job}"
    answer = raw(
        live, f"POST {path}/oidc/tokens HTTP/1.1", body=json.dumps({"audience": MINE}).encode()
    )
    assert answer.startswith(b"HTTP/1.1 200")
    assert [asked for _, asked in live.control.issuer.signed] == [MINE]
    assert b"mine" in raw(live, f"GET {path}/secrets?key=MINE HTTP/1.0")
