"""A document is valid as a whole, or refused with every mistake and its line."""

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.agent_api.model import AgentApiGrant
from bootstrap.errors import AirlockError, WrongConfiguration
from bootstrap.grants import KINDS
from bootstrap.policy.document import MAX_DEPTH, load
from bootstrap.policy.model import MAX_TEXT, CredentialDelivery, Grant, Workspace
from bootstrap.policy.parse import parse
from tests.policy.given import HEAD, policy

ROLE = "arn:aws:iam::111122223333:role/ci/deploy"
EVERYTHING = f"""  - name: deploy
    when:
      organization: acme
      branch: [main, "release/*"]
      env: {{MODE: "live", DEBUG: absent}}
      agent-tag: {{size: large}}
      pull-request: any
    allow:
      role: {ROLE}
      session:
        duration: 45m
        tags: {{team: storefront}}
        transitive: team
        external-id: partner-7
        source-identity: none
        policy: '{{"Version": "2012-10-17", "Statement": []}}'
        policy-arns: ["arn:aws:iam::aws:policy/ReadOnlyAccess"]
        via: arn:aws:iam::444455556666:role/hub
        identity: buildkite
      roles: {{audit: "{ROLE}-audit"}}
      delivery: env
      secrets-with: role
      secrets: {{A: "ssm:/ci/a"}}
      secret-files: {{b: "ssm:/ci/b"}}
      ssh-keys: "ssm:/ci/key"
      git-tokens: {{"https://github.com/acme/": "ssm:/ci/git"}}
      known-hosts: "git.example.com ssh-ed25519 AAAA"
      registries: {{registry.example.com: role, docker.io: "ssm:/ci/hub"}}
      env: [NODE_OPTIONS, "GIT_*"]
      image: registry.example.com:5000/ci/node@sha256:{"0" * 64}
      limits: {{memory: 512MiB, cpus: 0.5, pids: 64}}
      workspace: fresh
      services: {{db: {{image: "ci/postgres:15", ready: "tcp:5432"}}}}
      builds: buildkit
      agent-api: {{oidc-audiences: sts.example.com, secrets: [A, B], calls: [meta-data]}}
      egress: {{hosts: a.example, cidrs: 203.0.113.0/24, private: 10.1.0.0/16}}
"""


def mistakes(text: str) -> tuple[str, ...]:
    with pytest.raises(WrongConfiguration) as caught:
        parse(text, "p.yaml")
    assert caught.value.exit_code == 78
    return caught.value.details


def test_a_rule_with_every_key_sets_every_setting() -> None:
    rule = policy(EVERYTHING).rules[0]
    found = {(c.subject, c.name): (c.patterns, c.line) for c in rule.when}
    assert found == {
        ("organization", None): (("acme",), 6),
        ("branch", None): (("main", "release/*"), 7),
        ("env", "MODE"): (("live",), 8),
        ("env", "DEBUG"): (("absent",), 8),
        ("agent-tag", "size"): (("large",), 9),
        ("tag", None): (("none",), 5),
        ("pull-request", None): (("any",), 10),
    }
    grant = rule.allow
    unset = [f.name for f in fields(Grant) if getattr(grant, f.name) == getattr(Grant(), f.name)]
    assert unset == ["at_most"], "it has to set every setting but the guardrails' own"
    assert grant.via == "arn:aws:iam::444455556666:role/hub"
    assert grant.agent_api == AgentApiGrant(
        oidc_audiences=("sts.example.com",), secrets=("A", "B"), meta_data=True
    )
    assert grant.web_identity is grant.secrets_with_role is True
    assert {kind.key: kind.granted for kind in grant.kinds} == {
        "role": ROLE,
        "roles": {"audit": f"{ROLE}-audit"},
        "secrets": {"A": "ssm:/ci/a"},
        "secret-files": {"b": "ssm:/ci/b"},
        "ssh-keys": ("ssm:/ci/key",),
        "git-tokens": {"https://github.com/acme/": "ssm:/ci/git"},
        "registries": {"registry.example.com": "role", "docker.io": "ssm:/ci/hub"},
    }
    assert {type(kind) for kind in grant.kinds} == set(KINDS)
    assert grant.role == ROLE
    assert grant.duration.total_seconds() == 2700
    assert grant.tags == {"team": "storefront"}
    assert grant.transitive_tags == ("team",)
    assert grant.external_id == "partner-7"
    assert grant.source_identity is False
    assert grant.session_policy == '{"Version": "2012-10-17", "Statement": []}'
    assert grant.policy_arns == ("arn:aws:iam::aws:policy/ReadOnlyAccess",)
    assert grant.delivery is CredentialDelivery.ENV
    assert grant.workspace is Workspace.FRESH
    limits = grant.limits
    assert (limits.memory, limits.cpus, limits.pids) == (512 << 20, 0.5, 64)


