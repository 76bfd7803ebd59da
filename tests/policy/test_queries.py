"""Questions about all policies at once: who-can, diff, cases and IAM."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bootstrap.errors import WrongConfiguration
from bootstrap.policy import cases
from bootstrap.policy.catalogue import accesses, granted, who_can
from bootstrap.policy.decide import decide
from bootstrap.policy.difference import Kind, difference
from bootstrap.policy.iam import BRANCH, PIPELINE, iam
from bootstrap.policy.iam_drift import drift
from bootstrap.policy.iam_forms import as_cloudformation, as_json, as_terraform
from bootstrap.policy.model import Admitted
from tests.policy.given import claims, policy

ROLE = "arn:aws:iam::111122223333:role/ci/deploy"
OTHER = "arn:aws:iam::444455556666:role/ci/read"
HOST = "arn:aws:iam::999988887777:role/buildkite-agents"


def rule(name: str, when: str, role: str = ROLE) -> str:
    return f"  - {{name: {name}, when: {{{when}}}, allow: {{role: '{role}'}}}}\n"


MAIN = policy(rule("deploy", "branch: [main, 'release/*'], creator-team: platform"))


def test_who_can_names_pipeline_rule_and_conditions() -> None:
    (access,) = who_can([MAIN], ROLE)
    assert (access.pipeline, access.rule, access.kind) == ("storefront", "deploy", "role")
    assert access.to == (
        "branch main or release/*", "tag none", "creator-team platform", "pull-request no",
    )  # fmt: skip
    assert who_can([MAIN], "*:role/ci/*") == (access,)
    assert who_can([MAIN], OTHER) == ()


RULES = st.lists(
    st.tuples(
        st.sampled_from(["main", "a*", "*", "!main"]),
        st.sampled_from(["no", "same-repository", "any"]),
        st.sampled_from([ROLE, OTHER, ""]),
    ),
    min_size=1,
    max_size=4,
)


@given(rules=RULES, branch=st.sampled_from(["main", "a", "ab", "b"]), fork=st.booleans())
def test_every_admitted_jobs_role_is_listed_by_who_can(
    rules: list[tuple[str, str, str]],
    branch: str,
    fork: bool,  # noqa: FBT001
) -> None:
    made = policy(
        "".join(
            f"  - {{name: r{n}, when: {{branch: '{pattern}', pull-request: {kind}}}, "
            f"allow: {{{f'role: {role!r}' if role else ''}}}}}\n"
            for n, (pattern, kind, role) in enumerate(rules)
        )
    )
    request = "7" if fork else "false"
    decision = decide(claims(BUILDKITE_BRANCH=branch, BUILDKITE_PULL_REQUEST=request), made)
    assume(isinstance(decision, Admitted) and decision.grant.role)
    assert isinstance(decision, Admitted)
    listed = who_can([made], decision.grant.role or "")
    kinds = {access.pull_requests for access in listed if access.rule == decision.rule}
    assert kinds == {"any"} if fork else kinds


def test_accesses_are_everything_a_rule_grants() -> None:
    assert {access.name for access in accesses([MAIN])} == {n for _, n in granted(MAIN.rules[0])}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (rule("a", "branch: main"), rule("b", "branch: main"), []),
        (rule("a", "branch: main"), rule("a", "branch: main") + rule("b", "queue: x", OTHER),
         [(Kind.CHANGES, "a sandbox"), (Kind.GAINS, "role")]),
        (rule("a", "branch: main") + rule("b", "queue: x", OTHER), rule("a", "branch: main"),
         [(Kind.CHANGES, "a sandbox"), (Kind.LOSES, "role")]),
        (rule("a", "branch: main"), rule("a", "branch: [main, dev]"),
         [(Kind.CHANGES, "a sandbox"), (Kind.CHANGES, "role")]),
        (rule("a", "branch: main"), rule("a", "branch: main", OTHER),
         [(Kind.LOSES, "role"), (Kind.GAINS, "role")]),
    ],
)  # fmt: skip
def test_difference_lists_changes_of_access_and_not_of_text(
    old: str, new: str, expected: list[tuple[Kind, str]]
) -> None:
    changes = difference([policy(old)], [policy(new)])
    assert [(change.kind, change.what) for change in changes] == expected


def test_a_new_pipeline_gains_everything_and_a_removed_one_loses_it() -> None:
    assert {change.kind for change in difference([], [MAIN])} == {Kind.GAINS}
    assert {change.kind for change in difference([MAIN], [])} == {Kind.LOSES}
    assert difference([MAIN], [MAIN]) == ()


CASES = """pipeline: storefront
cases:
  - name: main deploys
    given: {branch: main, creator-team: [platform, everyone]}
    expect: {rule: deploy, role: "arn:aws:iam::111122223333:role/ci/deploy"}
  - name: forks do not
    given: {branch: main, pull-request: fork, creator-team: platform}
    expect: {refused: "expected pull-request no, got fork"}
  - name: everything a build can be
    given: {source: webhook, step: x, queue: y, tag: none, command: make, plugin: ["docker#v5"],
            agent-tag: {size: large}, env: {MODE: live}, creator: Ada, commit: abc}
    expect: refused
