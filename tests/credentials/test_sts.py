"""AssumeRole against the strict fake and against moto over HTTP, and everything that goes wrong."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from bootstrap.aws.client import connect
from bootstrap.aws.sts import Sts
from bootstrap.errors import AirlockError, CannotStart, WrongConfiguration
from bootstrap.host.config import Aws
from bootstrap.secret import Secret
from tests.credentials.given import JOB_ID, ROLE, host, request
from tests.fakes.metadata import ACCESS_KEY_ID, Metadata
from tests.fakes.simulator import Reply, loopback
from tests.fakes.sts import StrictSts, Trust, error_reply

NO_TAGS = "arn:aws:iam::111122223333:role/no-tags"
HUB = "arn:aws:iam::111122223333:role/hub"
SHORT = "arn:aws:iam::111122223333:role/one-hour"


@pytest.fixture
def sts() -> Iterator[StrictSts]:
    roles = {ROLE: Trust(), NO_TAGS: Trust(tag_session=False), SHORT: Trust(max_seconds=3600)}
    with StrictSts(loopback(), roles) as strict:
        yield strict


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address, port = server.get_host_and_port()
    yield f"http://{address}:{port}"
    server.stop()


class Clock:
    """Time passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def client(aws: Aws, **how: Any) -> Sts:
    return Sts(aws, token=lambda: Secret("a-token-of-buildkite"), **how)


def impatient(aws: Aws, clock: Clock | None = None) -> Sts:
    clock = clock or Clock()
    return client(aws, clock=clock, sleep=clock.sleep)


def failure(aws: Aws, **of_request: object) -> AirlockError:
    with pytest.raises(AirlockError) as caught:
        impatient(aws).assume(request(**of_request))  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize("which", ["strict", "moto"])
def test_a_session_is_what_was_asked_for(
    which: str, sts: StrictSts, moto: str, tmp_path: Path
) -> None:
    url = {"strict": sts.url, "moto": moto}[which]
    session = client(host(tmp_path, url)).assume(request())
    assert session.access_key_id.startswith("ASIA")
    assert session.secret_access_key.reveal()
    assert session.session_token.reveal()
    assert session.role == ROLE
    assert session.assumed_role == (
        "arn:aws:sts::111122223333:assumed-role/storefront-deploy/storefront-42-x"
    )
    left = session.expires - datetime.now(UTC)
    assert timedelta(minutes=58) < left < timedelta(minutes=62)


def test_everything_of_the_plan_reaches_sts(sts: StrictSts, tmp_path: Path) -> None:
    client(host(tmp_path, sts.url)).assume(request())
    (asked,) = sts.asked
    assert asked.source_identity == JOB_ID
    assert asked.tags == {"buildkite:pipeline": "storefront"}
    assert asked.duration == 3600


def test_a_smaller_session_is_asked_for_as_planned(sts: StrictSts, tmp_path: Path) -> None:
    partner = "arn:aws:iam::111122223333:role/partner"
    sts.roles[partner] = Trust(external_id="partner-7", source_identity=False)
    smaller = replace(
        request(role=partner),
        source_identity=None,
        transitive_tags=("buildkite:pipeline",),
        external_id="partner-7",
        policy='{"Version": "2012-10-17", "Statement": []}',
        policy_arns=("arn:aws:iam::aws:policy/ReadOnlyAccess",),
    )
    assert client(host(tmp_path, sts.url)).assume(smaller).access_key_id
    (asked,) = sts.asked
    assert asked.transitive == {"buildkite:pipeline"}
    assert (asked.external_id, asked.source_identity) == ("partner-7", None)
    assert asked.policy == smaller.policy
    assert asked.policy_arns == smaller.policy_arns


@pytest.mark.parametrize(
    "reply",
    [
        error_reply("Throttling", status=400),
        error_reply("InternalFailure", status=500),
        Reply(status=503, body=b"", kind="text/plain"),
        Reply(status=200, body=b"<not xml", kind="text/xml"),
        error_reply("TooManyRequestsException", status=429),
    ],
)
def test_what_passes_is_tried_again(sts: StrictSts, tmp_path: Path, reply: Reply) -> None:
    sts.fail("POST /", reply, times=3)
    assert impatient(host(tmp_path, sts.url)).assume(request()).access_key_id
    assert len(sts.calls) == 4


