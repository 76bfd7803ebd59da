"""The evaluator answers as AWS's documentation does (IAM User Guide; the page is named per row).

Operators: reference_policies_elements_condition_operators. Several values and keys:
reference_policies_condition-logic-multiple-context-keys-or-values. Multivalued keys:
reference_policies_condition-single-vs-multi-valued-context-keys. Variables:
reference_policies_variables. Evaluation: reference_policies_evaluation-logic.
"""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.iam_evaluation import Request, UnsupportedError, Value, allows, denies
from tests.fakes.sts_authorization import KEYS

OBJECT = "arn:aws:s3:::amzn-s3-demo-bucket/David/a"
ROLE = "arn:aws:iam::123456789012:role/build"


def document(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def statement(**elements: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*", **elements}


def request(**context: Value) -> Request:
    named = {key.replace("__", "/").replace("_", ":"): value for key, value in context.items()}
    return Request(action="s3:GetObject", resource=OBJECT, principal=ROLE, context=named)


def holds(condition: dict[str, Any], **context: Value) -> bool:
    return allows((document(statement(Condition=condition)),), request(**context))


KEY = "aws:PrincipalTag/team"


@pytest.mark.parametrize(
    ("operator", "wanted", "got", "expected"),
    [
        ("StringEquals", "johndoe", "johndoe", True),
        ("StringEquals", "johndoe", "JohnDoe", False),  # exact matching, case-sensitive
        ("StringEquals", "john*", "johndoe", False),  # wildcards only in StringLike
        ("StringEquals", ["iamuser-admin", "hr-admin"], "hr-admin", True),  # values: OR
        ("StringEquals", "a", None, False),  # an absent key does not match
        ("StringEqualsIfExists", "a", None, True),
        ("StringEqualsIfExists", "a", "b", False),
        ("StringNotEquals", "a", "b", True),
        ("StringNotEquals", ["a", "b"], "b", False),  # values of a negated operator: NOR
        ("StringNotEquals", "a", None, True),  # an absent key: a negated operator holds
        ("StringLike", "s3*", "s3:x", True),
        ("StringLike", "a?c", "abc", True),
        ("StringLike", "a?c", "ac", False),
        ("StringLike", "*", "", True),
        ("StringLike", "*", None, False),
        ("StringLike", "A*", "abc", False),  # case-sensitive
        ("StringLike", "a${*}c", "a*c", True),  # ${*} is a literal asterisk
        ("StringLike", "a${*}c", "abc", False),
        ("StringLike", "a${?}", "a?", True),
        ("StringLike", "a${?}", "ab", False),
        ("StringLike", "${$}a", "$a", True),
        ("StringNotLike", ["a*", "b*"], "c", True),
        ("StringNotLike", ["a*", "b*"], "bc", False),
        ("StringNotLike", "a*", None, True),
        ("Null", "true", None, True),
        ("Null", "true", "a", False),
        ("Null", "false", "", True),  # present, though empty
        ("Null", "false", None, False),
        ("ArnLike", "arn:aws:iam::*:role/ci/*", "arn:aws:iam::123456789012:role/ci/a", True),
        ("ArnEquals", "arn:aws:iam::*:role/ci/*", "arn:aws:iam::123456789012:role/ci/a", True),
        ("ArnLike", "arn:aws:*:role/a", "arn:aws:iam::123456789012:role/a", False),  # six parts
        ("ArnNotEquals", ROLE, ROLE, False),
        ("ArnNotEquals", ROLE, f"{ROLE}-2", True),
        ("ArnNotLike", ROLE, None, True),
        ("ForAllValues:StringEquals", ["a", "b"], ("a", "b"), True),
        ("ForAllValues:StringEquals", ["a", "b"], ("a", "c"), False),
        ("ForAllValues:StringEquals", ["a", "b"], None, True),  # no key, or an empty set
        ("ForAllValues:StringEquals", ["a", "b"], (), True),
        ("ForAnyValue:StringEquals", ["a", "b"], ("a", "c"), True),
        ("ForAnyValue:StringEquals", ["a", "b"], ("c",), False),
        ("ForAnyValue:StringEquals", ["a", "b"], None, False),
        ("ForAllValues:StringNotEquals", ["a"], ("b", "c"), True),
        ("ForAnyValue:StringNotEquals", ["a"], ("a", "c"), True),
        ("ForAllValues:StringLike", ["a*"], ("ab", "ac"), True),
    ],
)  # fmt: skip
def test_documented_operators(
    operator: str, wanted: str | list[str], got: Value | None, *, expected: bool
) -> None:
    context: dict[str, Value] = {} if got is None else {"aws_PrincipalTag__team": got}
    assert holds({operator: {KEY: wanted}}, **context) is expected


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [("a", "b", True), ("a", "x", False), ("x", "b", False), ("x", "x", False)],
)
def test_operators_and_keys_are_joined_by_and(first: str, second: str, *, expected: bool) -> None:
    context = {"aws_PrincipalTag__team": first, "aws_PrincipalTag__costs": second}
    two_keys = {"StringEquals": {KEY: "a", "aws:PrincipalTag/costs": "b"}}
    two_operators = {"StringEquals": {KEY: "a"}, "StringLike": {"aws:PrincipalTag/costs": "b*"}}
    assert holds(two_keys, **context) is holds(two_operators, **context) is expected


def test_names_of_context_keys_are_not_case_sensitive() -> None:
    assert holds({"StringEquals": {"AWS:principaltag/TEAM": "a"}}, aws_PrincipalTag__team="a")


@pytest.mark.parametrize(
    ("resource", "team", "expected"),
    [
        ("arn:aws:s3:::amzn-s3-demo-bucket/${aws:PrincipalTag/team}/*", "David", True),
        ("arn:aws:s3:::amzn-s3-demo-bucket/${aws:PrincipalTag/team}/*", "Paulo", False),
        # A value is never a pattern, and a variable without a value makes no statement apply.
        ("arn:aws:s3:::amzn-s3-demo-bucket/${aws:PrincipalTag/team}/*", "*", False),
        ("arn:aws:s3:::amzn-s3-demo-bucket/${aws:PrincipalTag/team}/*", None, False),
        ("arn:aws:s3:::amzn-s3-demo-bucket/${aws:PrincipalTag/team, 'David'}/*", None, True),
        ("arn:aws:s3:::amzn-s3-demo-bucket/${aws:PrincipalTag/team, 'David'}/*", "x", False),
        ("arn:aws:s3:::*/David/a", None, True),
        ("arn:aws:s3:::amzn-s3-demo-bucket/David/?", None, True),
        ("*", None, True),
    ],
)
def test_documented_variables_and_resources(
    resource: str, team: str | None, *, expected: bool
) -> None:
    context: dict[str, Value] = {} if team is None else {"aws_PrincipalTag__team": team}
    asked = request(**context)
    assert allows((document(statement(Resource=resource)),), asked) is expected


def test_an_explicit_denial_overrides_and_nothing_is_denied_by_default() -> None:
    allow, deny = statement(), statement(Effect="Deny", Condition={"Null": {KEY: "true"}})
    assert not allows((document(),), request())
    assert allows((document(allow), document(deny)), request(aws_PrincipalTag__team="a"))
    assert not allows((document(allow), document(deny)), request())
    assert denies((document(deny),), request())
    assert not denies((document(allow),), request())


def test_a_trust_policy_names_its_principal() -> None:
    trust = {
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"AWS": [ROLE, "arn:aws:iam::123456789012:role/other"]},
    }
    asked = Request(action="sts:AssumeRole", resource=OBJECT, principal=ROLE)
    assert allows((document(trust),), asked)
    other = Request(action="sts:AssumeRole", resource=OBJECT, principal=f"{ROLE}-2")
    assert not allows((document(trust),), other)


