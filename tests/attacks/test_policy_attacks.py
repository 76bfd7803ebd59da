"""A table of attacks on the decision, each with the honest job that the rule is meant for."""

from dataclasses import replace
from typing import Any

import pytest

from bootstrap.buildkite.env_files import parse_json
from bootstrap.errors import Refused, WrongConfiguration
from bootstrap.job.assemble import claims_of
from bootstrap.policy.decide import decide
from bootstrap.policy.model import MAX_TEXT, Admitted
from bootstrap.policy.parse import parse, parse_guardrails
from bootstrap.sandbox.plan import workspace_key
from tests.attacks.evaded_guardrails import GUARDRAILS, Attack
from tests.attacks.forged_jobs import HONEST, JOBS, Env
from tests.job.given import job_env, process_env
from tests.policy.given import HEAD

ROLE = "arn:aws:iam::111122223333:role/x"


def test_unblocker_team_condition_never_admits() -> None:
    """A step may set BUILDKITE_UNBLOCKER_TEAMS, so that the variable admits no job."""
    for env in ({}, {"BUILDKITE_UNBLOCKER_TEAMS": "platform"}):
        assert not isinstance(decision("{unblocker-team: platform}", env), Admitted)


@pytest.mark.parametrize("mirror", ["", "https://github.com/acme/storefront.git"])
def test_mirror_listed_in_policy_is_admitted(mirror: str) -> None:
    assert isinstance(decision("{}", {"BUILDKITE_GIT_REMOTE_MIRROR_URL": mirror}), Admitted)


@pytest.mark.parametrize(("when", "admitted"), [
    ("{tag: none}", {"", "branch"}), ("{tag: '*'}", {"v1", "x"}), ("{tag: 'v*'}", {"v1"}),
    ("{tag: [none, 'v*']}", {"", "branch", "v1"}), ("{tag: '!v*'}", {"x"}),
    ("{tag: [none, '!v*']}", {"", "branch", "x"}), ("{}", {"", "branch"}),
])  # fmt: skip
def test_tag_condition_admits_exactly_matching_builds(when: str, admitted: set[str]) -> None:
    tags = {"": {"BUILDKITE_TAG": ""}, "branch": {}, "v1": {"BUILDKITE_TAG": "v1"},
            "x": {"BUILDKITE_TAG": "x"}}  # fmt: skip
    found = {name for name, env in tags.items() if isinstance(decision(when, env), Admitted)}
    assert found == admitted


def decision(when: str, env: Env) -> Any:
    """Decide about the job; one that cannot be assembled is refused too."""
    policy = parse(f"{HEAD}  - {{name: only, when: {when}, allow: {{role: '{ROLE}'}}}}\n", "p")
    try:
        return decide(claims_of(job_env(**env), process_env()), policy)
    except Refused as refusal:
        return refusal


@pytest.mark.parametrize(("attack", "when", "env"), JOBS, ids=[row[0] for row in JOBS])
def test_attack_job_is_refused_and_honest_job_is_admitted(attack: str, when: str, env: Env) -> None:
    assert not isinstance(decision(when, env), Admitted), attack
    assert isinstance(decision(when, HONEST.get(when, {})), Admitted), "the row proves nothing"


@pytest.mark.parametrize("attack", GUARDRAILS, ids=[attack.name for attack in GUARDRAILS])
def test_evaded_guardrail_refuses_the_job_and_honest_grant_is_admitted(attack: Attack) -> None:
    assert not isinstance(guarded(attack, attack.allow, attack.env), Admitted), attack.name
    assert isinstance(guarded(attack, attack.honest, {}), Admitted), "the row proves nothing"


def test_evaded_guardrail_is_what_refuses_the_job() -> None:
    for attack in GUARDRAILS:
        unguarded = Attack(name=attack.name, rails="", allow=attack.allow, honest="")
        assert isinstance(guarded(unguarded, attack.allow, attack.env), Admitted), attack.name


def test_pipeline_of_the_same_name_in_another_organization_is_refused_by_guardrails() -> None:
    """A slug is one pipeline's within its organization only; guardrails name theirs."""
    policy = parse(granted(f"role: '{ROLE}'"), "p")
    other = claims_of(job_env(BUILDKITE_ORGANIZATION_SLUG="mallory"), process_env())
    rails = parse_guardrails("guardrails: acme\n", "g")
    assert isinstance(decide(other, policy), Admitted)
    assert not isinstance(decide(other, policy, rails), Admitted)
    assert isinstance(decide(claims_of(job_env(), process_env()), policy, rails), Admitted)


