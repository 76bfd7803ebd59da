"""No policy exceeds the guardrails, and a refusal names the guardrail."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.errors import WrongConfiguration
from bootstrap.grants.role import Role
from bootstrap.policy.decide import decide
from bootstrap.policy.glob import any_matches
from bootstrap.policy.guardrails import exceeds
from bootstrap.policy.model import Admitted, Decision, Denied, Grant, Guardrails, Limits
from bootstrap.policy.parse import parse_guardrails
from tests.job.given import plugins
from tests.policy.given import claims, policy

ROLE = "arn:aws:iam::111122223333:role/ci/deploy"
DIGEST = "@sha256:" + "0" * 64


def guardrails(text: str) -> Guardrails:
    return parse_guardrails(f"guardrails: acme\n{text}", "guardrails.yaml")


def decided(rails: str, allow: str, **env: str) -> Decision:
    rule = f"  - {{name: only, when: {{pull-request: any}}, allow: {allow}}}\n"
    return decide(claims(**env), policy(rule), guardrails(rails))


@pytest.mark.parametrize(
    ("rails", "allow", "env", "named"),
    [
        ("roles: 'arn:aws:iam::*:role/ci/*'", f"{{role: '{ROLE[:-9]}admin'}}", {}, "roles"),
        ("roles: []", f"{{role: '{ROLE}'}}", {}, "roles"),
        ("roles: '*/ci/*'", f"{{role: '{ROLE}', session: {{via: '{ROLE[:-9]}hub'}}}}", {}, "roles"),
        ("roles: 'arn:aws:iam::*:role/ci/*'", "{roles: {x: 'arn:aws:iam::111122223333:role/y'}}",
         {}, "roles"),
        ("roles: ['*', '!*admin*']", "{role: 'arn:aws:iam::111122223333:role/ci/admin-1'}",
         {}, "roles"),
        ("accounts: '444455556666'", f"{{role: '{ROLE}'}}", {}, "accounts"),
        ("images: 'registry.example.com/*@sha256:*'", "{image: 'registry.example.com/x:1'}",
         {}, "images"),
        ("images: 'registry.example.com/*'", "{image: 'evil.example/registry.example.com/x'}",
         {}, "images"),
        ("secrets: 'ssm:/ci/*'", "{secrets: {A: 'ssm:/prod/a'}}", {}, "secrets"),
        ("secrets: 'ssm:/ci/*'", "{secret-files: {a: 'ssm:/prod/a'}}", {}, "secrets"),
        ("secrets: 'ssm:/ci/*'", "{ssh-keys: 'ssm:/prod/a'}", {}, "secrets"),
        ("session: 1h", f"{{role: '{ROLE}', session: {{duration: 61m}}}}", {}, "session"),
        ("session-tags: []", "{session: {tags: {team: a}}}", {}, "session-tags"),
        ("session-tags: 'team={pipeline}'", "{session: {tags: {team: warehouse}}}", {},
         "session-tags"),
        ("session-tags: 'team=storefront'", "{session: {tags: {Team: storefront}}}", {},
         "session-tags"),
        ("session-tags: ['*', '!ADMIN=*']", "{session: {tags: {adm\u0131n: 'yes'}}}", {},
         "session-tags"),
        ("limits: {memory: 8GiB}", "{limits: {memory: 9GiB}}", {}, "limits.memory"),
        ("limits: {cpus: 4}", "{limits: {cpus: 4.5}}", {}, "limits.cpus"),
        ("limits: {pids: 100}", "{limits: {pids: 101}}", {}, "limits.pids"),
        ("plugins: '*#v*'", "{}", plugins("docker"), "plugins"),
        ("plugins: 'docker#v5.*'", "{}", plugins("evil#v5.0.0"), "plugins"),
        ("plugins: '*'", "{}", {"BUILDKITE_PLUGINS": "{"}, "plugins"),
        ("plugins: ['*', '!mallory/*']", "{}", plugins("mallory/x#v1"), "plugins"),
        ("plugins: '!mallory/*'", "{}", plugins("mallory/x#v1"), "plugins"),
        ("plugins: '!evil'", "{}", plugins("docker#v5.1.0", "evil"), "plugins"),
        ("", f"{{role: '{ROLE}'}}", {"BUILDKITE_PULL_REQUEST": "7"}, "forks"),
        ("forks: nothing", "{secrets: {A: 'ssm:/a'}}", {"BUILDKITE_PULL_REQUEST": "7"}, "forks"),
        ("forks: refuse", "{}", {"BUILDKITE_PULL_REQUEST": "7"}, "forks"),
    ],
)  # fmt: skip
def test_a_grant_beyond_a_guardrail_is_refused_with_its_name(
    rails: str, allow: str, env: dict[str, str], named: str
) -> None:
    decision = decided(rails, allow, **env)
    assert isinstance(decision, Denied), decision
    assert f"exceeds the guardrail '{named}' of guardrails.yaml" in decision.problem
    assert decision.nearest == "only"


@pytest.mark.parametrize(
    ("rails", "allow", "env"),
    [
        ("", f"{{role: '{ROLE}', session: {{duration: 12h}}, limits: {{memory: 900GiB}}}}", {}),
        (
            "roles: 'arn:aws:iam::*:role/ci/*'\naccounts: ['111122223333']",
            f"{{role: '{ROLE}'}}",
            {},
        ),
        ("roles: []\nsecrets: []\nimages: []\nplugins: []", "{}", {}),
        ("images: '*@sha256:*'", f"{{image: 'x{DIGEST}'}}", {}),
        ("session: 15m", "{session: {duration: 12h}}", {}),
        (
            "session-tags: ['team={pipeline}', 'cost=*']",
            "{session: {tags: {team: storefront, cost: '7'}}}",
            {},
        ),
        ("session-tags: ['*', '!team=*']", "{session: {tags: {cost: '7'}}}", {}),
        ("", "{}", {"BUILDKITE_PULL_REQUEST": "7"}),
        ("forks: anything", f"{{role: '{ROLE}'}}", {"BUILDKITE_PULL_REQUEST": "7"}),
        ("forks: refuse", f"{{role: '{ROLE}'}}", {}),
        ("plugins: 'docker#v5.*'", "{}", plugins("docker#v5.1.0")),
        ("plugins: ['*', '!mallory/*']", "{}", plugins("docker#v5.1.0", "acme/x#v1")),
        ("plugins: '!mallory/*'", "{}", plugins("docker#v5.1.0")),
    ],
)
def test_a_grant_within_the_guardrails_is_admitted(
    rails: str, allow: str, env: dict[str, str]
) -> None:
    assert isinstance(decided(rails, allow, **env), Admitted)


def test_every_exceeded_guardrail_is_in_the_reasons() -> None:
    decision = decided(
        "roles: []\naccounts: []\nsession: 1h\nimages: []",
        f"{{role: '{ROLE}', session: {{duration: 2h}}, image: x}}",
    )
    assert isinstance(decision, Denied)
    failed = [reason.subject for reason in decision.reasons if not reason.holds]
    assert failed == [
        "guardrail roles", "guardrail accounts", "guardrail images", "guardrail session",
    ]  # fmt: skip


def test_limits_bind_rules_that_leave_them_to_the_host() -> None:
    rails = (
        "limits: {memory: 8GiB, pids: 512}\nscopes: [{name: a, pipelines: '*', limits: {pids: 64}}]"
    )
    decision = decided(rails, "{}")
    assert isinstance(decision, Admitted)
    assert decision.grant.at_most == Limits(memory=8 << 30, pids=64)
    assert decision.grant.limits == Limits()


@pytest.mark.parametrize("allow", [f"{{role: '{ROLE}'}}", "{secrets: {A: 'ssm:/ci/a'}}",
                                   "{ssh-keys: 'ssm:/ci/key'}"])  # fmt: skip
def test_forks_get_nothing_where_there_are_no_guardrails(allow: str) -> None:
    rule = f"  - {{name: only, when: {{pull-request: any}}, allow: {allow}}}\n"
    fork, own = claims(BUILDKITE_PULL_REQUEST="7"), claims()
    decision = decide(fork, policy(rule))
    assert isinstance(decision, Denied)
    assert "exceeds the guardrail 'forks' of Airlock's defaults" in decision.problem
    assert "`forks: anything`" in decision.hint
    assert isinstance(decide(own, policy(rule)), Admitted)
    assert isinstance(decide(fork, policy(rule), guardrails("forks: anything")), Admitted)
    sandbox = "  - {name: only, when: {pull-request: any}, allow: {workspace: fresh}}\n"
    assert isinstance(decide(fork, policy(sandbox)), Admitted)


ROLES = st.builds(
    "arn:aws:iam::{}:role/{}".format,
    st.sampled_from(["111122223333", "444455556666"]),
    st.text("abc/-", min_size=1, max_size=6),
)


@given(role=ROLES, patterns=st.lists(st.text("arn:wsiolec/*!-", max_size=8), max_size=4))
def test_a_random_role_exceeds_the_guardrail_unless_a_pattern_matches(
    role: str, patterns: list[str]
) -> None:
    rails = Guardrails(organization="acme", roles=tuple(patterns), origin="g", digest="")
    assert bool(exceeds(Grant(kinds=(Role(granted=role),)), rails, "x")) != any_matches(
        patterns, (role,)
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("role: x", 'did you mean "roles"?'),
        ("accounts: ['1234']", "twelve digits"),
        ("forks: yes", "'refuse', 'nothing' or 'anything'"),
        ("session: forever", "expected a duration"),
        ("limits: {memory: lots}", "expected a size"),
    ],
)
def test_a_guardrails_document_with_mistakes_is_refused(text: str, says: str) -> None:
    with pytest.raises(WrongConfiguration) as caught:
        guardrails(text)
    assert says in "\n".join(caught.value.details)


def test_times_and_sizes_are_those_of_a_document() -> None:
    limits = "limits: {memory: 16GiB, cpus: 4}"
    refused = decided(
        "session: 1h\nlimits: {memory: 8GiB, cpus: 2}",
        f"{{role: '{ROLE}', session: {{duration: 90m}}, {limits}}}",
    )
    assert isinstance(refused, Denied)
    found = {reason.subject: (reason.got, reason.expected) for reason in refused.reasons[-3:]}
    assert found == {
        "guardrail session": ("90m", "at most 1h"),
        "guardrail limits.memory": ("16GiB", "at most 8GiB"),
        "guardrail limits.cpus": ("4", "at most 2"),
    }
