"""How real roles differ from the documents, whatever the dump holds."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.policy.iam.drift import drift as compared
from bootstrap.policy.iam.model import Iam
from tests.policy.fleet import document, made
from tests.policy.samples import HOST, MAIN, OTHER, ROLE, rule

WANTED = made(MAIN)
TRUST = WANTED.roles[ROLE].trust


def drift(made_: Iam, dump: dict[str, Any], account: str | None = None) -> tuple[str, ...]:
    return compared(made_, dump, account).differences


def found(trust: Any, **more: Any) -> str:
    detail = {"Arn": ROLE, "AssumeRolePolicyDocument": trust, **more}
    return "\n".join(drift(WANTED, {"RoleDetailList": [detail]}))


def changed() -> Any:
    return json.loads(json.dumps(TRUST))


def test_the_same_trust_is_no_drift_in_whichever_form() -> None:
    assert found(TRUST) == found(quote(json.dumps(TRUST))) == ""
    other = changed()
    other["Statement"].reverse()
    other["Statement"][1]["Action"] = ["sts:AssumeRole"]
    other["Statement"][1]["Condition"]["StringLike"]["aws:RequestTag/buildkite:branch"].reverse()
    assert found(other) == ""


def test_a_missing_role_and_a_wider_trust_are_reported() -> None:
    assert drift(WANTED, {"RoleDetailList": []}) == (f"{ROLE}: is not in the dump",)
    wide = changed()
    wide["Statement"].append({"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"})
    del wide["Statement"][0]["Condition"]
    text = found(wide)
    assert f"{ROLE}: also trusts * for sts:AssumeRole\n" in f"{text}\n"
    assert f"also trusts {HOST} for sts:AssumeRole\n" in f"{text}\n"
    assert f"does not trust {HOST} for sts:AssumeRole under the condition" in text
    denied = changed()
    denied["Statement"].append({"Effect": "Deny", "Principal": "*", "Action": "sts:*"})
    assert found(denied) == ""


def test_every_statement_is_compared_not_one_of_a_principal() -> None:
    """Two rules of one role have two statements for the hosts' role."""
    two = document("storefront", rule("a", "branch: a", OTHER) + rule("b", "tag: 'v*'", OTHER))
    wanted = made(two)
    trust = json.loads(json.dumps(wanted.roles[OTHER].trust))
    assert (
        drift(wanted, {"RoleDetailList": [{"Arn": OTHER, "AssumeRolePolicyDocument": trust}]}) == ()
    )
    del trust["Statement"][0]
    (line,) = drift(wanted, {"RoleDetailList": [{"Arn": OTHER, "AssumeRolePolicyDocument": trust}]})
    assert "does not trust" in line
    assert '"a"' in line


def test_too_short_sessions_are_reported_where_the_dump_has_them() -> None:
    long = made(
        document("s", f"  - {{name: a, allow: {{role: '{ROLE}', session: {{duration: 4h}}}}}}\n")
    )
    detail = {"Arn": ROLE, "AssumeRolePolicyDocument": long.roles[ROLE].trust}
    assert drift(long, {"RoleDetailList": [detail]}) == ()
    (line,) = drift(long, {"RoleDetailList": [{**detail, "MaxSessionDuration": 3600}]})
    assert line == f"{ROLE}: allows sessions of 1h, and rules ask for 4h"
    assert drift(long, {"RoleDetailList": [{**detail, "MaxSessionDuration": 43200}]}) == ()


def test_roles_of_another_account_are_not_expected_in_the_dump_of_one() -> None:
    both = made(document("s", rule("a", "branch: a", ROLE) + rule("b", "", OTHER)))
    assert len(drift(both, {"RoleDetailList": []})) == 2
    assert drift(both, {"RoleDetailList": []}, "444455556666") == (f"{OTHER}: is not in the dump",)


def test_what_was_compared_is_what_had_to_be_in_the_dump_and_the_hosts_role() -> None:
    both = made(document("s", rule("a", "branch: a", ROLE) + rule("b", "", OTHER)))
    hosts, nothing = {"RoleDetailList": [{"Arn": HOST}]}, {"RoleDetailList": list[Any]()}
    assert compared(both, nothing).roles == (ROLE, OTHER)
    assert compared(both, hosts).roles == (ROLE, OTHER, HOST)
    assert compared(both, hosts, "444455556666").roles == (OTHER, HOST)
    assert compared(both, nothing, HOSTS).roles == (HOST,)
    assert compared(both, nothing, "123456789012").roles == ()


def attached(documents: Any, **more: Any) -> dict[str, Any]:
    """Return a dump of the hosts' role with these customer managed policies."""
    arns = [f"arn:aws:iam::999988887777:policy/airlock-{n}" for n, _ in enumerate(documents)]
    old = {"IsDefaultVersion": False, "Document": {"Statement": []}}
    return {
        "RoleDetailList": [
            {"Arn": HOST, "AttachedManagedPolicies": [{"PolicyArn": arn} for arn in arns], **more}
        ],
        "Policies": [
            {"Arn": arn, "PolicyVersionList": [old, {"IsDefaultVersion": True, "Document": made_}]}
            for arn, made_ in zip(arns, documents, strict=True)
        ],
    }


