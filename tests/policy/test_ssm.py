"""The SSM store against the strict fake and moto, and a fleet whose hosts all start at once."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from bootstrap.errors import CannotStart, NoAnswer, WrongConfiguration
from bootstrap.host.config import Host, parse
from bootstrap.policy.model import Policy
from bootstrap.policy.stores.choose import documents, guardrails_now
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


def policy_for(host: Host, pipeline: str, **how: Any) -> Policy | None:
    return documents(host, pipeline, **how).policy


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
        Ssm(host(tmp_path, ssm.url).aws).put(
            f"{HERE}/policy", "pipeline: storefront", replaces=False
        )
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
        policy_for(here, "storefront", patience=0)
    assert "policy.serve-stale" in caught.value.hint


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
        documents(here, "storefront")
    ssm.put("/buildkite/guardrails", "guardrails: acme\nforks: refuse\n")
    again = host(tmp_path, ssm.url, guardrails="ssm:/buildkite/guardrails", cache="0s")
    rails = documents(again, "storefront").guardrails
    assert rails
    assert (rails.forks, rails.origin) == ("refuse", "ssm:/buildkite/guardrails:1")


def test_commands_read_guardrails_from_ssm_itself_and_cache_nothing(
    ssm: StrictSsm, tmp_path: Path
) -> None:
    """They run on laptops too, where there is no directory for a cache."""
    here = host(tmp_path, ssm.url, guardrails="ssm:/buildkite/guardrails")
    for version in (1, 2):
        ssm.put("/buildkite/guardrails", "guardrails: acme\n")
        rails = guardrails_now(here)
        assert rails
        assert rails.origin == f"ssm:/buildkite/guardrails:{version}"
    assert not here.paths.runtime.exists()


def test_guardrails_in_a_file_are_read_or_missing(tmp_path: Path) -> None:
    path = tmp_path / "guardrails.yaml"
    here = host(tmp_path, "http://127.0.0.1:1", guardrails=f"file:{path}")
    with pytest.raises(WrongConfiguration, match="there are no guardrails"):
        guardrails_now(here)
    path.write_text("guardrails: acme\n")
    path.chmod(0o644)
    assert guardrails_now(here)


def test_old_documents_are_used_with_their_age_while_ssm_does_not_answer(
    ssm: StrictSsm, tmp_path: Path
) -> None:
    settings = {"guardrails": "ssm:/buildkite/guardrails", "cache": "0s", "serve-stale": "1h"}
    here = host(tmp_path, ssm.url, **settings)
    ssm.put("/buildkite/guardrails", "guardrails: acme\n")
    assert documents(here, "storefront").ages == {}
    ssm.fail("*", failure("ThrottlingException"), times=1000)
    ssm.calls.clear()
    for _ in range(5):
        read = documents(here, "storefront")
        assert read.policy
        assert read.guardrails
        assert set(read.ages) == {"policy", "guardrails"}
    assert len(ssm.calls) == 2, "one try for each, by whoever comes first"


def test_an_old_policy_is_not_used_if_ssm_denies_the_new_one(
    ssm: StrictSsm, tmp_path: Path
) -> None:
    """A denial is an answer: it may be how an operator takes a host's access back."""
    here = host(tmp_path, ssm.url, **{"cache": "0s", "serve-stale": "1h"})
    found(here)
    ssm.fail("*", denial("ssm:GetParametersByPath", "*"), times=1000)
    for _ in range(2):
        with pytest.raises(CannotStart, match="not authorized"):
            found(here)
    assert len(ssm.calls) == 2, "the second one shares the first one's failure"


def test_policy_and_guardrails_share_one_patience(ssm: StrictSsm, tmp_path: Path) -> None:
    """Each page and each document with a patience of its own would add up to minutes."""
    for number in range(25):
        ssm.put(f"{HERE}/a-{number}", "not ours")
    here = host(tmp_path, ssm.url)
    now = [0.0]

    def throttled_for_a_while() -> float:
        return now[0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    store = Ssm(here.aws, clock=throttled_for_a_while, sleep=sleep)
    store.below(HERE, patience=30)
    ssm.fail("*", failure("ThrottlingException"), times=1000)
    with pytest.raises(NoAnswer):
        store.below(HERE, patience=30)
    assert now[0] <= 30
