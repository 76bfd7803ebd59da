"""A table of attacks on the decision, each with the honest job that the rule is meant for."""

from typing import Any

import pytest

from bootstrap.buildkite.env_files import parse_json
from bootstrap.errors import Refused, WrongConfiguration
from bootstrap.job.assemble import claims_of
from bootstrap.policy.decide import decide
from bootstrap.policy.model import MAX_TEXT, Admitted
from bootstrap.policy.parse import parse
from tests.job.given import job_env, plugins, process_env
from tests.policy.given import HEAD

Env = dict[str, str]
TEAM = "{creator-team: platform}"
ROLE = "arn:aws:iam::111122223333:role/x"
FORK: Env = {
    "BUILDKITE_PULL_REQUEST": "7",
    "BUILDKITE_PULL_REQUEST_REPO": "https://github.com/mallory/storefront.git",
}

# (attack, the rule's `when`, variables of the attacker's job)
JOBS: list[tuple[str, str, Env]] = [
    # Teams that are not verified.
    ("team of a webhook's commit author", TEAM, {"BUILDKITE_SOURCE": "webhook"}),
    ("team of a schedule", TEAM, {"BUILDKITE_SOURCE": "schedule"}),
    ("team of a triggered build", TEAM, {"BUILDKITE_SOURCE": "trigger_job"}),
    ("source in another case", TEAM, {"BUILDKITE_SOURCE": "UI"}),
    ("source with a space", TEAM, {"BUILDKITE_SOURCE": "ui "}),
    ("no source", TEAM, {"BUILDKITE_SOURCE": ""}),
    ("no team", TEAM, {"BUILDKITE_BUILD_CREATOR_TEAMS": ""}),
    ("team with the same beginning", TEAM, {"BUILDKITE_BUILD_CREATOR_TEAMS": "platform-2"}),
    ("team within another", TEAM, {"BUILDKITE_BUILD_CREATOR_TEAMS": "the platform"}),
    ("teams by comma", TEAM, {"BUILDKITE_BUILD_CREATOR_TEAMS": "x,platform"}),
    ("team in another case", TEAM, {"BUILDKITE_BUILD_CREATOR_TEAMS": "Platform"}),
    ("team that is a glob", TEAM, {"BUILDKITE_BUILD_CREATOR_TEAMS": "*"}),
    ("team in homoglyphs", TEAM, {"BUILDKITE_BUILD_CREATOR_TEAMS": "pl\u0430tform"}),
    ("creator's name", "{creator: Grace}", {"BUILDKITE_SOURCE": "webhook",
                                            "BUILDKITE_BUILD_CREATOR": "Grace"}),
    ("creator's e-mail", "{creator-email: '*@acme.com'}",
     {"BUILDKITE_SOURCE": "webhook", "BUILDKITE_BUILD_CREATOR_EMAIL": "x@acme.com"}),
    ("a team that has to be absent", "{creator-team: '!contractors'}",
     {"BUILDKITE_SOURCE": "webhook"}),
    # Branches and tags.
    ("branch named like a glob", "{branch: main}", {"BUILDKITE_BRANCH": "*"}),
    ("branch named like the list", "{branch: [main, dev]}", {"BUILDKITE_BRANCH": "main dev"}),
    ("branch named like a negation", "{branch: main}", {"BUILDKITE_BRANCH": "!main"}),
    ("branch with a newline", "{branch: main}", {"BUILDKITE_BRANCH": "main\nx"}),
    ("branch with spaces", "{branch: main}", {"BUILDKITE_BRANCH": " main"}),
    ("branch in another case", "{branch: main}", {"BUILDKITE_BRANCH": "Main"}),
    ("branch as a full ref", "{branch: main}", {"BUILDKITE_BRANCH": "refs/heads/main"}),
    ("branch in homoglyphs", "{branch: main}", {"BUILDKITE_BRANCH": "m\u0430in"}),
    ("branch with an invisible sign", "{branch: main}", {"BUILDKITE_BRANCH": "main\u200b"}),
    ("branch in another normal form", "{branch: 'caf\u00e9'}", {"BUILDKITE_BRANCH": "cafe\u0301"}),
    ("branch with a NUL-like sign", "{branch: main}", {"BUILDKITE_BRANCH": "main\u2400"}),
    ("branch below the glob", "{branch: 'release/*'}", {"BUILDKITE_BRANCH": "release"}),
    ("branch beside the glob", "{branch: 'release/*'}", {"BUILDKITE_BRANCH": "x/release/1"}),
    ("an excluded branch", "{branch: ['*', '!main']}", {"BUILDKITE_BRANCH": "main"}),
    ("tag named like a branch", "{branch: main}",
     {"BUILDKITE_BRANCH": "v1", "BUILDKITE_TAG": "main"}),
    ("branch named like a tag", "{tag: 'v*'}", {"BUILDKITE_BRANCH": "v1", "BUILDKITE_TAG": ""}),
    ("tag named like the branch", "{branch: main}", {"BUILDKITE_TAG": "main"}),
    ("tag below the branch glob", "{branch: 'release/*'}",
     {"BUILDKITE_BRANCH": "release/1", "BUILDKITE_TAG": "release/1"}),
    ("tag where the rule names forks only", "{pull-request: any}", {"BUILDKITE_TAG": "v1"}),
    ("tag named none", "{tag: none}", {"BUILDKITE_TAG": "none"}),
    ("no tag", "{tag: '*'}", {}),
    ("no tag, negated", "{tag: '!v*'}", {}),
    # Pull requests.
    ("fork with the same branch name", "{branch: main}", FORK),
    ("fork where own branches are admitted", "{pull-request: same-repository}", FORK),
    ("fork that hides its origin", "{pull-request: same-repository}",
     {"BUILDKITE_PULL_REQUEST": "7", "BUILDKITE_PULL_REQUEST_REPO": ""}),
    ("fork with a similar origin", "{pull-request: same-repository}",
     {"BUILDKITE_PULL_REQUEST": "7",
      "BUILDKITE_PULL_REQUEST_REPO": "https://github.com/acme/storefront-.git"}),
    ("fork with our name on another host", "{pull-request: same-repository}",
     {"BUILDKITE_PULL_REQUEST": "7",
      "BUILDKITE_PULL_REQUEST_REPO": "https://github.com.evil.example/acme/storefront.git"}),
    ("fork with our host as user", "{pull-request: same-repository}",
     {"BUILDKITE_PULL_REQUEST": "7",
      "BUILDKITE_PULL_REQUEST_REPO": "https://github.com@evil.example/acme/storefront.git"}),
    ("pull request named False", "{branch: main}", {"BUILDKITE_PULL_REQUEST": "False"}),
    ("pull request without a number", "{branch: main}", {"BUILDKITE_PULL_REQUEST": ""}),
    # Plugins, commands, variables, steps, queues.
    ("plugin of another owner", "{plugin: 'docker#v5.*'}",
     plugins("mallory/docker#v5.1.0")),
    ("plugin beside an allowed one", "{plugin: 'docker#v5.*'}",
     plugins("docker#v5.1.0", "evil#v1")),
    ("plugin without version", "{plugin: 'docker#*'}", plugins("docker")),
    ("plugin of a branch", "{plugin: 'docker#v*'}", plugins("docker#main")),
    ("plugin from a file", "{plugin: 'docker#v5.*'}",
     {"BUILDKITE_PLUGINS": '["file:///tmp/docker#v5.1.0"]'}),
    ("plugins that are no list", "{plugin: '*'}", {"BUILDKITE_PLUGINS": '{"docker#v5": null}'}),
    ("plugin under a short name, which the agent does not know", "{plugin: 'acme/*#v*'}",
     {"BUILDKITE_PLUGINS": '["acme/x#v1"]'}),
    ("plugin outside the owner's", "{plugin: 'github.com/acme/*#v*'}",
     {"BUILDKITE_PLUGINS": '["github.com/acme/../evil/x#v1"]'}),
    ("plugin in a directory of another", "{plugin: 'github.com/acme/*#v*'}",
     {"BUILDKITE_PLUGINS": '["github.com/acme/x/deploy#v1"]'}),
    ("plugin in a query", "{plugin: 'acme/*#v*'}",
     {"BUILDKITE_PLUGINS": '["github.com/acme/storefront?-buildkite-plugin#v9"]'}),
    ("plugin in percents", "{plugin: 'gitlab.com/acme/*#v*'}",
     {"BUILDKITE_PLUGINS": '["gitlab.com/acme/..%2F..%2Fevil#v1"]'}),
    ("plugin by another transport", "{plugin: 'github.com/acme/*#v*'}",
     {"BUILDKITE_PLUGINS": '["http://github.com/acme/x#v1"]'}),
    ("plugin with our host as user", "{plugin: 'github.com/acme/*#v*'}",
     {"BUILDKITE_PLUGINS": '["https://github.com@evil.example/acme/x#v1"]'}),
    ("plugin at any commit, spelled as a version", "{plugin: 'docker#v5.*'}",
     plugins("docker#v5.1.0-1-gdeadbeef")),
    ("plugin that is off the list, in capitals", "{plugin: ['*', '!mallory/*']}",
     {"BUILDKITE_PLUGINS": '["github.com/Mallory/x-buildkite-plugin#v1"]'}),
    ("plugin that is off the list, by ssh", "{plugin: ['*', '!git.example.com/mallory/*']}",
     {"BUILDKITE_PLUGINS": '["ssh://git@git.example.com:2222/mallory/x.git/sub#v1"]'}),
    ("command after an allowed one", "{command: 'make test'}",
     {"BUILDKITE_COMMAND": "make test; curl evil"}),
    ("command on a second line", "{command: 'make test'}",
     {"BUILDKITE_COMMAND": "make test\ncurl evil"}),
    ("variable that is empty", "{env: {MODE: live}}", {"MODE": ""}),
    ("variable that must not be there", "{env: {MODE: absent}}", {"MODE": ""}),
    ("variable with the value absent", "{env: {MODE: live}}", {"MODE": "absent"}),
    ("step named like a glob", "{step: deploy-prod}", {"BUILDKITE_STEP_KEY": "deploy-*"}),
    ("no step key", "{step: '*'}", {"BUILDKITE_STEP_KEY": ""}),
    ("agent tag without its prefix", "{agent-tag: {size: large}}", {"SIZE": "large"}),
    ("agent tag in small letters", "{agent-tag: {size: large}}",
     {"BUILDKITE_AGENT_META_DATA_size": "large"}),
    ("agent tag in small letters beside the agent's own", "{agent-tag: {size: large}}",
     {"BUILDKITE_AGENT_META_DATA_SIZE": "small", "BUILDKITE_AGENT_META_DATA_size": "large"}),
    ("agent tag with one small letter", "{agent-tag: {instance-type: big}}",
     {"BUILDKITE_AGENT_META_DATA_INSTANCE_TYPe": "big"}),
    ("queue in small letters", "{queue: prod}",
     {"BUILDKITE_AGENT_META_DATA_queue": "prod"}),
    ("author's team of a schedule", "{author-team: platform}", {"BUILDKITE_SOURCE": "schedule"}),
    ("author's team of a triggered build", "{author-team: platform}",
     {"BUILDKITE_SOURCE": "trigger_job"}),
    # Where the agent fetches from.
    ("a mirror of another owner", "{}",
     {"BUILDKITE_GIT_REMOTE_MIRROR_URL": "https://github.com/mallory/storefront.git"}),
    ("a mirror that is a helper", "{}", {"BUILDKITE_GIT_REMOTE_MIRROR_URL": "ext::sh -c id"}),
    # Repositories: HEAD's own is checked for every rule.
    ("another repository", "{}", {"BUILDKITE_REPO": "git@github.com:mallory/storefront.git"}),
    ("a local repository", "{}", {"BUILDKITE_REPO": "/var/lib/storefront.git"}),
    ("a repository with options", "{}", {"BUILDKITE_REPO": "--upload-pack=x"}),
    ("a repository by helper", "{}", {"BUILDKITE_REPO": "ext::sh -c id"}),
    ("a repository by helper, with our host", "{}",
     {"BUILDKITE_REPO": "ext::sh -c id@github.com:acme/storefront.git"}),
    ("a repository of a host in front of ours", "{}",
     {"BUILDKITE_REPO": "evil.example:x@github.com:acme/storefront.git"}),
    ("a repository of another account", "{}",
     {"BUILDKITE_REPO": "mallory@github.com:acme/storefront.git"}),
    ("a repository without encryption", "{}",
     {"BUILDKITE_REPO": "git://github.com/acme/storefront.git"}),
    ("a repository by detour", "{}",
     {"BUILDKITE_REPO": "https://github.com/mallory/../acme/storefront.git"}),
    ("a repository in percents", "{}",
     {"BUILDKITE_REPO": "https://github.com/acme/%2e%2e/mallory/storefront.git"}),
    ("a repository with white space", "{}",
     {"BUILDKITE_REPO": "git@github.com:acme/storefront.git "}),
    ("another pipeline's slug in case", "{}", {"BUILDKITE_PIPELINE_SLUG": "Storefront"}),
    ("a slug in homoglyphs", "{}", {"BUILDKITE_PIPELINE_SLUG": "st\u043erefront"}),
]  # fmt: skip

