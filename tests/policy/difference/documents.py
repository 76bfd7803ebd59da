"""Documents, one change to each, and jobs, for properties: from few words, so that they meet."""

import json
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

from bootstrap.job.assemble import claims_of
from bootstrap.job.claims import agreeing, confirmed
from bootstrap.job.model import Claims, Known, Provenance
from bootstrap.policy.decide import with_commit
from tests.job.given import job_env, plugins

Document = dict[str, Any]

_ARN = "arn:aws:iam::{}:role/ci/{}"
ROLES = [_ARN.format(a, n) for a in ("111122223333", "444455556666") for n in ("deploy", "read")]
REFERENCES = ["ssm:/ci/a", "ssm:/ci/b", "secretsmanager:ci/c#key"]
REPOSITORIES = [
    "git@github.com:acme/storefront.git", "https://github.com/acme/storefront",
    "git@github.com:acme/other.git",
]  # fmt: skip
POLICY = json.dumps({"Version": "2012-10-17", "Statement": []})
KEY = "git.example.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKey"


def some(*values: Any) -> st.SearchStrategy[list[Any]]:
    """One to three of these, in any order."""
    return st.lists(st.sampled_from(values), min_size=1, max_size=3)


def part(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Document]:
    """A part of a document with some of these keys."""
    named = {name.replace("_", "-"): values for name, values in keys.items()}
    return st.fixed_dictionaries({}, optional=named)


def few(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Document]:
    """The same with three keys at most: by more conditions, hardly a job would be admitted."""
    named = {name.replace("_", "-"): values for name, values in keys.items()}
    chosen = st.lists(st.sampled_from(sorted(named)), max_size=3, unique=True)
    return chosen.flatmap(lambda names: st.fixed_dictionaries({n: named[n] for n in names}))


BRANCHES = ("main", "dev", "release/1", "release/*", "*", "!main", "!release/*", "none")
TAGS = ("none", "v1", "v*", "*", "!v1")
TEAMS = ("platform", "web", "!web", "*")
WORDS = ("a", "b", "a*", "!a", "*")
PLUGINS = ("docker#v5.*", "acme/*#v*", "!mallory/*", "*#v1")

