"""parse(dump(policy)) is the identity."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from bootstrap.policy.dump import dump
from bootstrap.policy.model import (
    NO_TAG,
    Condition,
    CredentialDelivery,
    Grant,
    Limits,
    Policy,
    Rule,
    Workspace,
)
from bootstrap.policy.parse import parse
from tests.policy.given import policy
from tests.policy.test_parse import EVERYTHING

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
# What YAML would like to be something else.
TRICKY = st.sampled_from(["yes", "null", "~", "1e3", "0x1", "2026-01-01", "*", "!x", "- a", "#"])
PATTERNS = st.lists(TEXT | TRICKY, min_size=1, max_size=3).map(tuple)
NAMES = st.from_regex(r"[A-Z_]{1,8}", fullmatch=True)
ROLES = st.from_regex(r"arn:aws:iam::[0-9]{12}:role/[a-z/]{1,12}[a-z]", fullmatch=True)
REFERENCES = st.from_regex(r"ssm:/[a-z]{1,8}", fullmatch=True)


def conditions(pull_request: str, plain: dict[str, tuple[str, ...]],
               env: dict[str, tuple[str, ...]]) -> tuple[Condition, ...]:  # fmt: skip
    plain = {"tag": (NO_TAG,), **plain}
    return (
        *(Condition(subject=key, patterns=value, line=0) for key, value in plain.items()),
        Condition(subject="pull-request", patterns=(pull_request,), line=0),
        *(Condition(subject="env", name=n, patterns=value, line=0) for n, value in env.items()),
    )


PLUGINS = st.lists(
    st.from_regex(r"!?[a-z*]{1,6}(/[a-z*]{1,6})?(#v?[0-9*]{1,3})?", fullmatch=True).filter(
        lambda pattern: "**" not in pattern
    ),
    min_size=1,
    max_size=3,
).map(tuple)

WHEN = st.builds(
    conditions,
    st.sampled_from(["no", "same-repository", "any"]),
    st.dictionaries(st.sampled_from(["branch", "tag", "queue", "creator-team"]), PATTERNS,
                    max_size=3)
    | st.fixed_dictionaries({"plugin": PLUGINS}),
    st.dictionaries(NAMES, PATTERNS, max_size=2),
)  # fmt: skip
GRANTS = st.builds(
    Grant,
    role=st.none() | ROLES,
    roles=st.dictionaries(st.from_regex(r"[a-z]{1,6}", fullmatch=True), ROLES, max_size=2),
    duration=st.integers(900, 43200).map(lambda seconds: timedelta(seconds=seconds)),
    tags=st.dictionaries(TEXT, TEXT | st.just(""), max_size=2),
    external_id=st.none() | st.just("partner-7"),
    source_identity=st.booleans(),
    session_policy=st.none() | st.just('{"Statement": []}'),
    policy_arns=st.lists(st.just("arn:aws:iam::aws:policy/x"), max_size=1).map(tuple),
    via=st.none() | ROLES,
    delivery=st.sampled_from(CredentialDelivery),
    secrets=st.dictionaries(NAMES, REFERENCES, max_size=2),
    secret_files=st.dictionaries(
        st.from_regex(r"[a-z]{1,6}", fullmatch=True), REFERENCES, max_size=2
    ),
    git_tokens=st.dictionaries(st.just("https://github.com/acme/"), REFERENCES, max_size=1),
    ssh_keys=st.lists(REFERENCES, max_size=2).map(tuple),
    env=st.lists(st.sampled_from(["NODE_OPTIONS", "GIT_*", "*"]), max_size=2).map(tuple),
    image=st.none() | st.from_regex(r"[a-z]{1,5}/[a-z]{1,5}:[0-9]", fullmatch=True),
    limits=st.builds(
        Limits,
        memory=st.none() | st.integers(1, 900).map(lambda mebibytes: mebibytes << 20),
        cpus=st.none() | st.floats(0.01, 64),
        pids=st.none() | st.integers(64, 1 << 20),
    ),
    workspace=st.sampled_from(Workspace),
)
RULES = st.lists(
    st.builds(Rule, name=TEXT, when=WHEN, allow=GRANTS, line=st.just(0)),
    min_size=1,
    max_size=3,
    unique_by=lambda rule: rule.name,
).map(tuple)


def placeless(of: Policy) -> Policy:
    """Apart from where it stands."""
    rules = tuple(
        replace(
            rule,
            line=0,
            when=tuple(sorted((replace(c, line=0) for c in rule.when), key=repr)),
        )
        for rule in of.rules
    )
    return replace(of, rules=rules, origin="", digest="")


@given(RULES)
def test_what_is_dumped_reads_as_it_was(rules: tuple[Rule, ...]) -> None:
    made = Policy(
        pipeline="storefront",
        repositories=("git@github.com:acme/storefront.git",),
        rules=rules,
        origin="",
        digest="",
    )
    assert placeless(parse(dump(made), "dumped")) == placeless(made)


def test_the_longest_document_there_is() -> None:
    made = policy(EVERYTHING)
    assert placeless(parse(dump(made), "dumped")) == placeless(made)