HONEST: dict[str, Env] = {
    "{creator-email: '*@acme.com'}": {"BUILDKITE_BUILD_CREATOR_EMAIL": "x@acme.com"},
    "{creator: Grace}": {"BUILDKITE_BUILD_CREATOR": "Grace"},
    "{branch: 'caf\u00e9'}": {"BUILDKITE_BRANCH": "caf\u00e9"},
    "{branch: 'release/*'}": {"BUILDKITE_BRANCH": "release/1"},
    "{branch: ['*', '!main']}": {"BUILDKITE_BRANCH": "dev"},
    "{tag: 'v*'}": {"BUILDKITE_TAG": "v1"},
    "{tag: '*'}": {"BUILDKITE_TAG": "v1"},
    "{tag: '!v*'}": {"BUILDKITE_TAG": "x"},
    "{plugin: 'docker#v5.*'}": plugins("docker#v5.1.0"),
    "{plugin: 'docker#v*'}": plugins("docker#v5.1.0"),
    "{plugin: 'docker#*'}": plugins("docker#main"),
    "{plugin: '*'}": plugins("docker#main", "acme/x"),
    "{plugin: 'acme/*#v*'}": plugins("acme/x#v1"),
    "{plugin: 'github.com/acme/*#v*'}": plugins("acme/x#v1"),
    "{plugin: 'gitlab.com/acme/*#v*'}": {"BUILDKITE_PLUGINS": '["gitlab.com/acme/x#v1"]'},
    "{plugin: ['*', '!mallory/*']}": plugins("acme/x#v1"),
    "{plugin: ['*', '!git.example.com/mallory/*']}": plugins("acme/x#v1"),
    "{command: 'make test'}": {"BUILDKITE_COMMAND": "make test"},
    "{env: {MODE: live}}": {"MODE": "live"},
    "{step: deploy-prod}": {"BUILDKITE_STEP_KEY": "deploy-prod"},
    "{agent-tag: {size: large}}": {"BUILDKITE_AGENT_META_DATA_SIZE": "large"},
    "{agent-tag: {instance-type: big}}": {"BUILDKITE_AGENT_META_DATA_INSTANCE_TYPE": "big"},
    "{queue: prod}": {"BUILDKITE_AGENT_META_DATA_QUEUE": "prod"},
    "{pull-request: any}": FORK,
}


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
    (f"at most {MAX_TEXT}", HEAD + "#" * MAX_TEXT),
    ("nested deeper than", HEAD + "  - " + "[" * 500),
]


@pytest.mark.parametrize(("mistake", "text"), DOCUMENTS, ids=[row[1][-60:] for row in DOCUMENTS])
def test_ambiguous_policy_document_is_rejected(mistake: str, text: str) -> None:
    with pytest.raises(WrongConfiguration, match=r"^p has") as caught:
        parse(text, "p")
    assert mistake in "\n".join(caught.value.details)


def test_attack_table_rows_are_complete_and_unique() -> None:
    assert len(JOBS) == len({attack for attack, _, _ in JOBS}) == 91
    assert set(HONEST) <= {when for _, when, _ in JOBS}
