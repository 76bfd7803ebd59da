"""Conditions of rules: branches, tags, commits, creators, pull requests."""

from tests.policy.oracle.pairs import FORK, INVALID, OWN, REFUSED, TAG, Pair, named, when

SHA = "3c44caebd2fcfca65b567fe290a1e31485d54f5b"
OTHER = "0123456789abcdef0123456789abcdef01234567"


def branch(name: str) -> dict[str, str]:
    return {"BUILDKITE_BRANCH": name}


BRANCHES = [
    when("{}", {}, "only", "a rule without conditions is for builds of branches"),
    when("{branch: main}", {}, "only", "the branch is main"),
    when("{branch: main}", branch("dev"), REFUSED, "the branch is not main"),
    when("{branch: [main, dev]}", branch("dev"), "only", "a list means any of"),
    when("{branch: 'release/*'}", branch("release/1/2"), "only", "`*` is any run of characters"),
    when("{branch: 'release/*'}", branch("release"), REFUSED, "the slash is missing"),
    when("{branch: '*'}", branch("a/b"), "only", "`*` is any run of characters"),
    when("{branch: '*'}", branch(""), REFUSED, "a job without a branch has none that could match"),
    when("{branch: '!main'}", branch("dev"), "only", "`!` negates"),
    when("{branch: '!main'}", branch("main"), REFUSED, "`!` negates"),
    when("{branch: '!main'}", branch(""), REFUSED, "what is absent holds nowhere, negated or not"),
    when("{branch: ['!main', '!dev']}", branch("dev"), REFUSED, "each negation excludes"),
    when("{branch: ['!main', '!dev']}", branch("x"), "only", "negations alone admit the rest"),
    when("{branch: ['release/*', '!release/old']}", branch("release/old"), REFUSED, "excluded"),
    when("{branch: ['release/*', '!release/old']}", branch("release/2"), "only", "not excluded"),
    when("{branch: ['release/*', '!release/old']}", branch("dev"), REFUSED,
         "negations beside other patterns admit nothing of their own"),
    when("{branch: 'm?in'}", branch("main"), REFUSED, "only `*` and `!` are special"),
    when("{branch: 'mai[n]'}", branch("main"), REFUSED, "only `*` and `!` are special"),
    when("{branch: 'main|dev'}", branch("dev"), REFUSED, "there are no regular expressions"),
    when("{branch: Main}", branch("main"), REFUSED, "git distinguishes case"),
    when("{branch: main}", branch("refs/heads/main"), REFUSED, "another spelling is not admitted"),
    when("{branch: '*'}", branch("refs/heads/main"), REFUSED,
         "git reads it as main or as a branch of this long name: what could mean two things"),
    when("{branch: '*'}", branch("refs/pull/7/head"), REFUSED,
         "git would fetch a pull request, which is not a branch"),
    when("{branch: '!main'}", branch("refs/heads/main"), REFUSED, "git would fetch main"),
    when("{branch: '!main'}", branch("Main"), REFUSED, "a negation excludes every case"),
    when("{branch: '!main'}", branch("main/"), REFUSED, "git would drop the slash"),
    when("{branch: '!main'}", branch("main\u200b"), REFUSED, "looks like main"),
    when("{branch: '!main'}", branch("\uff4dain"), REFUSED, "main in another Unicode form"),
    when("{branch: '!caf\u00e9'}", branch("cafe\u0301"), REFUSED, "the same text, decomposed"),
    when("{branch: '!cafe\u0301'}", branch("caf\u00e9"), REFUSED, "the same text, composed"),
    when("{branch: '!release/*'}", branch("Release/1"), REFUSED, "a negation excludes every case"),
    when("{branch: '!main'}", branch("maintenance"), "only", "another name, not another spelling"),
    when("{branch: main, queue: deploy}", named(agent_meta_data_queue="x"), REFUSED, "all must"),
    when("{branch: main, queue: deploy}", {}, "only", "all hold"),
    when("{branch: ''}", {}, INVALID, "no job has an empty branch"),
    when("{branch: '!'}", {}, INVALID, "negates nothing"),
    when("{branch: []}", {}, INVALID, "a list of nothing can never hold"),
    when("{brnach: main}", {}, INVALID, "unknown keys are errors"),
]  # fmt: skip

TAGS = [
    when("{}", TAG, REFUSED, "a rule without `tag` is not for tags"),
    when("{branch: '*'}", TAG, REFUSED, "a rule without `tag` is not for tags"),
    when("{tag: none}", {}, "only", "the build of a branch has no tag"),
    when("{tag: none}", TAG, REFUSED, "it has a tag"),
    when("{tag: none}", named(tag="none"), REFUSED, "a tag named none is a tag"),
    when("{tag: none}", named(tag=""), "only", "an empty tag is no tag"),
    when("{tag: 'v*'}", TAG, "only", "the tag matches"),
    when("{tag: 'v*'}", {}, REFUSED, "the build of a branch has no tag"),
    when("{tag: '*'}", {}, REFUSED, "`*` is for all tags, not for branches"),
    when("{tag: [none, 'v*']}", {}, "only", "for builds of branches too"),
    when("{tag: [none, 'v*']}", TAG, "only", "for these tags"),
    when("{tag: [none, 'v*']}", named(tag="x"), REFUSED, "not for other tags"),
    when("{tag: '!v*'}", {}, REFUSED, "what is absent holds nowhere, negated or not"),
    when("{tag: '!v*'}", named(tag="V1"), REFUSED, "a negation excludes every case"),
    when("{tag: '!v*'}", named(tag="refs/tags/v1"), REFUSED, "git would fetch v1"),
    when("{tag: '*'}", named(tag="refs/tags/v1"), REFUSED, "it could mean two things"),
    when("{tag: '!none'}", TAG, INVALID, "`*` is any tag"),
    when("{tag: 'v*', branch: main}", TAG, REFUSED, "the branch of a tag's build is the tag"),
    when("{tag: 'v*', branch: 'v*'}", TAG, "only", "the branch of a tag's build is the tag"),
]  # fmt: skip

