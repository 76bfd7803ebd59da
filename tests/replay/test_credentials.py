"""A replay's session: the developer's own identity assumes it, marked as a replay's, or nobody."""

import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from bootstrap.aws import own_identity
from bootstrap.errors import AirlockError, WrongConfiguration
from bootstrap.log import JobLog
from bootstrap.replay.credentials import TAG, sessions
from bootstrap.replay.machine import Machine
from bootstrap.replay.model import ReplayInput
from bootstrap.replay.options import NoCredentials, OwnProfile
from bootstrap.replay.place import Places
from bootstrap.sandbox.network import netlink, routing
from tests.credentials.given import ROLE, claims
from tests.fakes.metadata import ACCESS_KEY_ID, Metadata
from tests.fakes.sts import StrictSts, Trust
from tests.replay.test_job import FOUND, recorded
from tests.sandbox.network.namespace import in_a_new_namespace

ADA, KEY = "arn:aws:iam::111122223333:user/ada", "AKIAADA"
OTHER = "arn:aws:iam::111122223333:role/other"
CONFIG = """
[profile ada]
region = eu-west-1
[profile machine]
role_arn = arn:aws:iam::111122223333:role/hub
credential_source = Ec2InstanceMetadata
"""
KEYS = f"[ada]\naws_access_key_id = {KEY}\naws_secret_access_key = of-ada\n"
LOG = JobLog(lambda _: None)


@pytest.fixture
def sts() -> Iterator[StrictSts]:
    roles = {ROLE: Trust(source_identity=False), OTHER: Trust(source_identity=False)}
    with StrictSts(roles=roles, callers={KEY: ADA}) as serving:
        yield serving


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text(CONFIG)
    (tmp_path / ".aws/credentials").write_text(KEYS)
    return tmp_path


def machine(home: Path, **env: str) -> Machine:
    places = Places(runtime=home, state=home)
    return Machine(
        places=places, agent=home, agent_version="3", region="us-east-1",
        env={"HOME": str(home), **env},
    )  # fmt: skip


def with_roles(*roles: str) -> ReplayInput:
    found = recorded({})
    assert found.run is not None
    events = tuple({"event": "session", "role": role} for role in roles)
    return replace(found, run=replace(found.run, events=events, decision={"rule": "deploy"}))


def test_profile_assumes_the_recorded_role_as_a_replay(sts: StrictSts, home: Path) -> None:
    here = machine(home, AWS_ENDPOINT_URL_STS=sts.url)
    asked = OwnProfile(profile="ada", role=None)
    with sessions(asked, with_roles(ROLE), claims(), here, LOG) as current:
        assert current is not None
        session = current.current()
        assert session is not None
        assert session.role == ROLE
    (request,) = sts.asked
    assert request.session_name.startswith("replay-storefront-42-")
    assert request.tags[TAG]
    assert request.tags["buildkite:rule"] == "deploy"
    assert request.source_identity is None
    assert sts.requests[0].key == KEY
    assert current.current() is None  # it ends with the replay


def test_other_role_is_assumed_and_variables_are_an_identity_too(
    sts: StrictSts, home: Path
) -> None:
    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": "of-ada"}
    here = machine(home, AWS_ENDPOINT_URL_STS=sts.url, **keys)
    asked = OwnProfile(profile=None, role=OTHER)
    with sessions(asked, FOUND, claims(), here, LOG):
        assert [one.role for one in sts.asked] == [OTHER]


def test_session_is_masked_in_what_the_replay_prints(sts: StrictSts, home: Path) -> None:
    here, printed = machine(home, AWS_ENDPOINT_URL_STS=sts.url), list[bytes]()
    log = JobLog(printed.append)
    asked = OwnProfile(profile="ada", role=None)
    with sessions(asked, with_roles(ROLE), claims(), here, log) as current:
        assert current is not None
        session = current.current()
        assert session is not None
        log.note(f"{session.secret_access_key.reveal()} {session.session_token.reveal()}")
    assert session.session_token.reveal().encode() not in b"".join(printed)
    assert session.secret_access_key.reveal().encode() not in b"".join(printed)


