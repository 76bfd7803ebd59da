"""Which sessions AWS issues under the generated documents: those that rules grant, and no others.

The documents are evaluated as AWS documents it (tests/fakes). What is refused is asked of the trust
policy alone, because within one account a trust policy that names the caller is enough.
"""

from dataclasses import replace
from datetime import timedelta

import pytest

from bootstrap.policy.iam.model import HostNeeds, Iam, Trust
from bootstrap.policy.iam.stack import as_json
from tests.fakes.iam_evaluation import Request, denies
from tests.fakes.sts_authorization import forged
from tests.policy.fleet import asked, document, fleet, job, made, request
from tests.policy.samples import HOST, OTHER, ROLE

HUB = "arn:aws:iam::444455556666:role/hub"
OWN = "arn:aws:iam::111122223333:role/ci/pipelines/{0}/{0}-deploy"
SHARED = "arn:aws:iam::111122223333:role/ci/build"


def rule(when: str, role: str = ROLE, name: str = "deploy", more: str = "") -> str:
    return f"  - {{name: {name}, when: {{{when}}}, allow: {{role: '{role}'{more}}}}}\n"


STORE = document("storefront", rule("branch: [main, 'release/*']"))
DOCS = document("docs", rule("branch: published"))


def test_the_request_of_a_granted_job_is_allowed() -> None:
    for claims in (job(), job(branch="release/1"), job(pipeline="docs", branch="published")):
        wanted = asked(claims, STORE, DOCS)
        assert fleet(made(STORE, DOCS)).refusal(wanted, caller=HOST) is None


@pytest.mark.parametrize(
    "tags",
    [
        {"pipeline": "docs"},  # the role is granted to docs, but not on this branch
        {"pipeline": "elsewhere"},
        {"pipeline": None},
        {"branch": "published"},  # of another pipeline
        {"branch": "hotfix"},
        {"branch": None},
        {"branch": "release"},
        {"branch": "MAIN"},
        {"tag": "main"},  # the build of a tag that has the branch's name
        {"pipeline": None, "branch": None, "organization": None},
    ],
)
def test_a_request_with_other_tags_is_refused(tags: dict[str, str | None]) -> None:
    wanted = forged(asked(job(), STORE, DOCS), **tags)
    aws = fleet(made(STORE, DOCS))
    assert not aws.trusts(wanted, caller=HOST)
    assert aws.refusal(wanted, caller=HOST)


def test_a_request_without_tags_or_source_identity_or_from_another_role_is_refused() -> None:
    wanted, aws = asked(job(), STORE), fleet(made(STORE))
    assert aws.trusts(wanted, caller=HOST)
    assert not aws.trusts(replace(wanted, tags={}), caller=HOST)
    assert not aws.trusts(replace(wanted, source_identity=None), caller=HOST)
    assert not aws.trusts(wanted, caller=ROLE)
    assert not aws.trusts(wanted, caller=f"{HOST}-2")


def test_a_longer_session_than_rules_ask_for_is_refused() -> None:
    long = document("storefront", rule("branch: main", more=", session: {duration: 4h}"))
    aws = fleet(made(long))
    wanted = asked(job(), long)
    assert wanted.duration == timedelta(hours=4)
    assert aws.refusal(wanted, caller=HOST) is None
    more = replace(wanted, duration=timedelta(hours=5))
    assert "is more than 4:00:00" in str(aws.refusal(more, caller=HOST))


