"""Which sessions AWS issues for Buildkite's tokens, which every job can ask for without Airlock."""

import pytest

from bootstrap.errors import WrongConfiguration
from bootstrap.policy.iam.model import Trust
from tests.fakes.sts_authorization import Token, forged
from tests.policy.fleet import asked, document, fleet, job, made, token
from tests.policy.samples import HOST, OTHER, ROLE
from tests.policy.test_iam_requests import HUB, OWN, SHARED, rule


def by_token(when: str, role: str = ROLE) -> str:
    return rule(when, role, more=", session: {identity: buildkite}")


@pytest.mark.parametrize(
    ("when", "granted", "refused"),
    [
        ("branch: main", {}, [{"branch": "a"}, {"tag": "main"}, {"pipeline": "docs"}]),
        ("branch: 'release/*'", {"branch": "release/1"}, [{}, {"tag": "release/1"}]),
        ("branch: '*-prod'", {"branch": "x-prod"}, [{}]),
        ("tag: 'v*'", {"tag": "v1"}, [{}, {"branch": "v1"}, {"tag": "w"}]),
        ("branch: ['*', '!main']", {"branch": "a"}, [{}]),
        ("branch: 'a$b'", {"branch": "a$b"}, [{"branch": "a-b"}]),
        ("branch: ['a?', main]", {}, [{"branch": "ab"}]),
        ("branch: '\u65e5/*'", {"branch": "\u65e5/a"}, [{}, {"tag": "\u65e5/a"}]),
        ("branch: '\U0001f600/*'", {"branch": "\U0001f600/a"}, [{}, {"tag": "\U0001f600/a"}]),
        ("branch: ['*', '!\u65e5', '!main']", {"branch": "a"}, [{}]),
    ],
)
def test_a_token_is_trusted_for_the_branches_and_tags_of_the_rule(
    when: str, granted: dict[str, str], refused: list[dict[str, str]]
) -> None:
    policy = document("storefront", by_token(when))
    aws = fleet(made(policy))
    claims = job(**granted)
    wanted = asked(claims, policy)
    assert aws.refusal(wanted, caller=HOST, token=token(claims)) is None
    for build in refused:
        assert not aws.trusts(wanted, caller=HOST, token=token(job(**build))), build


@pytest.mark.parametrize(
    "other",
    [
        token(job(), organization="elsewhere"),
        Token(subject=token(job()).subject, audience="https://buildkite.com/acme"),
        Token(subject=token(job()).subject, issuer="oidc.example.com"),
        # A step's key may contain colons, and its author may be anyone who can push a branch.
        token(job(branch="evil"), step="x-prod:commit:y"),
        token(job(branch="evil:commit:x"), step="y"),
        Token(subject=""),
    ],
)
def test_another_token_is_refused(other: Token) -> None:
    policy = document("storefront", by_token("branch: [main, '*-prod', 'evil']"))
    narrow = document("storefront", by_token("branch: [main, '*-prod']"))
    aws = fleet(made(narrow))
    wanted = asked(job(), policy)
    assert aws.trusts(wanted, caller=HOST, token=token(job()))
    assert not aws.trusts(wanted, caller=HOST, token=other)


def hop_by_token(when: str, role: str, hop: str) -> str:
    return rule(when, role, more=f", session: {{via: '{hop}', identity: buildkite}}")


def test_a_token_is_trusted_for_the_branches_of_rules_with_tags_as_well() -> None:
    """A job can ask for the token itself: where the trust policy names no branch, nobody does."""
    policy = document("shop", by_token("branch: main", OWN.format("shop")))
    aws = fleet(made(policy, trust=Trust.TAGS))
    wanted = asked(job(pipeline="shop"), policy)
    assert aws.refusal(wanted, caller=HOST, token=token(job(pipeline="shop"))) is None
    for build in ({"branch": "dev"}, {"tag": "main"}):
        other = token(job(pipeline="shop", **build))
        assert not aws.trusts(wanted, caller=HOST, token=other), build


def test_what_a_token_assumes_on_the_way_sends_no_other_pipelines_tag() -> None:
    """Whoever has the token has the session of the first role, and chooses what it sends."""
    hop = OWN.format("shop")
    shop = document("shop", hop_by_token("branch: main", SHARED, hop))
    docs = document("docs", rule("branch: main", SHARED))
    aws = fleet(made(shop, docs, trust=Trust.TAGS))
    wanted = asked(job(pipeline="shop"), shop)
    assert aws.refusal(wanted, caller=HOST, token=token(job(pipeline="shop"))) is None
    assert not aws.trusts(forged(wanted, pipeline="docs"), caller=hop)


def test_a_role_that_a_token_assumes_on_the_way_is_of_one_pipeline() -> None:
    shop, docs = (document(slug, hop_by_token("branch: main", ROLE, HUB)) for slug in ("a", "b"))
    with pytest.raises(WrongConfiguration) as refused:
        made(shop, docs)
    assert refused.value.problem == (
        f"{HUB} is assumed with Buildkite's token, as any job can do itself, and it assumes roles "
        "of a, b: each could take those of the others"
    )
    assert f"{HUB} trusts Buildkite's token, which a job can ask for" in str(made(shop).notes)
    by_host = document("b", rule("branch: main", OTHER, more=f", session: {{via: '{HUB}'}}"))
    with pytest.raises(WrongConfiguration, match="it assumes roles of a, b"):
        made(shop, by_host)
