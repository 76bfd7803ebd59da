"""A job on Buildkite is read by its URL, with the developer's token, which goes nowhere else."""

from collections.abc import Iterator

import pytest

from bootstrap.buildkite import rest_api
from bootstrap.buildkite.http import json_of
from bootstrap.errors import AirlockError, CannotStart, WrongConfiguration
from bootstrap.replay.model import Kind
from tests.fakes.control_plane import ControlPlane
from tests.fakes.control_plane.rest_api import API_TOKEN
from tests.fakes.simulator import Reply, problem
from tests.job.given import JOB_ID, job_env
from tests.replay.test_read import ENV, read


@pytest.fixture
def plane() -> Iterator[ControlPlane]:
    with ControlPlane() as control:
        control.enqueue({**ENV, "BUILDKITE_LABEL": "Deploy"})
        yield control


def url_of(plane: ControlPlane, job: str = JOB_ID) -> str:
    return f"{plane.url}/acme/storefront/builds/42#{job}"


TOKEN = {"BUILDKITE_API_TOKEN": API_TOKEN}


def test_a_job_is_read_by_its_url(plane: ControlPlane) -> None:
    found = read(url_of(plane), TOKEN, api_url=plane.url)
    assert found.kind is Kind.URL
    assert found.env == {**ENV, "BUILDKITE_LABEL": "Deploy"}
    assert found.source == f"job {JOB_ID} of build 42 of acme/storefront"
    (call,) = plane.calls
    assert call.path == (f"/v2/organizations/acme/pipelines/storefront/builds/42/jobs/{JOB_ID}/env")


def test_a_build_with_one_job_needs_no_more(plane: ControlPlane) -> None:
    plane.jobs[JOB_ID].finish = {"exit_status": "3"}
    found = read(url_of(plane, ""), TOKEN, api_url=plane.url)
    assert found.env["BUILDKITE_JOB_ID"] == JOB_ID
    assert found.ended is not None
    assert found.ended.code == 3


def test_a_build_with_several_jobs_names_them(plane: ControlPlane) -> None:
    other = {**job_env(BUILDKITE_JOB_ID=JOB_ID.replace("0193", "0194")), "BUILDKITE_STEP_ID":
             "0190e0a0-0000-4000-8000-0000000000a1"}  # fmt: skip
    plane.enqueue(other)
    with pytest.raises(WrongConfiguration, match="does not say which job: its build has 2") as why:
        read(url_of(plane, ""), TOKEN, api_url=plane.url)
    assert (
        f"{plane.url}/acme/storefront/builds/42#{JOB_ID}  Deploy (scheduled)" in why.value.details
    )
    step = f"{plane.url}/acme/storefront/builds/42/canvas?sid={other['BUILDKITE_STEP_ID']}"
    assert read(step, TOKEN, api_url=plane.url).env == other


def test_each_refusal_says_what_to_do(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    url = url_of(plane)
    for env, hint in (({}, "is not set"), ({"BUILDKITE_API_TOKEN": "x\ny"}, "white space"),
                      ({"BUILDKITE_API_TOKEN": "bkua_wrong"}, "does not accept")):  # fmt: skip
        with pytest.raises(WrongConfiguration, match=f"BUILDKITE_API_TOKEN|{hint}") as raised:
            read(url, env, api_url=plane.url)
        assert hint in raised.value.problem
        assert "read_job_env" in raised.value.hint or "quotes" in raised.value.hint
    plane.api_tokens["bkua_less"] = frozenset({"read_builds"})
    with pytest.raises(WrongConfiguration, match="required scope: read_job_env"):
        read(url, {"BUILDKITE_API_TOKEN": "bkua_less"}, api_url=plane.url)
    with pytest.raises(WrongConfiguration, match="knows no environment of job"):
        read(url_of(plane, JOB_ID.replace("0193", "0199")), TOKEN, api_url=plane.url)
    monkeypatch.setattr("bootstrap.buildkite.http.PATIENCE", 0)
    plane.fail("*", problem(503, "away"), times=9)
    with pytest.raises(CannotStart, match=r"did not return the environment.*503"):
        read(url, TOKEN, api_url=plane.url)


def test_a_failure_that_passes_is_tried_again(plane: ControlPlane) -> None:
    plane.fail("*", problem(429, "slower"))
    assert read(url_of(plane), TOKEN, api_url=plane.url).env["CI"] == "true"
    assert len(plane.calls) == 2


@pytest.mark.parametrize(
    "answer", [b"[]", b"{}", b'{"env": []}', b'{"env": {"A": 1}}', b"no JSON", b'{"a":' * 99_999]
)
def test_an_answer_that_is_no_environment_is_an_error(plane: ControlPlane, answer: bytes) -> None:
    plane.fail("*", Reply(body=answer))
    with pytest.raises(AirlockError, match=r"returned no environment|did not return"):
        read(url_of(plane), TOKEN, api_url=plane.url)


def test_the_token_goes_nowhere_else(plane: ControlPlane) -> None:
    with pytest.raises(WrongConfiguration, match=r"is not a URL of buildkite\.com"):
        read(f"{plane.url}/acme/storefront/builds/42#{JOB_ID}", TOKEN)
    with ControlPlane() as elsewhere:
        plane.fail("*", Reply(status=302, headers={"Location": elsewhere.url}))
        with pytest.raises(AirlockError, match="HTTP 302"):
            read(url_of(plane), TOKEN, api_url=plane.url)
        assert elsewhere.calls == []
    for wrong in ("http://api.example.com", "ftp://127.0.0.1", "https://a@b", "https://", "x",
                  "https://[", "https://a.example/?x", "https://a.example:99999"):  # fmt: skip
        with pytest.raises(WrongConfiguration, match="the API's URL is"):
            rest_api.checked_base(wrong)
    with pytest.raises(WrongConfiguration, match="HTTPS_PROXY is not usable"):
        read(url_of(plane), {**TOKEN, "HTTPS_PROXY": "socks5://x:1"}, api_url=plane.url)


def test_an_answer_is_read_up_to_a_bound(plane: ControlPlane) -> None:
    plane.fail("*", Reply(body=b'"' + b"x" * 1000 + b'"'), times=2)
    assert json_of(plane.url, at_most=1002) == "x" * 1000
    with pytest.raises(ValueError, match="more than 1001 bytes"):
        json_of(plane.url, at_most=1001)
