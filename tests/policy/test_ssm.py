"""The SSM store against the strict fake and moto, and a fleet whose hosts all start at once."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from bootstrap.errors import CannotStart, WrongConfiguration
from bootstrap.host.cache import Cache
from bootstrap.host.config import Host, parse
from bootstrap.policy.model import Policy
from bootstrap.policy.stores.choose import guardrails_of, policy_for
from bootstrap.policy.stores.ssm import Ssm
from tests.credentials.given import write_credentials
from tests.fakes.simulator import loopback
from tests.fakes.ssm import TPS, Stored, StrictSsm, denial, failure
from tests.policy.given import HEAD

PREFIX = "/buildkite/pipelines"
HERE = f"{PREFIX}/storefront"
REPOSITORY = "git@github.com:acme/storefront.git"
LEAVES = {
    f"{HERE}/repository": Stored(value=REPOSITORY),
    f"{HERE}/branches": Stored(value="main,release/*", kind="StringList"),
}


def host(tmp_path: Path, url: str, **policy: str) -> Host:
    write_credentials(tmp_path / "credentials", "AKIAHOST")
    aws = {"credentials": f"file:{tmp_path}/credentials", "ssm-endpoint": url}
    document: dict[str, Any] = {
        "policy": {"store": f"ssm:{PREFIX}", **policy},
        "aws": aws,
        "sandbox": {"image": "job:1"},
        "paths": {"runtime": f"{tmp_path}/run"},
    }
    return parse(document, tmp_path)


@pytest.fixture
def ssm() -> Iterator[StrictSsm]:
    with StrictSsm(loopback(), LEAVES) as strict:
        yield strict


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address, port = server.get_host_and_port()
    yield f"http://{address}:{port}"
    server.stop()


def found(host: Host) -> Policy:
    policy = policy_for(host, "storefront")
    assert policy
    return policy


@pytest.mark.parametrize("which", ["strict", "moto"])
def test_separate_parameters_are_read_as_a_policy(
    which: str, ssm: StrictSsm, moto: str, tmp_path: Path
) -> None:
    url = {"strict": ssm.url, "moto": moto}[which]
    client = boto3.client("ssm", region_name="us-east-1", endpoint_url=url,
                          aws_access_key_id="x", aws_secret_access_key="x")  # fmt: skip
    for name, stored in LEAVES.items():
        client.put_parameter(Name=name, Value=stored.value, Type=stored.kind, Overwrite=True)
    policy = found(host(tmp_path, url))
    assert policy.repositories == (REPOSITORY,)
    assert policy.rules[0].when[0].patterns == ("main", "release/*")


@pytest.mark.parametrize("which", ["strict", "moto"])
def test_a_document_of_8_kilobytes_is_read(
    which: str, ssm: StrictSsm, moto: str, tmp_path: Path
) -> None:
    url = {"strict": ssm.url, "moto": moto}[which]
    text = HEAD + "  - {name: all, allow: {}}\n"
    text += "#" * (8192 - len(text))
    client = boto3.client("ssm", region_name="us-east-1", endpoint_url=url,
                          aws_access_key_id="x", aws_secret_access_key="x")  # fmt: skip
    name = f"{PREFIX}/warehouse/policy"
    client.put_parameter(Name=name, Value=text, Type="String", Tier="Advanced", Overwrite=True)
    policy = policy_for(host(tmp_path, url), "warehouse")
    assert policy
    assert policy.origin.startswith(f"ssm:{PREFIX}/warehouse (policy:")


def test_a_fresh_policy_is_not_requested_again(ssm: StrictSsm, tmp_path: Path) -> None:
    here = host(tmp_path, ssm.url)
    for _ in range(3):
        found(here)
    assert ssm.operations == ["GetParametersByPath"]


def test_a_pipeline_without_parameters_has_no_policy(ssm: StrictSsm, tmp_path: Path) -> None:
    assert policy_for(host(tmp_path, ssm.url), "warehouse") is None


def test_a_pipeline_does_not_get_its_neighbours_parameters(ssm: StrictSsm, tmp_path: Path) -> None:
    ssm.put(f"{PREFIX}/store/repository", REPOSITORY)
    ssm.put(f"{PREFIX}/storefront/nested/role-arn", "x")
    assert "role-arn" not in found(host(tmp_path, ssm.url)).origin
    assert policy_for(host(tmp_path, ssm.url), "stor") is None


def test_parameters_of_several_pages_are_all_read(ssm: StrictSsm, tmp_path: Path) -> None:
    for number in range(25):
        ssm.put(f"{HERE}/a-{number}", "not ours")
    assert found(host(tmp_path, ssm.url)).repositories == (REPOSITORY,)
    assert ssm.operations == ["GetParametersByPath"] * 3


def test_only_parameters_of_the_policy_are_decrypted(ssm: StrictSsm, tmp_path: Path) -> None:
    ssm.put(f"{HERE}/npm-token", "secret", kind="SecureString")
    found(host(tmp_path, ssm.url))
    assert ssm.operations == ["GetParametersByPath"]
    ssm.put(f"{HERE}/branches", "main", kind="SecureString")
    policy = found(host(tmp_path, ssm.url, cache="0s"))
    assert policy.rules[0].when[0].patterns == ("main",)
    asked = [call.json() for call in ssm.calls if "Names" in call.json()]
    assert [call["Names"] for call in asked] == [[f"{HERE}/branches"]]


def test_a_forbidden_key_names_kms_decrypt(ssm: StrictSsm, tmp_path: Path) -> None:
    ssm.put(f"{HERE}/branches", "main", kind="SecureString")
    ssm.may_decrypt = False
    with pytest.raises(CannotStart) as caught:
        found(host(tmp_path, ssm.url))
    assert "kms:Decrypt" in caught.value.hint


def test_a_missing_permission_prints_the_statement_to_add(ssm: StrictSsm, tmp_path: Path) -> None:
    ssm.fail("*", denial("ssm:GetParametersByPath", "*"), times=10)
    with pytest.raises(CannotStart) as caught:
        found(host(tmp_path, ssm.url))
    assert len(ssm.calls) == 1
    statement = json.loads(caught.value.details[0])
    assert statement["Resource"][0] == f"arn:aws:ssm:us-east-1:*:parameter{HERE}"
    assert "ssm:GetParametersByPath" in statement["Action"]


def test_put_without_permission_prints_the_statement_to_add(ssm: StrictSsm, tmp_path: Path) -> None:
    ssm.fail("*", denial("ssm:PutParameter", "*"), times=10)
    with pytest.raises(CannotStart, match="cannot be written") as caught:
        Ssm(host(tmp_path, ssm.url).aws).put(f"{HERE}/policy", "pipeline: storefront")
    assert json.loads(caught.value.details[0])["Action"] == ["ssm:PutParameter"]


def test_a_misspelt_parameter_is_wrong_configuration(ssm: StrictSsm, tmp_path: Path) -> None:
    ssm.put(f"{HERE}/branchs", "main")
    with pytest.raises(WrongConfiguration, match="1 mistake"):
        found(host(tmp_path, ssm.url))


def test_an_unreachable_store_is_an_error_that_names_serve_stale(
    ssm: StrictSsm, tmp_path: Path
) -> None:
    ssm.fail("*", failure("InternalServerError"), times=1000)
    here = host(tmp_path, ssm.url)
    with pytest.raises(CannotStart, match="cannot be read") as caught:
        policy_for(here, "storefront", ssm=Ssm(here.aws, patience=0))
    assert "policy.serve-stale" in caught.value.hint


def test_a_stale_policy_is_served_only_as_long_as_configured(tmp_path: Path) -> None:
    now = [1000.0]

    def away() -> Any:
        raise CannotStart("SSM is away", hint="wait")

    cache = Cache(tmp_path / "cache", fresh=30, stale=60, now=lambda: now[0])
    assert cache.get("key", lambda: ["first"]) == ["first"]
    now[0] = 1089
    assert cache.get("key", away) == ["first"]
    now[0] = 1091
    with pytest.raises(CannotStart, match="SSM is away"):
        cache.get("key", away)
    now[0] = 900  # a clock that was set back
    with pytest.raises(CannotStart, match="SSM is away"):
        cache.get("key", away)


def test_a_damaged_cache_entry_is_fetched_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path, fresh=30, stale=60)
    cache.get("key", lambda: 1)
    for path in tmp_path.iterdir():
        path.write_text("{")
    assert cache.get("key", lambda: 2) == 2


def test_concurrent_readers_cause_one_request(tmp_path: Path) -> None:
    asked: list[int] = []
    started = threading.Event()

    def slow() -> str:
        asked.append(1)
        started.wait(0.3)
        return "answer"

    def one(_: int) -> Any:
        return Cache(tmp_path / "cache", fresh=30, stale=0).get("key", slow)

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(one, range(16))) == {"answer"}
    assert asked == [1]


def test_three_hundred_throttled_hosts_all_get_their_policy(tmp_path: Path) -> None:
    """Every host has a cache of its own; the account's 40 calls a second are for all of them."""
    with StrictSsm(loopback(), LEAVES, tps=TPS) as ssm:
        shared = Ssm(host(tmp_path, ssm.url).aws)

        def one(number: int) -> bool:
            (tmp_path / str(number)).mkdir()
            mine = host(tmp_path / str(number), ssm.url)
            return policy_for(mine, "storefront", ssm=shared) is not None

        with ThreadPoolExecutor(300) as pool:
            assert all(pool.map(one, range(300)))
    assert ssm.throttled > 0


def test_guardrails_in_a_parameter_are_read_or_missing(ssm: StrictSsm, tmp_path: Path) -> None:
    here = host(tmp_path, ssm.url, guardrails="ssm:/buildkite/guardrails")
    with pytest.raises(WrongConfiguration, match="there are no guardrails"):
        guardrails_of(here)
    ssm.put("/buildkite/guardrails", "guardrails: acme\nforks: refuse\n")
    again = host(tmp_path, ssm.url, guardrails="ssm:/buildkite/guardrails", cache="0s")
    rails = guardrails_of(again)
    assert rails
    assert (rails.forks, rails.origin) == ("refuse", "ssm:/buildkite/guardrails:1")


def test_guardrails_in_a_file_are_read_or_missing(tmp_path: Path) -> None:
    path = tmp_path / "guardrails.yaml"
    here = host(tmp_path, "http://127.0.0.1:1", guardrails=f"file:{path}")
    with pytest.raises(WrongConfiguration, match="there are no guardrails"):
        guardrails_of(here)
    path.write_text("guardrails: acme\n")
    path.chmod(0o644)
    assert guardrails_of(here)
