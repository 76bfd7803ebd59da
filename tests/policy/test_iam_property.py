"""For generated policies: a role can be assumed by exactly the jobs to which a rule grants it.

Exactly, as far as rules are about pipelines, branches and tags: a negation, or a branch beside a
tag or of other characters than session tags have, is generated in the last rule alone, because IAM
cannot take such a rule's jobs from a later one (docs/aws.md#trust-policies).
"""

import json
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bootstrap.aws.model import SessionRequest
from bootstrap.credentials.plan import plans
from bootstrap.errors import WrongConfiguration
from bootstrap.grants.kind import DEFAULT
from bootstrap.job.model import Claims
from bootstrap.policy.decide import decide
from bootstrap.policy.iam import quotas
from bootstrap.policy.iam.model import Trust
from bootstrap.policy.model import Admitted, Grant, Policy
from tests.fakes.sts_authorization import Fleet
from tests.policy.fleet import document, fleet, job, made, token
from tests.policy.samples import HOST

ROLES = [f"arn:aws:iam::{n}11122223333:role/ci/role-{n}" for n in (1, 2)]
HUB = "arn:aws:iam::999988887777:role/hub"
SLUGS = ("shop", "docs", "web.site")
BRANCHES = ("main", "release/1", "x-rc", "main-rc", "feat/$x", "feat/ax", "a#b")
TAGS = ("v1", "w1", "main")
GLOBS = ("main", "release/*", "*-rc", "feat/?x", "feat/$x", "*", "v*")
ALTERED = "a#*"  # no session tag has such a branch as it is, so it cannot be negated

SESSIONS = st.fixed_dictionaries(
    {},
    optional={
        "external-id": st.sampled_from(["partner-1", "partner-2"]),
        "source-identity": st.just("none"),
        "duration": st.sampled_from(["15m", "1h", "4h"]),
    },
)
WAYS = st.sampled_from(["host", "host", "via", "token", "token-via"])


def rules(*, last: bool) -> st.SearchStrategy[str]:
    known = (*GLOBS, ALTERED) if last else GLOBS
    globs = st.lists(st.sampled_from(known), min_size=1, max_size=3, unique=True)
    negated = globs.map(lambda listed: [*listed, "!main"]) if last else globs
    tags = st.sampled_from([["v*"], ["none", "v*"], ["*"], ["main"]])
    branch_only = st.builds(lambda branch: {"branch": branch}, negated)
    tag_only = st.builds(lambda tag: {"tag": tag}, tags)
    both = st.builds(lambda branch, tag: {"branch": branch, "tag": tag}, negated, tags)
    whens = st.one_of(st.just({}), branch_only, tag_only, *([both] if last else []))
    return st.builds(written, whens, st.sampled_from(ROLES), SESSIONS, WAYS)


def written(when: dict[str, Any], role: str, session: dict[str, str], way: str) -> str:
    settings = dict(session) if way != "token" else {}
    if way.startswith("token") and not {"branch", "tag"} <= set(when):  # a token has one of them
        settings["identity"] = "buildkite"
    if way.endswith("via"):  # what a token assumes is one pipeline's alone
        settings["via"] = f"{HUB}-SLUG" if way.startswith("token") else HUB
    return f"when: {json.dumps(when)}, allow: {json.dumps({'role': role, 'session': settings})}"


def numbered(texts: list[str]) -> str:
    return "".join(f"  - {{name: rule-{n}, {text}}}\n" for n, text in enumerate(texts))


POLICIES = st.lists(
    st.tuples(st.lists(rules(last=False), max_size=2), rules(last=True)), min_size=1, max_size=3
).map(
    lambda drawn: [
        document(slug, numbered([*first, last]).replace("SLUG", slug))
        for slug, (first, last) in zip(SLUGS, drawn, strict=False)
    ]
)


@cache
def jobs(pipeline: str) -> list[Claims]:
    builds = [*({"branch": b} for b in BRANCHES), *({"tag": t} for t in TAGS)]
    return [job(pipeline=pipeline, **build) for build in builds]


def is_granted(grant: Grant, by: Grant | None) -> bool:
    """Return whether a job that gets `by` may ask for a session as `grant` describes it."""
    return (
        by is not None
        and by.role == grant.role
        and by.via == grant.via
        and (by.via is not None or by.web_identity == grant.web_identity)
        and by.external_id in {None, grant.external_id}
        and grant.source_identity == by.source_identity
    )


def names_itself_beside(grant: Grant, by: Grant | None) -> bool:
    """A job whose own rule sends no source identity need not be allowed to send one."""
    return by is not None and grant.source_identity and not by.source_identity


def trusted(aws: Fleet, asked: SessionRequest, claims: Claims) -> bool:
    """Return whether the last call is trusted."""
    caller = asked.via.role if asked.via else HOST
    return aws.trusts(asked, caller=caller, token=token(claims) if asked.subject else None)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(policies=POLICIES)
