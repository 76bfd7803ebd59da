"""An image's registry, the registries that get ECR's token, and the forms of logins."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.errors import WrongConfiguration
from bootstrap.images import ecr_arn, ecr_region, registry_of, repository_of
from bootstrap.logins import (
    Login,
    docker_config,
    ecr_login,
    login,
    shown,
)
from bootstrap.sandbox.images.pulling import PullProgress
from bootstrap.secret import Secret

ECR = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"


@pytest.mark.parametrize(
    ("image", "registry", "repository"),
    [
        ("debian", "docker.io", "debian"),
        ("debian:12", "docker.io", "debian"),
        ("library/debian:12", "docker.io", "library/debian"),
        ("localhost/x", "localhost", "localhost/x"),
        ("localhost:5000/x:1", "localhost:5000", "localhost:5000/x"),
        (f"{ECR}/ci/job:1@sha256:ab", ECR, f"{ECR}/ci/job"),
        ("registry.example.com/ci/job@sha256:ab", "registry.example.com",
         "registry.example.com/ci/job"),
    ],
)  # fmt: skip
def test_an_image_has_its_registry_and_repository(
    image: str, registry: str, repository: str
) -> None:
    assert (registry_of(image), repository_of(image)) == (registry, repository)


@pytest.mark.parametrize(
    ("registry", "region"),
    [
        (ECR, "eu-west-1"),
        ("111122223333.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("111122223333.dkr-ecr.us-east-1.on.aws", "us-east-1"),
        (f"{ECR}.evil.example", None),
        (f"evil-{ECR}", None),
        (f"{ECR}:5000", None),
        ("111122223333.dkr.ecr.eu-west-1.amazonaws.com\n", None),
        ("111122223333.dkr.ecr.eu.west.amazonaws.com", None),
        ("public.ecr.aws", None),
    ],
)
def test_only_registries_of_ecr_have_a_region(registry: str, region: str | None) -> None:
    assert ecr_region(registry) == region


def test_a_repository_of_ecr_has_an_arn() -> None:
    arn = "arn:aws:ecr:eu-west-1:111122223333:repository/ci/job"
    assert ecr_arn(f"{ECR}/ci/job:1@sha256:ab", "aws") == arn
    assert ecr_arn("registry.example.com/ci/job", "aws") is None


@pytest.mark.parametrize(
    "stored", ["ci:a b:c", '{"username": "ci", "password": "a b:c"}', " ci:a b:c\n"]
)
def test_a_stored_login_of_any_form_is_read(stored: str) -> None:
    found = login("r.example.com", Secret(stored))
    assert (found.username, found.password.reveal()) == ("ci", "a b:c")


@given(st.text() | st.from_regex(r"\{.*\}"))
def test_a_malformed_login_is_an_error_that_does_not_chain_its_cause(stored: str) -> None:
    try:
        found = login("r.example.com", Secret(stored))
    except WrongConfiguration as wrong:
        assert "registry r.example.com" in wrong.problem
        assert wrong.__cause__ is None
    else:
        assert found.username
        assert found.password.reveal()


def test_dockers_configuration_has_the_login_of_each_registry() -> None:
    token = base64.b64encode(b"AWS:p:w").decode()
    logins = {ECR: ecr_login(token), "docker.io": Login(username="u", password=Secret("w"))}
    assert json.loads(docker_config(logins)) == {
        "auths": {
            ECR: {"auth": token},
            "https://index.docker.io/v1/": {"auth": base64.b64encode(b"u:w").decode()},
        }
    }
    assert [form.reveal() for form in shown(logins[ECR])] == ["p:w", token]


def test_a_long_pull_reports_progress_every_five_seconds() -> None:
    pulling = PullProgress("r/x:1", 0.0)

    def received(now: float, status: str, layer: str = "", current: int = 0) -> str | None:
        detail = {"current": current, "total": 40_000_000}
        return pulling.received({"status": status, "id": layer, "progressDetail": detail}, now)

    assert received(0.1, "Pulling from x", "1") is None
    assert received(1, "Already exists", "a") is None
    assert received(2, "Pulling fs layer", "b") is None
    assert received(4.9, "Downloading", "b", 10_000_000) is None
    assert received(5.0, "Downloading", "b", 20_000_000) == (
        "pulling r/x:1: 1 of 2 layers, 20 of 40 MB"
    )
    assert received(9.9, "Pull complete", "b") is None
    assert received(10.0, "Digest: sha256:ab") == "pulling r/x:1: 2 of 2 layers, 20 of 40 MB"
    assert pulling.end(12.5) == "pulled r/x:1 in 12.5 s: sha256:ab"