# (before and after: guardrails, the rule's `when`, and what it grants)
CHANGED = [
    (("", "{branch: '*'}", ""), ("", "{branch: main}", f"role: '{ROLE}'")),
    (("", "{pull-request: any}", ""), ("", "{}", f"role: '{ROLE}'")),
    (("", "{}", ""), ("requires: {roles: '*', command: make deploy}", "{}", f"role: '{ROLE}'")),
    (("requires: {roles: '*'}", "{}", f"role: '{ROLE}'"),
     ("requires: {roles: '*', vouched: yes}", "{}", f"role: '{ROLE}'")),
    # A fork's, and a job's that brought BASH_ENV: both were admitted as long as they got nothing.
    (("", "{pull-request: any}", ""), ("", "{pull-request: any}", f"role: '{ROLE}'")),
    (("", "{command: make deploy}", ""), ("", "{command: make deploy}", "secrets: {A: 'ssm:/a'}")),
    (("", "{command: make deploy}", f"role: '{ROLE}', env: '*'"),
     ("", "{command: make deploy}", f"role: '{ROLE}'")),
    (("forks: anything", "{}", f"role: '{ROLE}'"), ("forks: nothing", "{}", f"role: '{ROLE}'")),
    (("plugins: '*'", "{}", f"role: '{ROLE}'"), ("plugins: []", "{}", f"role: '{ROLE}'")),
    (("", "{env: {A: absent}}", f"role: '{ROLE}'"), ("", "{env: {B: absent}}", f"role: '{ROLE}'")),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after"), CHANGED)
def test_workspace_of_a_rule_is_not_that_of_the_weaker_rule_it_once_was(
    before: tuple[str, str, str], after: tuple[str, str, str]
) -> None:
    """Otherwise a job of then leaves a hook of git, which runs with the role of now."""

    def workspace(rails: str, when: str, allow: str, above: str = "") -> str:
        rule = f"  - {{name: only, when: {when}, allow: {{{allow}}}}}\n"
        rails = f"guardrails: acme\n{rails}\n"
        job = claims_of(job_env(), process_env())
        found = decide(job, parse(f"{above}{HEAD}{rule}", "p"), parse_guardrails(rails, "g"))
        assert isinstance(found, Admitted)
        return workspace_key(job, found.rule, found.apart)

    assert workspace(*before) != workspace(*after)
    assert workspace(*after) == workspace(*after, above="# moved down by a line\n")


def test_workspace_is_not_that_of_a_policy_with_a_repository_more() -> None:
    """Jobs of that repository left it; the rule has not changed, and no longer admits them."""

    def workspace(head: str) -> str:
        job = claims_of(job_env(), process_env())
        found = decide(job, parse(f"{head}  - {{name: only, allow: {{role: '{ROLE}'}}}}\n", "p"))
        assert isinstance(found, Admitted)
        return workspace_key(job, found.rule, found.apart)

    one = "repository: git@github.com:acme/storefront.git\n"
    two = 'repository: ["git@github.com:acme/storefront.git", "git@github.com:mallory/x.git"]\n'
    assert one in HEAD
    assert workspace(HEAD) != workspace(HEAD.replace(one, two))


def test_command_beside_plugins_that_guardrails_list_is_what_runs() -> None:
    attack = next(one for one in GUARDRAILS if one.name.endswith("with a plugin beside it"))
    listing = replace(attack, rails=f"{attack.rails}\nplugins: 'mallory/x#v*'")
    assert not isinstance(guarded(attack, attack.allow, attack.env), Admitted)
    assert isinstance(guarded(listing, attack.allow, attack.env), Admitted)


def guarded(attack: Attack, allow: str, env: Env) -> Any:
    """Decide about a job whose rule grants `allow`, under the guardrails of the attack."""
    policy = parse(f"{HEAD}  - {{name: only, when: {attack.when}, allow: {{{allow}}}}}\n", "p")
    rails = parse_guardrails(f"guardrails: acme\n{attack.rails}\n", "g")
    return decide(claims_of(job_env(**env), process_env()), policy, rails)


@pytest.mark.parametrize(
    "name",
    ["BUILDKITE_REPO=x", "A B", "", "1", "BASH_FUNC_a%%", "A\nB", "\u0410", "LD_PRELOAD=", "A=B=C"],
)
def test_environment_with_malformed_name_is_refused(name: str) -> None:
    with pytest.raises(Refused, match="the job's environment variable"):
        parse_json(('{"' + name.replace("\n", "\\n") + '": "x"}').encode())


@pytest.mark.parametrize("slug", ["../storefront", "..", ".", "a/b", "a\\u0000", "x" * 300])
def test_malformed_pipeline_slug_is_refused(slug: str) -> None:
    with pytest.raises(Refused, match="BUILDKITE_PIPELINE_SLUG is"):
        claims_of(job_env(BUILDKITE_PIPELINE_SLUG=slug.replace("\\u0000", "\0")), process_env())


def granted(allow: str) -> str:
    return f"{HEAD}  - {{name: a, allow: {{{allow}}}}}\n"


# (what is wrong with it, the document)
DOCUMENTS = [
    ("anchors and aliases", "pipeline: &a storefront\nrepository: *a\n"),
    ('duplicate key "pipeline"', HEAD + "  - {name: a, allow: {}}\npipeline: other\n"),
    ('duplicate key "role"', HEAD + "  - {name: a, allow: {role: x, role: y}}\n"),
    ("a second document", HEAD + "  - {name: a, allow: {}}\n---\npipeline: other\n"),
    ("tags", HEAD + "  - !!python/object/apply:os.system [id]\n"),
    ('unknown key "<<"', HEAD + "  - <<: {allow: {}}\n    name: a\n"),
    ("rules[0].allow: ", HEAD + "  - {name: a, when: {branch: true}, allow: yes}\n"),
    ('unknown key "Branch"', HEAD + "  - {name: a, when: {Branch: main}, allow: {}}\n"),
    ('unknown key "br\u0430nch"', HEAD + "  - {name: a, when: {br\u0430nch: main}, allow: {}}\n"),
    ("rules[0].when.branch", HEAD + "  - {name: a, when: {branch: {a: b}}, allow: {}}\n"),
    ("a role's ARN", HEAD + "  - {name: a, allow: {role: 'arn:aws:iam::111122223333:role/*'}}\n"),
    ("a role's ARN", HEAD + "  - {name: a, allow: {role: 'arn:aws:iam::111122223333:user/x'}}\n"),
    ("not by way of ssm:/aws/", granted("secrets: {A: 'ssm:/aws/reference/secretsmanager/x'}")),
    ("not by way of ssm:/aws/", granted("secrets: {A: 'ssm:aws/reference/secretsmanager/x:2'}")),
    ("not by way of ssm:/aws/", granted("secrets: {A: 'ssm:/AWS/Reference/secretsmanager/x'}")),
    (
        "not by way of ssm:/aws/",
        granted(
            "ssh-keys: 'ssm:arn:aws:ssm:eu-west-1:111122223333:parameter/aws/reference/"
            "secretsmanager/x'"
        ),
    ),
    *(
        ("the segments `.` and `..`", granted(f"role: 'arn:aws:iam::111122223333:role/{name}'"))
        for name in ("ci/a/../b/x", "../x", "ci//x", "/x", "ci/./x")
    ),
    ("without `..`", granted("secrets: {A: 'ssm:/ci/..:3'}")),
    *(
        ("a variable of the job's own", granted(f"secrets: {{BUILDKITE_{name}: 'ssm:/x'}}"))
        for name in (
            "BRANCH",
            "COMMAND",
            "COMMIT",
            "GIT_REMOTE_MIRROR_URL",
            "JOB_ID",
            "ORGANIZATION_SLUG",
            "PIPELINE_SLUG",
            "PLUGINS",
            "PULL_REQUEST",
            "PULL_REQUEST_REPO",
            "REFSPEC",
            "REPO",
            "TAG",
        )
    ),
    ("of hexadecimal digits only", granted("image: 'sha256:0123456789ab'")),
    ("of hexadecimal digits only", granted("image: 'abcdef012345'")),
    ("in lower case", granted("image: 'Mallory/x:1'")),
    ("expected an image", granted("image: 'registry.example.com./x:1'")),
    ("expected an image", granted("image: 'registry.example.com/ci/../x:1'")),
    (f"at most {MAX_TEXT}", HEAD + "#" * MAX_TEXT),
    ("nested deeper than", HEAD + "  - " + "[" * 500),
]


@pytest.mark.parametrize(("mistake", "text"), DOCUMENTS, ids=[row[1][-60:] for row in DOCUMENTS])
def test_ambiguous_policy_document_is_rejected(mistake: str, text: str) -> None:
    with pytest.raises(WrongConfiguration, match=r"^p has") as caught:
        parse(text, "p")
    assert mistake in "\n".join(caught.value.details)


def test_attack_table_rows_are_complete_and_unique() -> None:
    assert len(JOBS) == len({attack for attack, _, _ in JOBS}) == 115
    assert set(HONEST) <= {when for _, when, _ in JOBS}