def test_without_being_asked_for_there_is_no_session(sts: StrictSts, home: Path) -> None:
    here = machine(home, AWS_ENDPOINT_URL_STS=sts.url)
    with sessions(NoCredentials(), with_roles(ROLE), claims(), here, LOG) as current:
        assert current is None
    assert sts.calls == []


@pytest.mark.parametrize("roles", [(), (ROLE, OTHER)])
def test_role_that_is_not_certain_has_to_be_named(home: Path, roles: tuple[str, ...]) -> None:
    asked = OwnProfile(profile="ada", role=None)
    with (
        pytest.raises(WrongConfiguration, match=f"names {len(roles)} roles, expected one"),
        sessions(asked, with_roles(*roles), claims(), machine(home), LOG),
    ):
        pass


def test_role_that_does_not_trust_the_developer_is_explained(sts: StrictSts, home: Path) -> None:
    here = machine(home, AWS_ENDPOINT_URL_STS=sts.url)
    asked = OwnProfile(profile="ada", role="arn:aws:iam::111122223333:role/unknown")
    with (
        pytest.raises(AirlockError, match="is not authorized to perform: sts:AssumeRole") as denied,
        sessions(asked, FOUND, claims(), here, LOG),
    ):
        pass
    assert TAG in denied.value.hint


@pytest.mark.parametrize(
    ("keys", "endpoint", "to_do"),
    [
        ({"AWS_ACCESS_KEY_ID": "AKIAOTHER", "AWS_SECRET_ACCESS_KEY": "x"}, None, "log in again"),
        ({}, "http://127.0.0.1:1", "Check that this machine reaches STS"),
    ],
)
def test_no_session_is_explained_to_a_developer(
    sts: StrictSts, home: Path, keys: dict[str, str], endpoint: str | None, to_do: str
) -> None:
    here = machine(home, AWS_ENDPOINT_URL_STS=endpoint or sts.url, **keys)
    asked = OwnProfile(profile=None if keys else "ada", role=OTHER)
    with (
        pytest.raises(AirlockError, match="STS issued no session for") as failed,
        sessions(asked, FOUND, claims(), here, LOG),
    ):
        pass
    assert to_do in failed.value.hint


def test_profile_that_does_not_exist_is_named(home: Path) -> None:
    with pytest.raises(WrongConfiguration, match="the profile 'none' has no credentials"):
        own_identity.credentials("none", {"HOME": str(home)})


def test_the_environment_is_as_it_was_afterwards(home: Path) -> None:
    before = dict(os.environ)
    found = own_identity.credentials("ada", {"HOME": str(home), "AWS_REGION": "eu-west-1"})
    assert found.access_key_id == KEY
    assert dict(os.environ) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")
@pytest.mark.parametrize("profile", [None, "machine"])
@pytest.mark.parametrize("more", [{}, {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1/"}])
def test_no_metadata_service_is_asked(
    home: Path, profile: str | None, more: Mapping[str, str]
) -> None:
    """In a namespace where both addresses are this test's own."""

    def work() -> tuple[str, int]:
        with netlink.connected(netlink.ROUTE) as kernel:
            loopback = routing.link(kernel, "lo").index
            routing.add_address(kernel, loopback, IPv4Address("169.254.169.254"))
        with (
            Metadata(socket.create_server(("169.254.169.254", 80))) as instance,
            Metadata(socket.create_server(("127.0.0.1", 80))) as container,
        ):
            try:
                found = own_identity.credentials(profile, {"HOME": str(home), **more})
            except WrongConfiguration as none:
                return none.problem, len(instance.calls) + len(container.calls)
            assert found.access_key_id == ACCESS_KEY_ID
            return "the machine's", len(instance.calls) + len(container.calls)

    problem, calls = in_a_new_namespace(work)
    assert "no credentials" in problem
    assert calls == 0