when = few(
    branch=some(*BRANCHES),
    tag=some(*TAGS),
    pull_request=st.sampled_from(["no", "same-repository", "any"]),
    creator_team=some(*TEAMS),
    author_team=some(*TEAMS),
    creator=some("Ada", "Bob", "!Bob"),
    source=some("ui", "api", "webhook", "!ui"),
    step=some(*WORDS),
    queue=some(*WORDS),
    command=some(*WORDS),
    plugin=some(*PLUGINS),
    repository=some(*REPOSITORIES),
    commit_on_branch=st.sampled_from(["verified", "verified-or-unknown"]),
    agent_tag=st.fixed_dictionaries({}, optional={"os": some(*WORDS)}),
    env=st.fixed_dictionaries({}, optional={"X": some(*WORDS, "absent")}),
)
session = part(
    duration=st.sampled_from(["15m", "1h", "12h"]),
    tags=st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["1", "2"])),
    external_id=st.sampled_from(["one", "two"]),
    source_identity=st.sampled_from(["job", "none"]),
    policy=st.sampled_from([POLICY, POLICY.replace("[]", '[{"Effect": "Deny"}]')]),
    policy_arns=some("arn:aws:iam::aws:policy/ReadOnlyAccess", "arn:aws:iam::aws:policy/Other"),
    via=st.sampled_from(ROLES),
)
allow = part(
    role=st.sampled_from(ROLES),
    roles=st.dictionaries(st.sampled_from(["audit", "logs"]), st.sampled_from(ROLES)),
    secrets=st.dictionaries(st.sampled_from(["A", "B"]), st.sampled_from(REFERENCES)),
    secret_files=st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(REFERENCES)),
    ssh_keys=some(*REFERENCES),
    git_tokens=st.dictionaries(
        st.sampled_from(["https://git.example.com/a/", "https://git.example.com/b/"]),
        st.sampled_from(REFERENCES),
    ),
    registries=st.dictionaries(
        st.sampled_from(["r.example.com", "s.example.com"]), st.sampled_from(REFERENCES)
    ),
    session=session,
    delivery=st.sampled_from(["endpoint", "env"]),
    known_hosts=some(KEY, KEY.replace("git.", "other.")),
    env=some("NODE_OPTIONS", "NODE_*", "GIT_*"),
    image=st.sampled_from(["ci/node:1", "ci/node:2"]),
    limits=part(
        memory=st.sampled_from(["4GiB", "8GiB"]),
        cpus=st.sampled_from(["1", "2.5"]),
        pids=st.sampled_from(["64", "4096"]),
    ),
    services=st.dictionaries(
        st.sampled_from(["postgres", "redis"]),
        st.fixed_dictionaries(
            {"image": st.sampled_from(["ci/postgres:1", "ci/redis:1"])},
            optional={
                "env": st.sampled_from([{"A": "1"}, {"A": "2"}]),
                "command": st.sampled_from(["a b", ["a b"]]),
                "user": st.sampled_from(["a", "b"]),
                "limits": st.sampled_from([{"memory": "2GiB"}, {"cpus": "2"}, {"pids": "64"}]),
            },
        ),
    ),
    workspace=st.sampled_from(["reuse", "fresh"]),
    builds=st.just("buildkit"),
    agent_api=part(
        oidc_audiences=some("sts.example.com", "other.example.com"),
        secrets=some("A", "B"),
        calls=some("meta-data", "artifacts", "pipeline-upload"),
    ),
    egress=part(
        hosts=some("git.example.com", "*.example.org"),
        cidrs=some("203.0.113.0/24", "198.51.100.0/24"),
        private=some("10.1.0.0/16", "10.2.0.0/16"),
    ),
)
rules = st.lists(st.fixed_dictionaries({"when": when, "allow": allow}), min_size=1, max_size=4).map(
    lambda made: [{"name": f"r{i}", **rule} for i, rule in enumerate(made)]
)
policies = st.fixed_dictionaries(
    {"pipeline": st.just("storefront"), "repository": some(*REPOSITORIES[:2]), "rules": rules}
)
conditions = few(
    branch=some(*BRANCHES),
    tag=some(*TAGS),
    pull_request=st.sampled_from(["no", "any"]),
    creator_team=some(*TEAMS),
    step=some(*WORDS),
    commit_on_branch=st.sampled_from(["verified", "verified-or-unknown"]),
)
PATTERNS = ("*/deploy", "*/read", "*")
requires = st.lists(
    st.builds(
        lambda roles, grade, when: {"roles": roles, **grade, **when},
        some(*PATTERNS), st.sampled_from([{}, {"vouched": "yes"}, {"signed": "yes"}]), conditions,
    ),
    max_size=2,
).map(lambda made: [{"name": f"q{i}", **one} for i, one in enumerate(made)])  # fmt: skip
scopes = st.lists(
    st.builds(
        lambda pipelines, more: {"pipelines": pipelines, **more},
        some("storefront", "store*", "other"),
        part(roles=some(*PATTERNS), session=st.sampled_from(["15m", "2h"]), plugins=some(*PLUGINS),
             forks=st.sampled_from(["nothing", "anything"])),
    ),
    max_size=2,
).map(lambda made: [{"name": f"s{i}", **one} for i, one in enumerate(made)])  # fmt: skip
guardrails = st.none() | part(
    scopes=scopes,
    requires=requires,
    accounts=some("111122223333", "444455556666"),
    roles=some("*", "*/deploy", "!*/read"),
    images=some("ci/*", "ci/node:1", "!ci/node:2"),
    secrets=some("*", "ssm:*", "!ssm:/ci/a"),
    plugins=some(*PLUGINS),
    session=st.sampled_from(["15m", "2h"]),
    builds=st.sampled_from([[], ["buildkit"]]),
    limits=part(memory=st.sampled_from(["4GiB"]), pids=st.sampled_from(["64"])),
    forks=st.sampled_from(["refuse", "nothing", "anything"]),
).map(lambda made: {"guardrails": "acme", **made})


demanding = st.fixed_dictionaries(
    {"guardrails": st.just("acme"), "requires": requires.filter(bool)}
)