@pytest.mark.parametrize(
    ("when", "granted", "refused"),
    [
        ("tag: 'v*'", [{"tag": "v1"}], [{}, {"tag": "w1"}, {"branch": "v1"}]),
        ("tag: '*'", [{"tag": "v1"}], [{}, {"branch": "v1"}]),
        ("tag: [none, 'v*']", [{}, {"tag": "v1"}], [{"tag": "w"}]),
        ("tag: 'v*', branch: '*-rc'", [{"tag": "v1-rc"}], [{"tag": "v1"}, {"branch": "v1-rc"}]),
        ("branch: ['*', '!main']", [{"branch": "a"}], [{}, {"tag": "a"}]),
        ("branch: '!main'", [{"branch": "a"}], [{}]),
        ("branch: 'a?'", [], [{"branch": "ab"}]),  # git has no such branch, and IAM's ? is any one
        ("branch: ['a?', main]", [{}], [{"branch": "ab"}]),
        ("branch: 'a$b'", [{"branch": "a$b"}], [{"branch": "a-b"}]),
        ("branch: '${x}'", [{"branch": "${x}"}], [{}]),
        ("branch: 'feature#*'", [{"branch": "feature#1"}], [{"branch": "feature-1"}]),
        ("branch: 'release/*'", [{"branch": "release/a#b"}, {"branch": "release/1"}], [{}]),
        # IAM takes no character above U+00FF in a document.
        ("branch: '\u65e5/*'", [{"branch": "\u65e5/a"}], [{}, {"branch": "\u65e5\u65e5/a"}]),
        ("branch: '\u00e9/*'", [{"branch": "\u00e9/a"}], [{"branch": "e/a"}]),
        ("branch: '\u65e5'", [{"branch": "\u65e5"}], [{}]),
        ("tag: '\u65e5*'", [{"tag": "\u65e51"}], [{"branch": "\u65e51"}]),
        ("branch: ['*', '!\u65e5', '!main']", [{"branch": "a"}], [{}]),
    ],
)
def test_branches_and_tags_of_a_rule_are_those_of_the_trust_policy(
    when: str, granted: list[dict[str, str]], refused: list[dict[str, str]]
) -> None:
    policy = document("storefront", rule(when))
    aws = fleet(made(policy))
    for build in granted:
        assert aws.refusal(asked(job(**build), policy), caller=HOST) is None, build
    anything = document("storefront", rule("tag: [none, '*']"))
    for build in refused:
        assert request(job(**build), [policy]) is None, build
        assert not aws.trusts(asked(job(**build), anything), caller=HOST), build


@pytest.mark.parametrize("when", ["branch: '!main'", "branch: ['*', '!main']"])
def test_a_negation_does_not_hold_without_the_tag(when: str) -> None:
    """IAM's negated operators hold for a key that is absent."""
    policy = document("storefront", rule(when))
    wanted, aws = asked(job(branch="a"), policy), fleet(made(policy))
    assert aws.trusts(wanted, caller=HOST)
    assert not aws.trusts(forged(wanted, branch=None), caller=HOST)


def test_what_an_earlier_rule_takes_away_is_not_trusted() -> None:
    policy = document(
        "storefront", rule("branch: main", OTHER, "first") + rule("branch: '*'", name="rest")
    )
    aws = fleet(made(policy))
    assert aws.refusal(asked(job(branch="a"), policy), caller=HOST) is None
    assert aws.refusal(asked(job(), policy), caller=HOST) is None
    main = replace(asked(job(), policy), role=ROLE)
    assert not aws.trusts(main, caller=HOST)


def test_a_rule_that_is_never_reached_makes_no_role() -> None:
    policy = document("storefront", rule("", OTHER, "all") + rule("branch: main", name="never"))
    assert set(made(policy).roles) == {OTHER}


def test_external_ids_are_asked_of_their_own_rules_alone() -> None:
    more = ", session: {external-id: partner-%d}"
    one = document("storefront", rule("branch: main", more=more % 1))
    two = document("docs", rule("branch: main", more=more % 2))
    aws = fleet(made(one, two))
    first, second = asked(job(), one), asked(job(pipeline="docs"), two)
    for wanted in (first, second):
        assert aws.refusal(wanted, caller=HOST) is None
        assert not aws.trusts(replace(wanted, external_id=None), caller=HOST)
    assert not aws.trusts(replace(first, external_id="partner-2"), caller=HOST)
    assert not aws.trusts(replace(second, external_id="partner-1"), caller=HOST)


