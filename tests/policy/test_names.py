"""Names of roles, images and secrets in guardrails, in all their spellings."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap import forms
from bootstrap.images import full_name
from bootstrap.policy.names import (
    filled,
    images_admit,
    roles_admit,
    roles_name,
    secrets_admit,
    secrets_name,
)

DIGEST = "@sha256:" + "0" * 64
SLUGS = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)
ROLE = "arn:aws:iam::111122223333:role/ci/{}"
SECRET_ARN = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:"


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("debian", "docker.io/library/debian"),
        ("debian:12", "docker.io/library/debian:12"),
        ("acme/x", "docker.io/acme/x"),
        ("docker.io/debian", "docker.io/library/debian"),
        (f"index.docker.io/library/debian{DIGEST}", f"docker.io/library/debian{DIGEST}"),
        ("Registry.Example.com:443/a/b:1", "registry.example.com/a/b:1"),
        ("registry.example.com:5000/a", "registry.example.com:5000/a"),
        ("localhost/a", "localhost/a"),
        ("registry.example.com:05000/a", "registry.example.com:5000/a"),
        (
            "111122223333.dkr-ecr-fips.eu-west-1.on.aws/a:1",
            "111122223333.dkr.ecr.eu-west-1.amazonaws.com/a:1",
        ),
        (
            "111122223333.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn/a",
            "111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn/a",
        ),
    ],
)
def test_an_image_has_one_full_name(image: str, name: str) -> None:
    assert full_name(image) == name
    assert full_name(name) == name


@pytest.mark.parametrize(
    ("patterns", "image", "admitted"),
    [
        (["*", "!debian"], "debian:12", False),
        (["*", "!debian"], f"docker.io/library/debian{DIGEST}", False),
        (["*", "!debian:12"], f"debian:12{DIGEST}", False),
        (["*", "!debian:12"], "debian:13", True),
        (["*", "!debian:latest"], "debian", False),
        (["*", "!acme/*"], "docker.io/acme/x:1", False),
        (["*", "!*.example.com/*"], "old.Example.com/x:1", False),
        (["*@sha256:*"], f"anything/x{DIGEST}", True),
        (["*@sha256:*"], "anything/x:1", False),
        (["node:*"], "node:20", True),
        (["node:*"], "node:5000/evil/x", False),
        (["debian*"], "debian.evil.example/x", False),
        (["*", "!*.on.aws/*"], "111122223333.dkr-ecr.eu-west-1.on.aws/x:1", False),
        (["*", "!registry.example.com*"], "registry.example.com/x:1", False),
    ],
)
def test_a_list_of_images_compares_full_names(
    patterns: list[str],
    image: str,
    admitted: bool,  # noqa: FBT001
) -> None:
    assert images_admit(patterns, image) is admitted


@pytest.mark.parametrize(
    ("negation", "reference"),
    [
        ("!ssm:/ci/key", "ssm:/ci/key"),
        ("!ssm:/ci/key", "ssm:/ci/key:3"),
        ("!ssm:/ci/key", "ssm:ci/key"),
        ("!ssm:/ci/key", "ssm:/CI/key#member"),
        ("!ssm:/ci/key", "ssm:arn:aws:ssm:eu-west-1:111122223333:parameter/ci/key"),
        ("!ssm:/ci/key", "ssm:arn:aws:ssm:eu-west-1:111122223333:parameter/ci/key:3"),
        ("!ssm:/ci/*", "ssm:arn:aws:ssm:eu-west-1:111122223333:parameter/ci/key"),
        ("!secretsmanager:ci/db", f"secretsmanager:{SECRET_ARN}ci/db"),
        ("!secretsmanager:ci/db", f"secretsmanager:{SECRET_ARN}ci/db-AbCdEf"),
        ("!secretsmanager:ci/db", f"secretsmanager:{SECRET_ARN}ci/db-AbCdEf#password"),
        ("!secretsmanager:ci/db#password", "secretsmanager:ci/db"),
        ("!secretsmanager:ci/db#password", f"secretsmanager:{SECRET_ARN}ci/db-AbCdEf#password"),
        ("!ssm:/ci/key#a", "ssm:ci/key:3#a"),
        ("!ssm:arn:aws:ssm:eu-west-1:111122223333:parameter/ci/key", "ssm:/ci/key"),
        ("!ssm:arn:aws:ssm:eu-west-1:111122223333:parameter/ci/key#a", "ssm:/ci/key:2#a"),
        ("!ssm:*:parameter/ci/*", "ssm:/ci/key"),
        (f"!secretsmanager:{SECRET_ARN}ci/db-AbCdEf", "secretsmanager:ci/db"),
        (f"!secretsmanager:{SECRET_ARN}ci/db-*", "secretsmanager:ci/db"),
        (
            f"!secretsmanager:{SECRET_ARN}ci/db-AbCdEf",
            "secretsmanager:arn:aws:secretsmanager:us-east-1:111122223333:secret:ci/db",
        ),
    ],
)
def test_an_excluded_secret_is_excluded_in_every_spelling(negation: str, reference: str) -> None:
    assert not secrets_admit(["*", negation], reference)
    assert secrets_name([negation.removeprefix("!")], reference)
    assert secrets_admit(["*", "!ssm:/other", "!secretsmanager:other"], reference)


def test_a_pattern_admits_a_secret_by_its_own_spelling_only() -> None:
    arn = "ssm:arn:aws:ssm:eu-west-1:111122223333:parameter/ci/key"
    assert not secrets_admit(["ssm:/ci/*"], arn)
    assert secrets_admit([arn], arn)
    assert secrets_admit(["secretsmanager:ci/db"], "secretsmanager:ci/db#user")
    assert not secrets_admit(["secretsmanager:ci/db#user"], "secretsmanager:ci/db#password")
    assert not secrets_admit(["secretsmanager:ci/db#user"], "secretsmanager:ci/db")
    assert not secrets_admit(["secretsmanager:ci/db#*"], "secretsmanager:ci/db")
    assert secrets_admit(["*#user"], "secretsmanager:ci/db#user")
    assert not secrets_admit(["ssm:/*/own"], "ssm:/other#/own")


def test_an_exemption_is_for_the_secret_and_not_for_a_member_that_is_named_like_it() -> None:
    protected = ["secretsmanager:prod/*", "!*-public"]
    assert not secrets_name(protected, "secretsmanager:prod/db-public")
    assert not secrets_name(protected, "secretsmanager:prod/db-public#user")
    assert secrets_name(protected, "secretsmanager:prod/db#x-public")
    assert not secrets_name(["secretsmanager:prod/*", "!*#user"], "secretsmanager:prod/db#user")
    assert secrets_name(["secretsmanager:prod/*", "!*#*"], "secretsmanager:prod/db")


@given(name=st.from_regex(r"[A-Za-z0-9+=,.@_-]{1,12}", fullmatch=True))
def test_no_case_of_letters_evades_an_exclusion_or_a_requirement(name: str) -> None:
    role = ROLE.format(name)
    for other in (role, ROLE.format(name.upper()), ROLE.format(name.swapcase())):
        assert not roles_admit(["*", f"!{role}"], other)
        assert roles_name([role], other)
    assert not roles_name(["*", f"!{role}"], role)
    if name != name.swapcase():
        assert roles_name(["*", f"!{role}"], ROLE.format(name.swapcase()))


@given(own=SLUGS, other=SLUGS, rest=st.text("abc-_", max_size=5))
def test_a_pipelines_own_path_admits_no_other_pipelines(own: str, other: str, rest: str) -> None:
    (pattern,) = filled([ROLE.format("{pipeline}/*")], own)
    assert roles_admit([pattern], ROLE.format(f"{own}/{rest}"))
    assert roles_admit([pattern], ROLE.format(f"{other}/{rest}")) == (own == other)


IMAGES = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "r.io/", "R.io:0443/", "r:5000/", "localhost/", "docker.io/", "Mallory/",
                     "111122223333.dkr-ecr.eu-west-1.on.aws/"]),
    st.text("abx09/._-", min_size=1, max_size=8),
    st.sampled_from(["", ":1", ":latest"]),
    st.sampled_from(["", DIGEST, "@sha256:0"]),
)  # fmt: skip


@given(st.text("abcf09:/@.-_sA", max_size=30) | IMAGES)
def test_an_image_that_a_rule_may_name_has_one_full_name_and_is_no_id(text: str) -> None:
    try:
        forms.image(text)
    except ValueError:
        return
    name = full_name(text)
    assert full_name(name) == name
    assert re.search(r"[^0-9a-f]", text.removeprefix("sha256:"))
    assert not {"", ".", ".."} & set(text.split("/"))
    assert images_admit([text], text)
    assert not images_admit(["*", f"!{text}"], text)