@st.composite
def versions(
    draw: st.DrawFn, rails: st.SearchStrategy[Document | None] = guardrails
) -> tuple[list[Document | None], list[Document | None]]:
    """Policy and guardrails, and the same after one change of one of them."""
    old = [draw(policies), draw(rails)]
    new = deepcopy(old)
    draw(st.sampled_from([_of_rule, _of_rule, _of_policy, _of_policy, _of_rails]))(draw, new)
    return old, new


def _of_rule(draw: st.DrawFn, new: list[Document | None]) -> None:
    assert new[0] is not None
    rule = draw(st.sampled_from(new[0]["rules"]))
    name, values = draw(st.sampled_from([("when", when), ("allow", allow)]))
    replaced = draw(values)
    for key in draw(st.sets(st.sampled_from([*replaced, *rule[name], "-"]), max_size=2)):
        rule[name].pop(key, None)
        if key in replaced:
            rule[name][key] = replaced[key]


def _of_policy(draw: st.DrawFn, new: list[Document | None]) -> None:
    assert new[0] is not None
    listed = new[0]["rules"]
    match draw(st.sampled_from(["order", "fewer", "more", "name", "repository", "none"])):
        case "order":
            new[0]["rules"] = draw(st.permutations(listed))
        case "fewer" if len(listed) > 1:
            listed.remove(draw(st.sampled_from(listed)))
        case "more":
            added = {"name": "added", "when": draw(when), "allow": draw(allow)}
            listed.insert(draw(st.integers(0, len(listed))), added)
        case "name":
            draw(st.sampled_from(listed))["name"] = "renamed"
        case "repository":
            new[0]["repository"] = draw(some(*REPOSITORIES))
        case _:
            new[0] = None


def _of_rails(draw: st.DrawFn, new: list[Document | None]) -> None:
    new[1] = draw(guardrails)


@st.composite
def jobs(draw: st.DrawFn) -> Claims:
    """A job whose values are those that the documents name, or some other."""

    def one(*values: str) -> str:
        return draw(st.sampled_from([*values, "elsewhere"]))

    optional = {
        "BUILDKITE_TAG": one("", "", "v1", "v2", "none"),
        "BUILDKITE_AGENT_META_DATA_OS": one("", "a", "b"),
    }
    env = job_env(
        BUILDKITE_BRANCH=one("main", "dev", "release/1", "release/2", "none"),
        BUILDKITE_SOURCE=draw(st.sampled_from(["ui", "ui", "api", "webhook", "schedule"])),
        BUILDKITE_STEP_KEY=one("a", "b", "ab"),
        BUILDKITE_AGENT_META_DATA_QUEUE=one("a", "b", "ab"),
        BUILDKITE_COMMAND=one("a", "b", "ab"),
        BUILDKITE_BUILD_CREATOR=one("Ada", "Bob"),
        BUILDKITE_BUILD_CREATOR_TEAMS=one("platform", "web", "platform:web"),
        BUILDKITE_REPO=draw(st.sampled_from([REPOSITORIES[0]] * 3 + REPOSITORIES)),
        **draw(st.sampled_from([{}, {"X": "a"}, {"X": "b"}, {"X": ""}])),
        **{name: value for name, value in optional.items() if value},
        **_pull_request(draw),
        **draw(st.sampled_from([{}, plugins("docker#v5.1"), plugins("mallory/x#v1")])),
    )
    answer = draw(st.sampled_from(["verified", "elsewhere", "unknown", ""]))
    claims = claims_of(env, {})
    if draw(st.booleans()):
        claims = confirmed(claims, agreeing(claims, ["os"]), ["os"])
    if not answer:
        return claims
    return with_commit(claims, Known(value=answer, provenance=Provenance.HOST))


def _pull_request(draw: st.DrawFn) -> dict[str, str]:
    origin = draw(st.sampled_from(["", "", REPOSITORIES[0], "git@github.com:mallory/x.git"]))
    if not origin:
        return {"BUILDKITE_PULL_REQUEST": "false"}
    return {"BUILDKITE_PULL_REQUEST": "7", "BUILDKITE_PULL_REQUEST_REPO": origin}