def test_a_second_hop_is_allowed_by_way_of_the_first_alone() -> None:
    more = f", session: {{via: '{HUB}', duration: 4h, external-id: partner}}"
    policy = document("storefront", rule("branch: main", more=more))
    found = made(policy)
    aws, wanted = fleet(found), asked(job(), policy)
    assert aws.refusal(wanted, caller=HOST) is None
    assert not aws.trusts(wanted, caller=HOST)
    assert "does not allow sts:AssumeRole" in str(
        aws.refusal(replace(wanted, via=None), caller=HOST)
    )
    assert wanted.via
    assert aws.trusts(wanted.via, caller=HOST)
    assert not aws.trusts(forged(wanted.via, pipeline="docs"), caller=HOST)
    assert found.roles[ROLE].longest == timedelta(hours=1)  # STS issues a chained role no more


def test_a_rule_without_source_identity_is_trusted_without_it() -> None:
    plain = document("storefront", rule("branch: main", more=", session: {source-identity: none}"))
    aws = fleet(made(plain))
    wanted = asked(job(), plain)
    assert wanted.source_identity is None
    assert aws.refusal(wanted, caller=HOST) is None
    assert "SetSourceIdentity" not in str(made(plain).roles[ROLE].trust)


def test_the_role_of_observed_jobs_is_trusted_for_any_pipeline_but_not_without_one() -> None:
    observed = "arn:aws:iam::111122223333:role/observed"
    aws = fleet(made(STORE, needs=HostNeeds(observe_role=observed)))
    wanted = replace(asked(job(), STORE), role=observed)
    assert aws.refusal(forged(wanted, pipeline="new", tag="v1"), caller=HOST) is None
    assert not aws.trusts(forged(wanted, pipeline=None), caller=HOST)


def test_service_control_policies_deny_the_role_to_everyone_but_the_hosts() -> None:
    via = f", session: {{via: '{HUB}'}}"
    hop = document("docs", rule("branch: main", OTHER, more=via))
    found = made(STORE, hop)

    def denied(role: str, caller: str, **tags: str) -> bool:
        context = {
            "aws:PrincipalArn": caller,
            **{f"aws:RequestTag/{k}": v for k, v in tags.items()},
        }
        request_ = Request(
            action="sts:AssumeRole", resource=role, principal=caller, context=context
        )
        return denies(found.scp, request_)

    tagged = {"buildkite:pipeline": "storefront"}
    admin = "arn:aws:iam::999988887777:role/admin"
    for role in (ROLE, OTHER, HUB):
        assert not denied(role, HOST, **tagged)
        assert not denied(role, HUB, **tagged)
        assert denied(role, HOST)
        assert denied(role, admin, **tagged)
    assert not denied("arn:aws:iam::111122223333:role/other", admin)


def test_a_role_below_its_pipelines_path_is_that_pipelines_whatever_rules_say() -> None:
    policies = [document(slug, rule("branch: main", OWN.format(slug))) for slug in ("shop", "docs")]
    aws = fleet(made(*policies, trust=Trust.TAGS))
    for policy in policies:
        wanted = asked(job(pipeline=policy.pipeline), policy)
        assert aws.refusal(wanted, caller=HOST) is None
        stolen = replace(wanted, role=OWN.format("docs" if policy.pipeline == "shop" else "shop"))
        assert not aws.trusts(stolen, caller=HOST)
        # Not even a trust policy that is too wide would give it away: the host may not ask.
        wide = replace(aws, trust=dict.fromkeys(aws.trust, aws.trust[wanted.role]))
        assert "no policy of" in str(wide.refusal(stolen, caller=HOST))


def test_a_new_pipeline_with_a_shared_role_changes_no_document() -> None:
    old = document("docs", rule("branch: main", SHARED))
    new = document("shop", rule("branch: [main, 'hotfix/*']", SHARED))
    before, after = made(old, trust=Trust.TAGS), made(old, new, trust=Trust.TAGS)
    assert as_json(before, None) == as_json(after, None)
    wanted = asked(job(pipeline="shop", branch="hotfix/1"), new)
    assert fleet(before).refusal(wanted, caller=HOST) is None
    assert not fleet(before).trusts(forged(wanted, pipeline=None), caller=HOST)
    named: Iam = made(old)
    assert not fleet(named).trusts(wanted, caller=HOST)