def test_the_pipeline_that_triggered_a_build_is_no_condition() -> None:
    with pytest.raises(WrongConfiguration) as caught:
        policy("  - name: a\n    when: {branch: main, triggered-by: deploy}\n    allow: {}\n")
    (mistake,) = caught.value.details
    assert "rules[0].when: `triggered-by` cannot be a condition" in mistake
    assert "Use `source: trigger_job`" in mistake
    assert ":5:" in mistake


def test_a_rule_without_conditions_matches_neither_tags_nor_pull_requests() -> None:
    when = policy("  - {name: all, allow: {}}\n").rules[0].when
    assert [(c.subject, c.patterns) for c in when] == [
        ("tag", ("none",)), ("pull-request", ("no",)),
    ]  # fmt: skip


def test_yaml_scalars_stay_strings() -> None:
    rule = policy("  - {name: on, when: {branch: [yes, 1e3, 2026-01-01, ~]}, allow: {}}\n").rules[0]
    assert rule.name == "on"
    assert rule.when[0].patterns == ("yes", "1e3", "2026-01-01", "~")


def test_several_mistakes_are_all_reported_with_their_lines() -> None:
    found = mistakes(
        """pipelin: storefront
repository: not a repository
rules:
  - name: deploy
    when: {brnach: main, pull-request: maybe}
    allow: {role: "*", session: {duration: 1d}}
  - name: deploy
    allow: {limits: {cpus: many, memory: 8}}
"""
    )
    assert [line.split(": ", 1)[0] for line in found] == [
        "p.yaml:1", "p.yaml:1", "p.yaml:2", "p.yaml:5", "p.yaml:5", "p.yaml:6", "p.yaml:6",
        "p.yaml:8", "p.yaml:8",
    ]  # fmt: skip
    text = "\n".join(found)
    assert 'unknown key "pipelin"; did you mean "pipeline"?' in text
    assert 'unknown key "brnach"; did you mean "branch"?' in text
    assert "expected a role's ARN" in text