COMMITS = [
    when(f"{{commit: {SHA}}}", {}, "only", "the commit"),
    when("{commit: '3c44*'}", {}, "only", "globs as everywhere"),
    when(f"{{commit: {SHA.upper()}}}", {}, "only", "hexadecimal digits have no case"),
    when(f"{{commit: {SHA}}}", named(commit=SHA.upper()), "only", "digits have no case"),
    when(f"{{commit: {OTHER}}}", {}, REFUSED, "another commit"),
    when(f"{{commit: '!{OTHER}'}}", {}, "only", "not excluded"),
    when(f"{{commit: '!{SHA}'}}", named(commit=SHA.upper()), REFUSED, "the same commit"),
    when(f"{{commit: '!{SHA}'}}", named(commit=SHA[:10]), REFUSED, "may be the same, shortened"),
    when(f"{{commit: '!{SHA}'}}", named(commit="HEAD"), REFUSED, "nobody knows which it will be"),
    when("{commit: HEAD}", named(commit="HEAD"), "only", "what the build claims"),
]  # fmt: skip

PEOPLE = [
    when("{creator-team: platform}", {}, "only", "a build from the UI"),
    when("{creator-team: platform}", named(source="api"), "only", "a build through the API"),
    when("{creator-team: platform}", named(source="webhook"), REFUSED, "an unverified address"),
    when("{creator-team: platform}", named(source="schedule"), REFUSED, "nobody started it"),
    when("{creator-team: platform}", named(source="trigger_job"), REFUSED, "another build did"),
    when("{creator-team: '!contractors'}", {}, "only", "in none of the excluded teams"),
    when("{creator-team: '!contractors'}", named(build_creator_teams="platform:contractors"),
         REFUSED, "none of the teams may be an excluded one"),
    when("{creator-team: [platform, '!contractors']}",
         named(build_creator_teams="platform:contractors"), REFUSED, "excluded"),
    when("{creator-team: '!Contractors'}", named(build_creator_teams="contractors"), REFUSED,
         "a negation excludes every case"),
    when("{creator-team: '!contractors'}", named(build_creator_teams=""), REFUSED, "no teams"),
    when("{creator-team: Platform}", {}, REFUSED, "slugs are compared as they are"),
    when("{author-team: platform}", named(source="webhook"), "only", "the weaker claim"),
    when("{unblocker-team: platform}", named(unblocker_teams="platform"), REFUSED, "never holds"),
    when("{unblocker-team: '!x'}", named(unblocker_teams="platform"), REFUSED, "never holds"),
    when("{creator: Ada}", {}, "only", "from the UI"),
    when("{creator-email: '*@example.com'}", {}, "only", "from the UI"),
    when("{creator-email: '!*@evil.example'}",
         named(build_creator_email="x@EVIL.example"), REFUSED, "domains have no case"),
]  # fmt: skip

PULL_REQUESTS = [
    when("{}", OWN, REFUSED, "a rule without `pull-request` means no"),
    when("{pull-request: no}", OWN, REFUSED, "it is one"),
    when("{pull-request: no}", {}, "only", "it is not one"),
    when("{pull-request: same-repository}", {}, "only", "also builds that are no pull request"),
    when("{pull-request: same-repository}", OWN, "only", "from the repository itself"),
    when("{pull-request: same-repository}", FORK, REFUSED, "from another repository"),
    when("{pull-request: same-repository}",
         {**OWN, "BUILDKITE_PULL_REQUEST_REPO": "https://github.com/acme/storefront"}, "only",
         "host and path are compared"),
    when("{pull-request: same-repository}", {**OWN, "BUILDKITE_PULL_REQUEST_REPO": ""}, REFUSED,
         "what cannot be distinguished from a fork is treated as one"),
    when("{pull-request: same-repository}", {**OWN, "BUILDKITE_PULL_REQUEST": ""}, REFUSED,
         "neither a number nor `false`"),
    when("{pull-request: any}", {}, "only", "also builds that are no pull request"),
    when("{pull-request: any}", OWN, "only", "any"),
    when("{pull-request: any}", FORK, "only", "any"),
    when("{pull-request: any}", {**FORK, **TAG}, REFUSED, "a rule without `tag` is not for tags"),
    when("{pull-request: fork}", FORK, INVALID, "not a value"),
    Pair(rules="  - {name: only, when: {pull-request: same-repository}, allow: {}}\n",
         env={**OWN, "BUILDKITE_PULL_REQUEST_REPO": "git://github.com/acme/docs.git"},
         repositories="[git@github.com:acme/storefront.git, git@github.com:acme/docs.git]",
         expected=REFUSED, because="the same repository is the job's, not another of the policy's"),
]  # fmt: skip

ROWS = [*BRANCHES, *TAGS, *COMMITS, *PEOPLE, *PULL_REQUESTS]
