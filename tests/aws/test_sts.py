"""AssumeRole against the strict fake and against moto over HTTP, where it succeeds."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bootstrap.errors import CannotStart
from tests.aws.given import HUB, Clock, by_token, client, impatient
from tests.credentials.given import JOB_ID, ROLE, host, request
from tests.fakes.metadata import ACCESS_KEY_ID
from tests.fakes.simulator import Reply
from tests.fakes.sts import StrictSts, Trust, error_reply


@pytest.mark.parametrize("which", ["strict", "moto"])
def test_assume_returns_the_requested_session(
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


def test_assume_sends_source_identity_tags_and_duration(sts: StrictSts, tmp_path: Path) -> None:
    client(host(tmp_path, sts.url)).assume(request())
    (asked,) = sts.asked
    assert asked.source_identity == JOB_ID
    assert asked.tags == {"buildkite:pipeline": "storefront"}
    assert asked.duration == 3600


def test_assume_sends_policies_external_id_and_transitive_tags(
    sts: StrictSts, tmp_path: Path
) -> None:
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


def test_chained_role_for_longer_than_an_hour_gets_an_hour(sts: StrictSts, tmp_path: Path) -> None:
    session = client(host(tmp_path, sts.url)).assume(request(hours=8))
    assert session.duration == timedelta(hours=1)
    assert [asked.duration for asked in sts.asked] == [8 * 3600, 3600]


def test_expired_host_credentials_are_fetched_anew(sts: StrictSts, tmp_path: Path) -> None:
    sts.fail("POST /", error_reply("ExpiredToken", "The security token has expired"))
    assert client(host(tmp_path, sts.url)).assume(request()).access_key_id


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
def test_assume_after_transient_failures_is_retried(
    sts: StrictSts, tmp_path: Path, reply: Reply
) -> None:
    sts.fail("POST /", reply, times=3)
    assert impatient(host(tmp_path, sts.url)).assume(request()).access_key_id
    assert len(sts.calls) == 4


def test_assume_under_lasting_throttling_gives_up_within_its_patience(
    sts: StrictSts, tmp_path: Path
) -> None:
    sts.fail("POST /", error_reply("Throttling"), times=1000)
    clock = Clock()
    with pytest.raises(CannotStart, match="Throttling"):
        impatient(host(tmp_path, sts.url), clock).assume(request())
    assert clock.now <= 20
    assert len(sts.calls) > 3


def test_second_hop_is_made_with_the_session_of_the_first(sts: StrictSts, tmp_path: Path) -> None:
    sts.roles[HUB] = Trust()
    hop = replace(request(role=HUB), duration=timedelta(minutes=15))
    session = client(host(tmp_path, sts.url)).assume(replace(request(), via=hop))
    first, second = sts.requests
    assert (first.parameters["RoleArn"], first.key) == (HUB, ACCESS_KEY_ID)
    assert sts.issued[second.key or ""].arn.startswith(
        "arn:aws:sts::111122223333:assumed-role/hub/"
    )
    assert (session.role, sts.asked[1].source_identity) == (ROLE, JOB_ID)


def test_second_hop_gets_an_hour_at_most(sts: StrictSts, tmp_path: Path) -> None:
    sts.roles[HUB] = Trust()
    long = replace(request(hours=4), via=replace(request(role=HUB), duration=timedelta(minutes=15)))
    assert client(host(tmp_path, sts.url)).assume(long).duration == timedelta(hours=1)


@pytest.mark.parametrize("which", ["strict", "moto"])
def test_web_identity_needs_no_credentials_of_the_host(
    which: str, sts: StrictSts, moto: str, tmp_path: Path
) -> None:
    sts.roles[ROLE] = Trust(web_identity=True)
    aws = host(tmp_path, {"strict": sts.url, "moto": moto}[which])
    (tmp_path / "host-credentials").unlink()
    session = client(aws).assume(by_token())
    assert session.assumed_role.endswith("assumed-role/storefront-deploy/storefront-42-x")
    if which == "strict":
        (asked,) = sts.requests
        assert (asked.action, asked.key) == ("AssumeRoleWithWebIdentity", None)
        assert asked.parameters["WebIdentityToken"] == "a-token-of-buildkite"