HOSTS = "999988887777"
ASSUME = "sts:AssumeRole, sts:SetSourceIdentity, sts:TagSession"


def test_what_the_hosts_may_is_compared_by_what_it_allows() -> None:
    both = made(document("s", rule("a", "branch: a", ROLE) + rule("b", "", OTHER)))
    assert drift(both, attached(both.host), HOSTS) == ()
    assert drift(both, {"RoleDetailList": []}, HOSTS) == (f"{HOST}: is not in the dump",)
    assert drift(both, attached(WANTED.host), HOSTS) == (f"{HOST}: may not {ASSUME} on {OTHER}",)
    assert drift(WANTED, attached(both.host), HOSTS) == (f"{HOST}: may still {ASSUME} on {OTHER}",)
    wide: dict[str, Any] = {
        "Effect": "Allow", "Action": "sts:*", "Resource": "arn:aws:iam::*:role/*",
    }  # fmt: skip
    inline = {"RolePolicyList": [{"PolicyName": "by-hand", "PolicyDocument": {"Statement": wide}}]}
    assert drift(both, attached([], **inline), HOSTS) == ()
    wide["Condition"] = {"Bool": {"aws:MultiFactorAuthPresent": "true"}}
    assert len(drift(both, attached([], **inline), HOSTS)) == 2
    without = {**attached(both.host), "Policies": []}
    complete = "create it with `--filter Role LocalManagedPolicy AWSManagedPolicy`: arn:aws:iam::"
    assert complete in str(drift(both, without, HOSTS))


def test_aws_own_policies_count_where_the_dump_has_them() -> None:
    arn = "arn:aws:iam::aws:policy/AdministratorAccess"
    everything = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    dump = attached([everything])
    dump["RoleDetailList"][0]["AttachedManagedPolicies"] = [{"PolicyArn": arn}]
    missing, unknown = drift(WANTED, dump, HOSTS)
    assert missing == f"{HOST}: may not {ASSUME} on {ROLE}"
    assert unknown.endswith(f"LocalManagedPolicy AWSManagedPolicy`: {arn}")
    dump["Policies"][0]["Arn"] = arn
    assert drift(WANTED, dump, HOSTS) == ()


def test_actions_are_compared_in_any_case_and_named_as_they_are_written() -> None:
    old = {"Sid": "AirlockOld", "Effect": "Allow", "Action": "SNS:Publish", "Resource": "*"}
    ours = json.loads(json.dumps(WANTED.host).replace("sts:AssumeRole", "STS:assumeROLE"))
    ours[0]["Statement"].append(old)
    assert drift(WANTED, attached(ours), HOSTS) == (f"{HOST}: may still SNS:Publish on *",)


def test_a_roles_own_policy_is_compared() -> None:
    """A stack of before may let every session of the role read what is one pipeline's."""
    own = f"{{role: '{ROLE}', secrets-with: role, secrets: {{A: 'ssm:/ci/a'}}}}"
    wanted = made(document("s", f"  - {{name: a, allow: {own}}}\n"))
    policy = json.loads(json.dumps(wanted.roles[ROLE].policy))

    def differs(*documents: Any) -> str:
        inline = [{"PolicyName": "airlock", "PolicyDocument": each} for each in documents]
        detail = {"Arn": ROLE, "AssumeRolePolicyDocument": wanted.roles[ROLE].trust,
                  "RolePolicyList": inline}  # fmt: skip
        return "\n".join(drift(wanted, {"RoleDetailList": [detail]}))

    assert differs(policy) == ""
    parameter = "arn:aws:ssm:*:111122223333:parameter/ci/a"
    assert f"{ROLE}: may not ssm:GetParameters on {parameter} under the condition" in differs()
    del policy["Statement"][0]["Condition"]
    assert differs(policy) == f"{ROLE}: may still ssm:GetParameters on {parameter}"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from([ROLE, "Allow", "*"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["Arn", "AssumeRolePolicyDocument", "Statement", "Effect", "Principal", "Action",
             "Condition", "AWS", "RoleDetailList", "MaxSessionDuration", "Policies", "PolicyArn",
             "RolePolicyList", "AttachedManagedPolicies", "PolicyDocument", "Resource"]
        ) | st.text(max_size=3),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(listed=JSON, trust=JSON, more=JSON)
def test_no_dump_causes_a_traceback(listed: Any, trust: Any, more: Any) -> None:
    assert drift(WANTED, {"RoleDetailList": listed})
    detail = {"Arn": ROLE, "AssumeRolePolicyDocument": trust, "MaxSessionDuration": more}
    assert drift(WANTED, {"RoleDetailList": [detail, listed]})
    host = {"Arn": HOST, "RolePolicyList": listed, "AttachedManagedPolicies": more}
    assert drift(WANTED, {"RoleDetailList": [host], "Policies": trust}, "999988887777")


@pytest.mark.parametrize("trust", ["{", "%7B", '"x"', "", None, 3, [], {"Statement": 3}])
def test_a_trust_policy_that_cannot_be_read_trusts_nobody(trust: Any) -> None:
    assert "does not trust" in found(trust)