def test_a_role_is_assumed_by_exactly_the_jobs_to_which_a_rule_grants_it(
    policies: list[Policy],
) -> None:
    found = made(*policies, trust_quota=quotas.RAISED_TRUST)
    aws = fleet(found)
    grants = [rule.allow for policy in policies for rule in policy.rules]
    for policy, claims in ((p, each) for p in policies for each in jobs(p.pipeline)):
        decision = decide(claims, policy)
        got = decision.grant if isinstance(decision, Admitted) else None
        if got:
            (own,) = plans(claims, got, rule="rule-0").values()
            assert aws.refusal(own, caller=HOST, token=token(claims)) is None
        for grant in grants:
            asked = plans(claims, grant, rule="rule-0")[DEFAULT]
            # A role that is not there is one whose rules no job reaches.
            if asked.role in aws.trust and not names_itself_beside(grant, got):
                assert trusted(aws, asked, claims) == is_granted(grant, got), asked
        for size in found.sizes:
            assert size.characters <= size.quota, size


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(policies=POLICIES)
def test_no_job_of_another_pipeline_takes_a_role(policies: list[Policy]) -> None:
    """Whatever branch or tag it claims."""
    aws = fleet(made(*policies, trust_quota=quotas.RAISED_TRUST))
    for policy in policies:
        for rule in policy.rules:
            asked = plans(job(), rule.allow, rule=rule.name)[DEFAULT]
            other = replace(
                asked, tags={**asked.tags, "buildkite:pipeline": "other"} if asked.tags else {}
            )
            claims = job(pipeline="other")
            assert asked.role not in aws.trust or not trusted(aws, other, claims)


SEGMENTS = st.sampled_from(["ci", "pipelines", "shop", "docs", "xpipelines"])


@settings(max_examples=60, deadline=None)
@given(path=st.lists(SEGMENTS, max_size=5))
def test_an_own_role_is_for_its_pipeline_alone_wherever_its_path_is(path: list[str]) -> None:
    role = f"arn:aws:iam::111122223333:role/{'/'.join([*path, 'x'])}"
    owners = [path[n + 1] for n, each in enumerate(path[:-1]) if each == "pipelines"]
    rules = f"  - {{name: a, when: {{branch: main}}, allow: {{role: '{role}'}}}}\n"
    for slug in ("shop", "docs"):
        policy = document(slug, rules)
        if owners and slug != owners[-1]:
            with pytest.raises(WrongConfiguration, match="by its path the own role of"):
                made(policy, trust=Trust.TAGS)
            continue
        aws = fleet(made(policy, trust=Trust.TAGS))
        asked = plans(job(pipeline=slug), policy.rules[0].allow, rule="a")[DEFAULT]
        assert aws.refusal(asked, caller=HOST) is None
        other = replace(asked, tags={**asked.tags, "buildkite:pipeline": "other"})
        assert aws.trusts(other, caller=HOST) == (not owners)
        assert (aws.refusal(other, caller=HOST) is None) == (not owners)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    pipelines=st.integers(1, 120),
    roles=st.integers(1, 120),
    accounts=st.integers(1, 3),
    secrets=st.integers(0, 4),
    trust=st.sampled_from(list(Trust)),
)
def test_every_document_is_below_its_quota_or_the_error_names_a_pipeline(
    pipelines: int, roles: int, accounts: int, secrets: int, trust: Trust
) -> None:
    listed = [large(n, roles=roles, accounts=accounts, secrets=secrets) for n in range(pipelines)]
    try:
        found = made(*listed, trust=trust)
    except WrongConfiguration as refused:
        assert "pipeline-" in refused.problem
        assert "alone needs" in refused.problem
        assert "docs/aws.md#a-catalogue-of-roles" in refused.hint
    else:
        assert found.sizes
        assert all(size.characters <= size.quota for size in found.sizes)
        assert len(found.host) <= quotas.MANAGED_OF_A_ROLE
        named = {p.rules[0].allow.role for p in listed}
        allowed = [r for d in found.host for s in d["Statement"] if s["Sid"] == "AirlockSessions"
                   for r in s["Resource"]]  # fmt: skip
        assert set(allowed) == named
        assert len(allowed) == len(named)


def large(number: int, *, roles: int, accounts: int, secrets: int) -> Policy:
    role = number % roles
    path = f"ci/{'a-long-path/' * 10}deploy-of-team-{role}"
    arn = f"arn:aws:iam::{111100000000 + role % accounts}:role/{path}"
    names = "".join(f"S{n}: 'ssm:/{path}/{number}/secret-{n}', " for n in range(secrets))
    allow = f"{{role: '{arn}', secrets: {{{names}}}}}"
    return document(
        f"pipeline-{number}", f"  - {{name: a, when: {{branch: main}}, allow: {allow}}}\n"
    )


def test_the_error_names_the_pipeline_that_needs_most() -> None:
    long = ", ".join(f"'release/a-branch-with-a-long-name-{n}/*'" for n in range(60))
    wide = document(
        "wide", f"  - {{name: a, when: {{branch: [{long}]}}, allow: {{role: '{ROLES[0]}'}}}}\n"
    )
    thin = document(
        "thin", f"  - {{name: a, when: {{branch: main}}, allow: {{role: '{ROLES[0]}'}}}}\n"
    )
    with pytest.raises(WrongConfiguration) as refused:
        made(thin, wide)
    assert f"the trust policy of {ROLES[0]} has " in refused.value.problem
    assert "expected at most 2048: wide alone needs " in refused.value.problem
    assert "--trust tags" in refused.value.hint
    assert made(thin, wide, trust_quota=4096).sizes