"""


def test_failed_cases_state_what_was_expected_and_got() -> None:
    document = cases.parse(CASES, "storefront.test.yaml")
    outcomes = cases.outcomes([document], {"storefront": MAIN}, None)
    assert [outcome.problem for outcome in outcomes] == ["", "", ""]
    outcomes = cases.outcomes([document], {}, None)
    assert "no policy exists" in outcomes[0].problem
    wider = policy(rule("all", "pull-request: any", OTHER))
    problems = [o.problem for o in cases.outcomes([document], {"storefront": wider}, None)]
    assert problems == [
        "expected rule 'deploy', got 'all'",
        "expected a refusal, got rule 'all'",
        "expected a refusal, got rule 'all'",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cases: []", "pipeline is missing"),
        ("pipeline: a\ncases: [{name: x}]", "cases[0].expect is missing"),
        ("pipeline: a\ncases: [{name: x, given: {brnch: y}, expect: refused}]", "unknown fact"),
        ("pipeline: a\ncases: [{name: x, given: {pull-request: y}, expect: refused}]", "fork"),
        ("pipeline: a\ncases: [{name: x, expect: {rol: y}}]", 'did you mean "role"?'),
    ],
)
def test_cases_with_mistakes_are_refused(text: str, says: str) -> None:
    with pytest.raises(WrongConfiguration) as caught:
        cases.parse(text, "a.test.yaml")
    assert says in "\n".join(caught.value.details)


SECRETS = policy(
    "  - name: a\n    when: {branch: main}\n    allow:\n"
    "      secrets: {A: 'ssm:/ci/a', B: 'secretsmanager:ci/b#key'}\n"
    "      secret-files: {c: 'secretsmanager:ci/b#other'}\n"
    "      ssh-keys: 'ssm:/ci/key'\n"
)


def test_the_hosts_policy_allows_the_secrets_that_rules_name() -> None:
    statements = {s["Sid"]: s for s in iam([SECRETS], host_role=HOST).host["Statement"]}
    assert statements["AirlockParameters"]["Resource"] == [
        "arn:aws:ssm:*:*:parameter/ci/a", "arn:aws:ssm:*:*:parameter/ci/key",
    ]  # fmt: skip
    assert statements["AirlockSecrets"]["Resource"] == ["arn:aws:secretsmanager:*:*:secret:ci/b-*"]


def test_trust_names_the_pipelines_and_branches_that_reach_the_role() -> None:
    made = iam([MAIN], host_role=HOST)
    (statement,) = made.trust[ROLE]["Statement"]
    assert statement["Principal"] == {"AWS": HOST}
    assert statement["Condition"]["StringEquals"] == {PIPELINE: ["storefront"]}
    assert statement["Condition"]["StringLike"][BRANCH] == ["main", "release/*"]
    assert made.host["Statement"][0]["Resource"] == [ROLE]


@pytest.mark.parametrize("when", ["queue: x", "branch: ['*', '!main']", "branch: 'a?'"])
def test_trust_omits_branches_that_iam_cannot_express(when: str) -> None:
    made = iam([policy(rule("deploy", when))], host_role=HOST)
    assert BRANCH not in str(made.trust)


def test_trust_requires_the_external_id_and_source_identity_that_rules_send() -> None:
    when = "branch: main}, allow: {session: {external-id: partner-7, source-identity: none}, role:"
    made = iam([policy(f"  - {{name: a, when: {{{when} '{ROLE}'}}}}\n")], host_role=HOST)
    condition = made.trust[ROLE]["Statement"][0]["Condition"]
    assert condition["StringEquals"]["sts:ExternalId"] == ["partner-7"]
    assert "sts:SourceIdentity" not in condition["StringLike"]


def test_the_hosts_policy_allows_pulling_images_from_ecr_only() -> None:
    ecr = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/ci/job@sha256:ab"
    rules = (
        f"  - {{name: a, allow: {{image: '{ecr}'}}}}\n  - {{name: b, allow: {{image: 'x:1'}}}}\n"
    )
    statements = {s["Sid"]: s for s in iam([policy(rules)], host_role=HOST).host["Statement"]}
    assert statements["AirlockImages"]["Resource"] == [
        "arn:aws:ecr:eu-west-1:111122223333:repository/ci/job"
    ]
    assert statements["AirlockRegistries"]["Action"] == ["ecr:GetAuthorizationToken"]


HUB = "arn:aws:iam::444455556666:role/hub"


def test_a_second_hop_trusts_the_first_and_only_the_first_trusts_the_host() -> None:
    when = f"branch: main}}, allow: {{session: {{via: '{HUB}', external-id: partner-7}}, role:"
    made = iam([policy(f"  - {{name: a, when: {{{when} '{ROLE}'}}}}\n")], host_role=HOST)
    assert made.host["Statement"][0]["Resource"] == [HUB]
    (call,) = made.hops[HUB]["Statement"]
    assert call["Resource"] == [ROLE]
    assert as_json(made)["hop-roles"] == made.hops
    stack = as_cloudformation(made)["Resources"]["Hub444455556666"]["Properties"]
    assert stack["Policies"][0]["PolicyDocument"] == made.hops[HUB]
    terraform = as_terraform(made)["resource"]["aws_iam_role_policy"]["Hub444455556666"]
    assert json.loads(terraform["policy"]) == made.hops[HUB]
    (hub,), (role,) = made.trust[HUB]["Statement"], made.trust[ROLE]["Statement"]
    assert (hub["Principal"], role["Principal"]) == ({"AWS": HOST}, {"AWS": HUB})
    assert "sts:ExternalId" in role["Condition"]["StringEquals"]
    assert "sts:ExternalId" not in hub["Condition"]["StringEquals"]
    assert made.scp["Statement"][0]["Condition"]["ArnNotEquals"]["aws:PrincipalArn"] == [HUB, HOST]


@pytest.mark.parametrize("organization", ["acme", None])
def test_web_identity_trusts_the_pipelines_tokens_and_no_other_organizations(
    organization: str | None,
) -> None:
    when = "branch: main}, allow: {session: {identity: buildkite}, role:"
    documents = [policy(f"  - {{name: a, when: {{{when} '{ROLE}'}}}}\n")]
    made = iam(documents, host_role=HOST, organization=organization)
    (statement,) = made.trust[ROLE]["Statement"]
    (subject,) = statement["Condition"]["StringLike"]["agent.buildkite.com:sub"]
    named = organization or "NAME-IT-WITH---organization"
    assert subject == f"organization:{named}:pipeline:storefront:ref:refs/heads/main:commit:*"
    assert made.host["Statement"] == []
    (with_host,) = iam([MAIN], host_role=HOST).trust[ROLE]["Statement"]
    both = iam([*documents, MAIN], host_role=HOST, organization="acme")
    assert with_host in both.trust[ROLE]["Statement"]
    assert len(both.trust[ROLE]["Statement"]) == 2


def test_the_hosts_policy_omits_secrets_that_the_jobs_role_reads() -> None:
    own = f"{{role: '{ROLE}', secrets-with: role, secrets: {{A: 'ssm:/ci/a'}}}}"
    made = iam([policy(f"  - {{name: a, allow: {own}}}\n")], host_role=HOST)
    assert [s["Sid"] for s in made.host["Statement"]] == ["AirlockSessions"]


def test_the_hosts_policy_has_no_findings_of_parliament(tmp_path: Path) -> None:
    store = {"Effect": "Allow", "Action": ["ssm:GetParametersByPath", "ssm:GetParameters"],
             "Resource": ["arn:aws:ssm:us-east-1:111122223333:parameter/buildkite/*"]}  # fmt: skip
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(iam([MAIN, SECRETS], host_role=HOST, store=store).host))
    program = (
        "import sys, parliament\n"
        "found = parliament.analyze_policy_string(open(sys.argv[1]).read()).findings\n"
        "print(*found, sep='\\n')\nsys.exit(bool(found))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_form_contains_the_same_documents() -> None:
    made = iam([MAIN], host_role=HOST)
    trust = made.trust[ROLE]
    assert as_json(made)["trust"] == {ROLE: trust}
    stack = as_cloudformation(made)["Resources"]
    assert stack["CiDeploy111122223333"]["Properties"] == {
        "RoleName": "deploy", "Path": "/ci/", "AssumeRolePolicyDocument": trust,
    }  # fmt: skip
    terraform = as_terraform(made)["resource"]["aws_iam_role"]["CiDeploy111122223333"]
    assert json.loads(terraform["assume_role_policy"]) == trust


def test_a_rule_without_grants_needs_no_iam_statement() -> None:
    made = iam([policy("  - {name: a, allow: {}}\n")], host_role=HOST)
    assert made.host["Statement"] == made.scp["Statement"] == []


def test_drift_lists_missing_roles_conditions_and_other_principals() -> None:
    made = iam([MAIN], host_role=HOST)
    trust = made.trust[ROLE]
    same = {"RoleDetailList": [{"Arn": ROLE, "AssumeRolePolicyDocument": trust}]}
    assert drift(made, same) == ()
    assert drift(made, {"RoleDetailList": []}) == (f"{ROLE}: is not in the dump",)
    wide = json.loads(json.dumps(trust))
    wide["Statement"].append({"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"})
    del wide["Statement"][0]["Condition"]
    text = "\n".join(
        drift(made, {"RoleDetailList": [{"Arn": ROLE, "AssumeRolePolicyDocument": wide}]})
    )
    assert f"trusts {HOST} under the condition {{}}" in text
    assert "also trusts *" in text