def test_patience_ends(sts: StrictSts, tmp_path: Path) -> None:
    sts.fail("POST /", error_reply("Throttling"), times=1000)
    clock = Clock()
    with pytest.raises(CannotStart, match="Throttling"):
        impatient(host(tmp_path, sts.url), clock).assume(request())
    assert clock.now <= 20
    assert len(sts.calls) > 3


def test_nobody_listens(tmp_path: Path) -> None:
    with loopback() as taken:
        port = taken.getsockname()[1]
    found = failure(host(tmp_path, f"http://127.0.0.1:{port}"))
    assert found.exit_code == 125
    assert f"http://127.0.0.1:{port}" in found.hint


def test_a_denial_is_final_and_prints_both_statements(sts: StrictSts, tmp_path: Path) -> None:
    found = failure(host(tmp_path, sts.url), role=NO_TAGS)
    assert found.exit_code == 125
    assert len(sts.calls) == 1
    assert "sts:TagSession" in found.hint
    for detail in found.details:
        statement = json.loads(detail.split(": ", 1)[1])
        assert set(statement["Action"]) == {
            "sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity",
        }  # fmt: skip


def test_an_unknown_role_is_a_denial(sts: StrictSts, tmp_path: Path) -> None:
    found = failure(host(tmp_path, sts.url), role="arn:aws:iam::111122223333:role/absent")
    assert "not authorized" in found.problem


def test_longer_than_the_role_allows_is_the_policys_mistake(tmp_path: Path) -> None:
    """The host's role in a file is no chaining only for a user's key; so the caller is one."""
    caller = {"AKIAUSER": "arn:aws:iam::111122223333:user/ci"}
    with StrictSts(loopback(), {SHORT: Trust(max_seconds=3600)}, callers=caller) as sts:
        found = failure(host(tmp_path, sts.url, key="AKIAUSER"), role=SHORT, hours=2)
    assert isinstance(found, WrongConfiguration)
    assert "allow.session.duration" in found.hint


def test_role_chaining_gets_its_hour(sts: StrictSts, tmp_path: Path) -> None:
    session = client(host(tmp_path, sts.url)).assume(request(hours=8))
    assert session.duration == timedelta(hours=1)
    assert [asked.duration for asked in sts.asked] == [8 * 3600, 3600]


def test_expired_host_credentials_are_fetched_anew(sts: StrictSts, tmp_path: Path) -> None:
    sts.fail("POST /", error_reply("ExpiredToken", "The security token has expired"))
    assert client(host(tmp_path, sts.url)).assume(request()).access_key_id


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "got none from file:"),
        ("", "got none from file:"),
        ("[other]\naws_access_key_id=A\naws_secret_access_key=B\n", "got none from file:"),
        ("[default]\naws_access_key_id=A\n", "no usable credentials"),
        ("not an ini file", "no usable credentials"),
    ],
)
def test_a_credentials_file_that_holds_none(
    sts: StrictSts, tmp_path: Path, content: str | None, says: str
) -> None:
    aws = host(tmp_path, sts.url)
    path = tmp_path / "host-credentials"
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    found = failure(aws)
    assert says in found.problem
    assert "airlock.toml" in found.hint or "[default]" in found.hint
    assert sts.calls == []


def test_the_instance_role_is_found_without_any_variable(
    sts: StrictSts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the environment says of AWS, proxies or certificates is not even looked at."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIAFORGED",
        "AWS_SECRET_ACCESS_KEY": "forged",
        "AWS_PROFILE": "absent",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1",
        "AWS_CA_BUNDLE": "/absent",
        "HTTP_PROXY": "http://127.0.0.1:1",
        "http_proxy": "http://127.0.0.1:1",
        "AWS_DATA_PATH": "/absent",
    }.items():
        monkeypatch.setenv(name, value)
    aws = Aws.model_validate({"sts-endpoint": sts.url})
    with Metadata(loopback()) as metadata:
        session = client(aws, metadata=f"{metadata.url}/").assume(request())
    assert session.access_key_id.startswith("ASIA")


def test_a_metadata_service_that_comes_late(sts: StrictSts) -> None:
    aws = Aws.model_validate({"sts-endpoint": sts.url})
    with Metadata(loopback()) as metadata:
        metadata.fail("PUT *", Reply(status=503), times=2)
        metadata.fail("GET *", Reply(status=503), times=2)
        session = client(aws, metadata=f"{metadata.url}/", sleep=lambda _: None).assume(request())
    assert session.access_key_id


