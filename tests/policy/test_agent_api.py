"""`agent-api` of a rule: its grammar, and what every tool makes of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.agent_api.model import AgentApiGrant
from bootstrap.errors import WrongConfiguration
from bootstrap.policy.access_map import notes
from bootstrap.policy.catalogue import who_can
from bootstrap.policy.decide import decide
from bootstrap.policy.difference.model import Kind
from bootstrap.policy.difference.parts import differences
from bootstrap.policy.findings import Severity
from bootstrap.policy.guardrails import exceeds, is_empty
from bootstrap.policy.model import Admitted, Decision, Denied, Grant
from bootstrap.policy.parse import parse_guardrails
from tests.policy.given import claims, policy
from tests.policy.test_cases import problem
from tests.policy.test_lint import found

ALL = "[meta-data, artifacts, annotations, pipeline-upload, steps, cancel, other-builds, caches]"
AUDIENCE = "https://signer.example.com"


def rule(agent_api: str, when: str = "{pull-request: any}") -> str:
    return f"  - {{name: only, when: {when}, allow: {{{agent_api}}}}}\n"


def granted(agent_api: str) -> Grant:
    return policy(rule(agent_api)).rules[0].allow


def decided(rails: str, agent_api: str, **env: str) -> Decision:
    document = parse_guardrails(f"guardrails: acme\n{rails}", "guardrails.yaml")
    return decide(claims(**env), policy(rule(agent_api)), document)


def test_a_rule_without_the_key_leaves_the_job_its_token() -> None:
    assert granted("").agent_api is None


def test_an_empty_grant_is_a_gateway_for_the_checkout_alone() -> None:
    assert granted("agent-api: {}").agent_api == AgentApiGrant()


def test_all_calls_can_be_named() -> None:
    text = f"agent-api: {{calls: {ALL}, oidc-audiences: [a, b, a], secrets: KEY}}"
    assert granted(text).agent_api == AgentApiGrant(
        oidc_audiences=("a", "b"), secrets=("KEY",), meta_data=True, artifacts=True,
        annotations=True, pipeline_upload=True, steps=True, cancel=True, other_builds=True,
        caches=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("{oidc-audiences: 'https://*.example.com'}", "without `*`"),
        ("{oidc-audiences: ' a'}", "character for character"),
        ('{oidc-audiences: "a\\u202eb"}', "character for character"),
        ("{oidc-audiences: ''}", "oidc-audiences"),
        ("{secrets: 'NPM-TOKEN'}", "the key of a Buildkite secret"),
        ("{secrets: 'ssm:/ci/a'}", "the key of a Buildkite secret"),
        ("{calls: everything}", "meta-data"),
        ("{call: meta-data}", "calls"),
        ("'yes'", "agent-api"),
    ],
)
def test_a_mistake_is_named(text: str, mistake: str) -> None:
    with pytest.raises(WrongConfiguration) as wrong:
        granted(f"agent-api: {text}")
    (detail,) = wrong.value.details
    assert mistake in detail


@given(st.text(max_size=30))
def test_any_audience_is_granted_as_written_or_refused(text: str) -> None:
    quoted = "".join(f"\\U{ord(char):08x}" for char in text)
    try:
        api = granted(f'agent-api: {{oidc-audiences: "{quoted}"}}').agent_api
    except WrongConfiguration:
        return
    assert api
    assert api.oidc_audiences == (text,)
    assert "*" not in text
    assert text.isprintable()
    assert text == text.strip() != ""


@pytest.mark.parametrize(
    ("rails", "agent_api", "guardrail"),
    [
        ("agent-api: required", "", "agent-api"),
        ("oidc-audiences: []", "", "agent-api"),
        ("oidc-audiences: []", "agent-api: {oidc-audiences: a}", "oidc-audiences"),
        ("oidc-audiences: ['https://{pipeline}.example.com/*']",
         "agent-api: {oidc-audiences: 'https://other.example.com/'}", "oidc-audiences"),
        ("oidc-audiences: ['*', '!STS.*']", "agent-api: {oidc-audiences: sts.amazonaws.com}",
         "oidc-audiences"),
        ("scopes: [{name: s, pipelines: '*', agent-api: required}]", "", "scopes.s.agent-api"),
        ("secrets: 'ssm:/ci/*'", "agent-api: {secrets: KEY}", "secrets"),
        ("scopes: [{name: s, pipelines: 'x'}]", "agent-api: {secrets: KEY}", "scopes"),
    ],
)  # fmt: skip
def test_guardrails_limit_it(rails: str, agent_api: str, guardrail: str) -> None:
    decision = decided(rails, agent_api)
    assert isinstance(decision, Denied)
    assert f"exceeds the guardrail {guardrail!r}" in decision.problem
    if guardrail.endswith("agent-api"):
        assert "Add `agent-api` to the rule" in decision.hint


@pytest.mark.parametrize(
    ("rails", "agent_api"),
    [
        ("agent-api: required", "agent-api: {}"),
        ("agent-api: optional", ""),
        ("oidc-audiences: ['https://{pipeline}.example.com/*']",
         "agent-api: {oidc-audiences: 'https://storefront.example.com/a'}"),
        ("secrets: 'buildkite:K*'", "agent-api: {secrets: KEY}"),
        ("secrets: 'ssm:/ci/*'", ""),
    ],
)  # fmt: skip
def test_guardrails_admit_the_rest(rails: str, agent_api: str) -> None:
    assert isinstance(decided(rails, agent_api), Admitted)


@pytest.mark.parametrize("agent_api", ["oidc-audiences: a", "secrets: KEY"])
def test_forks_get_no_token_and_no_secret(agent_api: str) -> None:
    env = {"BUILDKITE_PULL_REQUEST": "1", "BUILDKITE_PULL_REQUEST_REPO": "git://evil.example/x.git"}
    for text in (agent_api, "calls: meta-data"):
        decision = decided("forks: nothing", f"agent-api: {{{text}}}", **env)
        assert isinstance(decision, Admitted) == (text != agent_api)
    assert not is_empty(granted(f"agent-api: {{{agent_api}}}"))
    assert "fork-reaches-grant" in found(rule(f"agent-api: {{{agent_api}}}"))


def test_a_requirement_counts_for_secrets_of_buildkite() -> None:
    rails = "requires: {secrets: 'buildkite:KEY', branch: release}"
    assert isinstance(decided(rails, "agent-api: {secrets: KEY}"), Denied)
    assert isinstance(decided(rails, "agent-api: {secrets: OTHER}"), Admitted)


@pytest.mark.parametrize("audience", ["sts.amazonaws.com", "https://sts.eu-west-1.amazonaws.com"])
def test_lint_warns_of_an_audience_that_roles_trust(audience: str) -> None:
    finding = found(rule(f"agent-api: {{oidc-audiences: '{audience}'}}", "{branch: main}"))
    assert finding["audience-of-roles"].severity is Severity.WARNING
    other = found(rule(f"agent-api: {{oidc-audiences: '{AUDIENCE}'}}", "{branch: main}"))
    assert "audience-of-roles" not in other


@pytest.mark.parametrize(
    ("old", "new", "kind", "what"),
    [
        ("", "agent-api: {}", Kind.LOSES, "agent API"),
        ("agent-api: {}", "", Kind.GAINS, "agent API"),
        ("agent-api: {}", "agent-api: {oidc-audiences: a}", Kind.GAINS, "OIDC audience"),
        ("agent-api: {secrets: KEY}", "agent-api: {}", Kind.LOSES, "Buildkite secret"),
        ("agent-api: {}", "agent-api: {calls: meta-data}", Kind.GAINS, "agent API: meta-data"),
    ],
)
def test_diff_says_who_gains_and_loses(old: str, new: str, kind: Kind, what: str) -> None:
    (difference,) = differences(granted(old), granted(new))
    assert (difference.kind, difference.what) == (kind, what)


def test_who_can_and_the_access_map_list_each_field() -> None:
    text = f"agent-api: {{oidc-audiences: '{AUDIENCE}', secrets: KEY, calls: artifacts}}"
    listed = policy(rule(text))
    for wanted, kind in ((AUDIENCE, "OIDC audience"), ("buildkite:KEY", "secret")):
        (access,) = who_can([listed], wanted)
        assert (access.kind, access.name) == (kind, wanted)
    (note,) = [value for key, value in notes(granted(text)) if key == "agent-api"]
    assert "artifacts" in note
    assert [v for k, v in notes(granted("agent-api: {}")) if k == "agent-api"] == [
        "the checkout's calls"
    ]


@pytest.mark.parametrize(
    ("agent_api", "expect", "got"),
    [
        ("", "{agent-api: direct, oidc-audiences: any}", ""),
        ("", "{oidc-audiences: none}", "expected oidc-audiences none, got any"),
        ("agent-api: {}", "{agent-api: gateway, oidc-audiences: none}", ""),
        ("agent-api: {oidc-audiences: [b, a]}", "{oidc-audiences: [a, b]}", ""),
        ("agent-api: {secrets: KEY}", "{secrets: 'buildkite:KEY'}", ""),
        ("agent-api: {}", "{agent-api: direct}", "expected agent-api 'direct', got 'gateway'"),
    ],
)
def test_cases_can_expect_it(agent_api: str, expect: str, got: str) -> None:
    assert problem(policy(rule(agent_api)), "{}", expect) == got


@given(st.sampled_from(["required", "optional"]), st.booleans(), st.booleans())
def test_no_job_has_its_own_token_where_it_may_not(
    use: str,
    named: bool,  # noqa: FBT001
    limited: bool,  # noqa: FBT001
) -> None:
    audiences = "oidc-audiences: []\n" if limited else ""
    rails = parse_guardrails(f"guardrails: acme\nagent-api: {use}\n{audiences}", "g")
    grant = granted("agent-api: {}" if named else "")
    refused = bool(exceeds(grant, rails, "storefront"))
    assert refused == (not named and (use == "required" or limited))
