"""What tools say of services: lint, diff, who-can, cases, records, IAM."""

import pytest

from bootstrap.commands.policy.explain import in_words
from bootstrap.policy.access_map import notes
from bootstrap.policy.catalogue import who_can
from bootstrap.policy.difference.model import Kind
from bootstrap.policy.difference.parts import differences
from bootstrap.policy.granted import granted as recorded
from bootstrap.policy.guardrails import exceeds
from bootstrap.policy.model import Admitted
from bootstrap.policy.parse import parse_guardrails
from tests.policy.fleet import made
from tests.policy.given import policy
from tests.policy.test_cases import problem
from tests.policy.test_iam import may
from tests.policy.test_lint import found
from tests.policy.test_services import IMAGE, ONE, PINNED, granted, rule


def test_lint_asks_for_a_digest() -> None:
    assert "image-without-digest" in found(rule(ONE))
    assert "image-without-digest" not in found(rule(ONE.replace(IMAGE, PINNED)))


def test_lint_names_the_services_of_an_image_without_digest() -> None:
    both = ONE.replace("}}", f"}}, other: {{image: {IMAGE}}}}}")
    assert f"{IMAGE} as service db and other," in found(rule(both))["image-without-digest"].text
    own = found(rule(f"image: {IMAGE}"))["image-without-digest"].text
    assert f"runs {IMAGE}, which" in own


@pytest.mark.parametrize(
    ("old", "new", "kind", "change"),
    [
        ("", ONE, Kind.GAINS, ("nothing", f"image: {IMAGE}")),
        (ONE, "", Kind.LOSES, (f"image: {IMAGE}", "nothing")),
        (ONE, ONE.replace("}}", ", limits: {memory: 2GiB}}}"), Kind.CHANGES,
         (f"image: {IMAGE}", f"image: {IMAGE}, memory: 2GiB")),
    ],
)  # fmt: skip
def test_diff_says_who_gains_and_loses(
    old: str, new: str, kind: Kind, change: tuple[str, str]
) -> None:
    (one,) = differences(granted(old), granted(new))
    assert (one.kind, one.what, one.name) == (kind, "service container", "db")
    assert (one.before, one.after) == change


def test_who_can_and_the_access_map_list_it() -> None:
    (access,) = who_can([policy(rule(ONE))], IMAGE)
    assert (access.kind, access.name) == ("image", IMAGE)
    assert dict(notes(granted(ONE)))["service db"] == f"image: {IMAGE}"


@pytest.mark.parametrize(
    ("allow", "expect", "got"),
    [
        (ONE, "{services: db}", ""),
        ("", "{services: none}", ""),
        (ONE, "{services: none}", "expected services none, got db"),
        ("", "{services: [db, cache]}", "expected services cache, db, got none"),
    ],
)
def test_cases_can_expect_it(allow: str, expect: str, got: str) -> None:
    assert problem(policy(rule(allow)), "{}", expect) == got


def test_a_record_has_it_by_its_keys() -> None:
    assert recorded(granted(ONE))["services"]["db"]["image"] == IMAGE


def test_explain_tells_the_images_of_the_job_and_of_its_services_apart() -> None:
    api = "agent-api: {calls: [meta-data, artifacts]}"
    grant = granted(f"{ONE}, image: 'ci/job:1', builds: buildkit, {api}")
    admitted = Admitted(
        rule="only", grant=grant, policy_origin="p.yaml", policy_digest="", reasons=()
    )
    assert in_words(admitted).endswith(
        f"with no role, image ci/job:1, image builds by buildkit, service db of image {IMAGE}, "
        "agent API by a gateway: meta-data and artifacts"
    )


def test_guardrails_without_limits_are_not_exceeded() -> None:
    assert exceeds(granted(ONE), parse_guardrails("guardrails: acme", "g"), "storefront") == ()


def test_the_host_may_pull_the_images_of_services() -> None:
    name = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/ci/postgres:15"
    host = made(policy(rule(ONE.replace(IMAGE, name))))
    arn = "arn:aws:ecr:eu-west-1:111122223333:repository/ci/{}"
    for repository, expected in (("postgres", True), ("other", False)):
        assert may(host, "ecr:BatchGetImage", arn.format(repository)) is expected
