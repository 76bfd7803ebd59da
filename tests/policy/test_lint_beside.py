"""What lint reports of image builds and service containers."""

import pytest

from bootstrap.policy.decide import decide
from bootstrap.policy.model import Admitted
from bootstrap.policy.parse import parse_guardrails
from tests.policy.given import claims, policy
from tests.policy.test_lint import found


def lint(when: str, allow: str) -> set[str]:
    rules = f"  - {{name: only, when: {when}, allow: {{{allow}}}}}\n"
    return {"fork-reaches-builds", "secret-in-service"} & set(found(rules))


def test_lint_reports_builds_of_forks() -> None:
    assert lint("{pull-request: any}", "builds: buildkit") == {"fork-reaches-builds"}
    assert not lint("{pull-request: same-repository}", "builds: buildkit")
    assert not lint("{branch: main}", "builds: buildkit")
    assert not lint("{pull-request: any}", "")


@pytest.mark.parametrize(
    ("forks", "admitted"), [("refuse", False), ("nothing", False), ("anything", True)]
)
def test_lint_names_the_guardrail_under_which_forks_can_build(
    forks: str, *, admitted: bool
) -> None:
    document = "  - {name: only, when: {pull-request: any}, allow: {builds: buildkit}}\n"
    finding = found(document, f"forks: {forks}")["fork-reaches-builds"]
    rails = parse_guardrails(f"guardrails: acme\nforks: {forks}", "g")
    fork = {"BUILDKITE_PULL_REQUEST": "1", "BUILDKITE_PULL_REQUEST_REPO": "git://evil/x.git"}
    decision = decide(claims(**fork), policy(document), rails)
    assert isinstance(decision, Admitted) is admitted
    assert (f"`forks: {forks}`" in finding.fix) is admitted


@pytest.mark.parametrize(
    ("variable", "value", "reported"),
    [
        ("POSTGRES_PASSWORD", "test", False),
        ("POSTGRES_PASSWORD", "wJalrXUtnFEMIK7MDENG", True),
        ("POSTGRES_PASSWORD", "0123456789abcde", False),
        ("POSTGRES_PASSWORD", "0123456789abcdef", True),
        ("NPM_TOKEN", "npm_0123456789abcdef", True),
        ("PGDATA", "/var/lib/postgresql/data", False),
    ],
)
def test_lint_reports_secrets_of_services(variable: str, value: str, *, reported: bool) -> None:
    service = f"services: {{db: {{image: 'postgres:15', env: {{{variable}: '{value}'}}}}}}"
    assert lint("{branch: main}", service) == ({"secret-in-service"} if reported else set())
