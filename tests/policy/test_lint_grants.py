"""Findings about what a rule grants: STS's limits, and secrets that change what runs."""

import pytest

from bootstrap.credentials.plan import plans
from bootstrap.errors import WrongConfiguration
from bootstrap.policy.catalogue import Catalogue
from bootstrap.policy.findings import Severity
from bootstrap.policy.lint import lint
from tests.policy.fleet import document
from tests.policy.given import claims, policy
from tests.policy.samples import OTHER
from tests.policy.test_lint import ROLE, found


def granting(text: str) -> str:
    return f"  - {{name: a, when: {{branch: main}}, allow: {{{text}}}}}\n"


MANY = ", ".join(f"t{number}: x" for number in range(45))
LONG = f"'{'x' * 129}': y"


@pytest.mark.parametrize(
    ("tags", "problem"),
    [
        ("aws:x: y", "STS does not accept the session tag key 'aws:x'"),
        ("'a#b': y", "STS does not accept the session tag key 'a#b'"),
        (LONG, "STS does not accept the session tag key"),
        (f"a: '{'x' * 257}'", "STS does not accept the value of the session tag 'a'"),
        ("a: 'x;y'", "STS does not accept the value of the session tag 'a'"),
        ("a: b, A: c", "repeat each other"),
        ("'Buildkite:Branch': b", "or Airlock's own"),
        (MANY, "expected at most 43, because Airlock adds 7"),
    ],
)
def test_a_session_tag_that_sts_refuses_is_an_error(tags: str, problem: str) -> None:
    """By the same limits by which a job of the rule ends."""
    rules = granting(f"role: '{ROLE}', session: {{tags: {{{tags}}}}}")
    finding = found(rules)["session-tag"]
    assert finding.severity is Severity.ERROR
    assert problem in finding.text
    with pytest.raises(WrongConfiguration) as refused:
        plans(claims(), policy(rules).rules[0].allow, rule="a")
    assert refused.value.problem.partition("session: ")[2] in finding.text


VIA = f"role: '{ROLE}', session: {{via: '{OTHER}', duration: {{}}}}"


@pytest.mark.parametrize(
    ("allow", "severity"),
    [
        (f"role: '{ROLE}', session: {{via: '{OTHER}', duration: 61m}}", "error"),
        (f"role: '{ROLE}', delivery: env, session: {{duration: 2h}}", "warning"),
    ],
)
def test_a_session_that_role_chaining_shortens_is_found(allow: str, severity: str) -> None:
    finding = found(granting(allow))["session-longer-than-an-hour"]
    assert finding.severity == severity
    assert "an hour at most" in finding.text


def test_a_session_that_may_not_be_packed_is_found() -> None:
    policy_text = '{"Statement": [' + '"' + "x" * 1800 + '"]}'
    allow = f"role: '{ROLE}', session: {{policy: '{policy_text}'}}"
    assert found(granting(allow)).keys() == {"session-near-packed-limit"}


@pytest.mark.parametrize(
    "name",
    ["LD_PRELOAD", "LD_LIBRARY_PATH", "PATH", "BASH_ENV", "ENV", "IFS", "HOME", "PYTHONPATH",
     "NODE_OPTIONS", "GIT_SSH_COMMAND", "GCONV_PATH", "PERL5OPT", "RUBYOPT", "CDPATH",
     "JAVA_TOOL_OPTIONS", "BUILDKITE_SHELL", "BUILDKITE_HOOKS_PATH",
     "GIT_ASKPASS", "SSH_AUTH_SOCK", "GIT_CONFIG_KEY_0", "PYTHONUSERBASE", "NPM_CONFIG_USERCONFIG",
     "GOAUTH"],
)  # fmt: skip
def test_a_secret_in_a_variable_that_changes_what_runs_is_an_error(name: str) -> None:
    finding = found(granting(f"secrets: {{{name}: 'ssm:/ci/a'}}"))["secret-changes-what-runs"]
    assert finding.severity is Severity.ERROR
    assert f"puts a secret into {name}: " in finding.text


def test_a_secret_that_sdks_prefer_to_the_role_is_found() -> None:
    secrets = "secrets: {AWS_ACCESS_KEY_ID: 'ssm:/ci/a'}"
    assert found(granting(f"role: '{ROLE}', {secrets}")).keys() == {"secret-hides-role"}
    assert found(granting(secrets)) == {}


@pytest.mark.parametrize(
    "allow",
    [
        f"role: '{ROLE}', session: {{tags: {{team: Ünï, 'a:b': 'x/y+z=1'}}, duration: 12h}}",
        f"role: '{ROLE}', session: {{via: '{OTHER}', duration: 1h}}",
        f"role: '{ROLE}', delivery: env, session: {{identity: buildkite, duration: 2h}}",
        "session: {tags: {'a#b': x}}",
        "secrets: {NPM_TOKEN: 'ssm:/a', CARGO_REGISTRY_TOKEN: 'ssm:/b', TWINE_PASSWORD: 'ssm:/c'}",
        "secrets: {BUILDKITE_S3_ACCESS_KEY_ID: 'ssm:/a', NPM_TOKEN_2: 'ssm:/b', X_USER: 'ssm:/c'}",
        "secrets: {GITHUB_TOKEN: 'ssm:/a', DATABASE_URL: 'ssm:/b', BUILDKITE_API_TOKEN: 'ssm:/c'}",
    ],
)
def test_a_grant_within_the_limits_has_no_finding(allow: str) -> None:
    assert found(granting(allow)) == {}


HUB = "arn:aws:iam::111122223333:role/hub"


@pytest.mark.parametrize("allow", [f"role: '{HUB}'", f"role: '{ROLE}', roles: {{a: '{HUB}'}}"])
def test_a_job_that_gets_a_role_which_assumes_others_is_found(allow: str) -> None:
    """Its session could assume the role of another pipeline's job, with that pipeline's tags."""
    hop = document("shop", granting(f"role: '{ROLE}', session: {{via: '{HUB}'}}"))
    docs = document("docs", granting(allow))
    (finding,) = lint(Catalogue(policies=(hop, docs), guardrails=None))
    assert (finding.id, finding.severity) == ("role-assumes-others", Severity.ERROR)
    assert (finding.origin, finding.line) == ("docs.yaml", 4)
    assert f"gives jobs {HUB}, by way of which rules assume other roles (session.via)" in (
        finding.text
    )
    assert lint(Catalogue(policies=(docs,), guardrails=None)) == ()


@pytest.mark.parametrize("role", [HUB, HUB.replace("hub", "HUB")])
def test_no_comment_of_the_team_answers_for_a_role_that_assumes_others(role: str) -> None:
    hop = document("shop", granting(f"role: '{ROLE}', session: {{via: '{HUB}'}}"))
    answer = "  # airlock: ignore role-assumes-others: we know\n"
    docs = document("docs", answer + granting(f"role: '{role}'"))
    ids = {finding.id for finding in lint(Catalogue(policies=(hop, docs), guardrails=None))}
    assert "role-assumes-others" in ids