def test_two_rules_of_the_same_name_are_refused() -> None:
    (found,) = mistakes(HEAD + "  - {name: a, allow: {}}\n  - {name: a, allow: {}}\n")
    assert found == 'p.yaml:5: duplicate rule name "a"'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("# only a comment\n", "empty"),
        ("[]", "expected a mapping"),
        ("hello", "expected a mapping"),
        ("a: [", "not YAML"),
        ("a: b: c", "not YAML"),
        ("\x00", "not YAML"),
        ("a: &x 1\nb: *x\n", "anchors"),
        ("a: !!python/object:os.system 1\n", "tags"),
        ("<<: {a: 1}\n", 'unknown key "<<"'),
        ("a: 1\n---\nb: 2\n", "a second document"),
        ("pipeline: a\npipeline: b\n", 'duplicate key "pipeline"'),
        ("? [a]\n: b\n", "expected text as the key"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nested deeper"),
        ("{a: " * 5000, "nested deeper"),
        ("#" * (MAX_TEXT + 1), "expected at most 65536"),
        (HEAD + "  []\n", "at least 1"),
        (HEAD + "  - {name: a}\n", "missing"),
        (
            HEAD + "  - {name: a, allow: }\n",
            "rules[0].allow: expected a mapping with any of the keys ",
        ),
        (HEAD + "  - {name: a, when: {branch: []}, allow: {}}\n", "at least 1"),
        (HEAD + "  - {name: a, when: {branch: [[x]]}, allow: {}}\n", "expected text; got a list"),
        (HEAD + "  - {name: a, allow: {session: {duration: 14m}}}\n", "between 15m and 12h"),
        (HEAD + "  - {name: a, allow: {session: {duration: 13h}}}\n", "between 15m and 12h"),
        (HEAD + "  - {name: a, allow: {session: {transitive: x}}}\n", "transitive tags to be"),
        (
            HEAD + "  - {name: a, allow: {session: {transitive: 'Buildkite:Pipeline'}}}\n",
            "transitive tags to be",
        ),
        (
            HEAD + "  - {name: a, allow: {session: {identity: buildkite, "
            "transitive: 'buildkite:pipeline'}}}\n",
            "neither tags nor external-id",
        ),
        (HEAD + "  - {name: a, allow: {session: {external-id: x}}}\n", "an external id"),
        (HEAD + "  - {name: a, allow: {session: {via: hub}}}\n", "a role's ARN"),
        (HEAD + "  - {name: a, allow: {session: {identity: job}}}\n", "'host' or 'buildkite'"),
        (
            HEAD + "  - {name: a, allow: {session: {identity: buildkite, tags: {a: b}}}}\n",
            "neither tags nor external-id",
        ),
        (HEAD + "  - {name: a, allow: {secrets-with: role}}\n", "expected `role`"),
        (HEAD + "  - {name: a, allow: {registries: {r.example.com: role}}}\n", "expected `role`"),
        (HEAD + "  - {name: a, allow: {registries: {r.example.com/x: role}}}\n", "host, with its"),
        (HEAD + "  - {name: a, allow: {registries: {r.example.com: ecr}}}\n", "'role'"),
        (HEAD + "  - {name: a, allow: {session: {policy: '{'}}}\n", "IAM policy as JSON"),
        (HEAD + "  - {name: a, allow: {session: {policy: '{}'}}}\n", "with a Statement"),
        (HEAD + "  - {name: a, allow: {session: {policy-arns: x}}}\n", "managed policy's ARN"),
        (HEAD + "  - {name: a, allow: {limits: {cpus: nan}}}\n", "expected more than 0"),
        (HEAD + "  - {name: a, allow: {limits: {memory: 0GiB}}}\n", "expected a size"),
        (HEAD + "  - {name: a, allow: {limits: {pids: 1}}}\n", "expected 64 or more"),
        (HEAD + "  - {name: a, allow: {image: '--privileged'}}\n", "expected an image"),
        (HEAD + "  - {name: a, allow: {env: '!PATH'}}\n", "expected a variable's name, or a glob"),
        (HEAD + "  - {name: a, allow: {secret-files: {../x: 'ssm:/x'}}}\n", "a file's name"),
        (HEAD + "  - {name: a, allow: {git-tokens: {'http://x/y/': 'ssm:/x'}}}\n", "https://host"),
        (
            HEAD + "  - {name: a, allow: {git-tokens: {'https://u@x/y': 'ssm:/x'}}}\n",
            "https://host",
        ),
        (HEAD + "  - {name: a, allow: {git-tokens: {'https://x': 'ssm:/x'}}}\n", "https://host"),
        (HEAD + "  - {name: a, allow: {secrets: {A-B: 'ssm:/x'}}}\n", "variable's name"),
        (HEAD.replace("storefront\n", "../etc\n", 1) + "  - {name: a, allow: {}}\n", "slug"),
    ],
)
def test_a_document_with_a_mistake_is_refused_with_its_reason(text: str, says: str) -> None:
    found = mistakes(text)
    assert any(says in line for line in found), found


@given(st.text(max_size=200))
def test_random_text_raises_only_errors_with_details(text: str) -> None:
    for document in (text, HEAD + text):
        try:
            parse(document, "p.yaml")
        except AirlockError as error:
            assert error.details


@given(st.text("{}[]:-&*!|>'\"#%@`?, \n\tabc~<=", max_size=60))
def test_random_punctuation_has_content_or_mistakes(text: str) -> None:
    document = load(text)
    assert document.mistakes or document.content is not None


def test_airlocks_own_session_tags_can_be_transitive() -> None:
    session = "{tags: {team: a}, transitive: ['buildkite:pipeline', team]}"
    found = parse(HEAD + f"  - {{name: a, allow: {{session: {session}}}}}\n", "storefront.yaml")
    assert found.rules[0].allow.transitive_tags == ("buildkite:pipeline", "team")