@pytest.mark.parametrize(
    "unknown",
    [
        document({"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}),
        document(statement(Condition={"DateLessThan": {"aws:CurrentTime": "2026-01-01"}})),
        document(statement(Condition={"StringEquals": {KEY: []}})),
        document(statement(Condition={"ForAllValues:Null": {KEY: "true"}})),
        document({"Effect": "Allow", "Action": "s3:GetObject", "Principal": "*"}),
        # Each of these stands for principals that it does not name, ours among them.
        document({"Effect": "Allow", "Action": "s3:GetObject", "Principal": {"AWS": "*"}}),
        document({"Effect": "Allow", "Action": "s3:*", "Principal": {"AWS": "123456789012"}}),
        document(
            {
                "Effect": "Allow",
                "Action": "s3:*",
                "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
            }
        ),
        document(
            {
                "Effect": "Allow",
                "Action": "s3:*",
                "Principal": {"AWS": "arn:aws:iam::123456789012:role/*"},
            }
        ),
        document(statement(NotResource="*")),
        document({"Effect": "Allow", "Action": "s3:*", "NotPrincipal": {"AWS": ROLE}}),
        # A `*` at the end of a part may match beyond its colon, and IAM may or may not do so.
        document(statement(Resource="arn:aws:*:amzn-s3-demo-bucket/*")),
        document(statement(Condition={"StringLike": {KEY: "caf\u00e9/\u65e5*"}})),
        document(statement(Sid="A"), statement(Sid="A")),
        document(statement(Principal={"AWS": ROLE})),
        {"Version": "2008-10-17", "Statement": []},
        {"Version": "2012-10-17", "Statement": [], "Id": "x"},
    ],
)
def test_what_is_not_known_is_refused(unknown: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError):
        allows((unknown,), Request(action="s3:GetObject", resource=OBJECT, principal=ROLE))
    with pytest.raises(UnsupportedError):  # one value against an operator for several
        holds({"ForAnyValue:StringEquals": {KEY: "a"}}, aws_PrincipalTag__team="a")


def test_the_keys_of_each_action_are_those_of_the_service_authorization_reference() -> None:
    """The package parliament has a copy of AWS's pages in its data."""
    spec = importlib.util.find_spec("parliament")
    assert spec is not None
    assert spec.origin is not None
    definitions = json.loads(Path(spec.origin).with_name("iam_definition.json").read_text())
    (sts,) = (service for service in definitions if service["prefix"] == "sts")
    documented = {
        f"sts:{privilege['privilege']}": {
            key.removesuffix("${TagKey}")
            for resource in privilege["resource_types"]
            for key in resource["condition_keys"]
        }
        for privilege in sts["privileges"]
    }
    for action, keys in KEYS.items():
        assert keys <= documented[action], action
        ours = {"sts:ExternalId", "sts:SourceIdentity", "aws:RequestTag/", "sts:TransitiveTagKeys",
                "aws:TagKeys", "sts:RoleSessionName"}  # fmt: skip
        assert documented[action] & ours == keys & ours, action