def test_no_secret_is_in_what_a_failure_says(sts: StrictSts, tmp_path: Path) -> None:
    found = failure(host(tmp_path, sts.url), role=NO_TAGS)
    text = " ".join((found.problem, found.hint, *found.details))
    assert "host-secret" not in text


@pytest.mark.parametrize(
    ("region", "endpoint"),
    [
        ("us-east-1", "https://sts.us-east-1.amazonaws.com"),
        ("eu-central-1", "https://sts.eu-central-1.amazonaws.com"),
        ("us-gov-west-1", "https://sts.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "https://sts.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_every_partition_is_asked_in_its_own_region(
    tmp_path: Path, region: str, endpoint: str
) -> None:
    aws = host(tmp_path, None).model_copy(update={"region": region})
    assert connect("sts", aws).meta.endpoint_url == endpoint


def test_the_second_hop_is_made_with_the_session_of_the_first(
    sts: StrictSts, tmp_path: Path
) -> None:
    sts.roles[HUB] = Trust()
    hop = replace(request(role=HUB), duration=timedelta(minutes=15))
    session = client(host(tmp_path, sts.url)).assume(replace(request(), via=hop))
    first, second = sts.requests
    assert (first.parameters["RoleArn"], first.key) == (HUB, ACCESS_KEY_ID)
    assert sts.issued[second.key or ""].arn.startswith(
        "arn:aws:sts::111122223333:assumed-role/hub/"
    )
    assert (session.role, sts.asked[1].source_identity) == (ROLE, JOB_ID)


def test_a_second_hop_gets_an_hour_at_most(sts: StrictSts, tmp_path: Path) -> None:
    sts.roles[HUB] = Trust()
    long = replace(request(hours=4), via=replace(request(role=HUB), duration=timedelta(minutes=15)))
    assert client(host(tmp_path, sts.url)).assume(long).duration == timedelta(hours=1)


@pytest.mark.parametrize("missing", [HUB, ROLE])
def test_a_refused_hop_names_who_may_not_assume_what(
    sts: StrictSts, tmp_path: Path, missing: str
) -> None:
    sts.roles[HUB] = Trust()
    del sts.roles[missing]
    caller = {HUB: "fleet-instance-role", ROLE: "hub"}[missing]
    asked = replace(request(), via=replace(request(role=HUB), duration=timedelta(minutes=15)))
    with pytest.raises(CannotStart) as caught:
        impatient(host(tmp_path, sts.url)).assume(asked)
    policy, trust = caught.value.details
    assert policy.startswith(f"policy of arn:aws:iam::111122223333:role/{caller}: ")
    assert trust.startswith(f"trust policy of {missing}: ")


BY_TOKEN = replace(
    request(), subject="organization:acme:pipeline:storefront:*", tags={}, source_identity=None
)


@pytest.mark.parametrize("which", ["strict", "moto"])
def test_a_token_of_buildkite_needs_no_credentials_of_the_host(
    which: str, sts: StrictSts, moto: str, tmp_path: Path
) -> None:
    sts.roles[ROLE] = Trust(web_identity=True)
    aws = host(tmp_path, {"strict": sts.url, "moto": moto}[which])
    (tmp_path / "host-credentials").unlink()
    session = client(aws).assume(BY_TOKEN)
    assert session.assumed_role.endswith("assumed-role/storefront-deploy/storefront-42-x")
    if which == "strict":
        (asked,) = sts.requests
        assert (asked.action, asked.key) == ("AssumeRoleWithWebIdentity", None)
        assert asked.parameters["WebIdentityToken"] == "a-token-of-buildkite"


def test_a_token_that_the_role_does_not_trust(sts: StrictSts, tmp_path: Path) -> None:
    with pytest.raises(CannotStart) as caught:
        impatient(host(tmp_path, sts.url)).assume(BY_TOKEN)
    (statement,) = map(json.loads, caught.value.details)
    assert statement["Principal"]["Federated"] == (
        "arn:aws:iam::111122223333:oidc-provider/agent.buildkite.com"
    )
    assert statement["Condition"]["StringLike"] == {
        "agent.buildkite.com:sub": ["organization:acme:pipeline:storefront:*"]
    }


def test_buildkites_own_refusal_is_told_as_it_is(sts: StrictSts, tmp_path: Path) -> None:
    def refused() -> Secret:
        raise CannotStart("Buildkite did not sign a token: HTTP 403", hint="…")

    with pytest.raises(CannotStart, match="did not sign a token"):
        Sts(host(tmp_path, sts.url), token=refused).assume(BY_TOKEN)
    assert sts.requests == []
