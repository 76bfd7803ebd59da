"""IAM documents as JSON, CloudFormation and Terraform; a linter's opinion; drift of real roles."""

import json
import subprocess
import sys
from pathlib import Path

from bootstrap.policy.iam_drift import drift
from bootstrap.policy.iam_forms import as_cloudformation, as_json, as_terraform

from bootstrap.policy.iam import iam
from tests.policy.given import policy
from tests.policy.samples import HOST, MAIN, ROLE, SECRETS

HUB = "arn:aws:iam::444455556666:role/hub"


def test_trust_policy_of_second_hop_names_first_hop_alone() -> None:
    when = f"branch: main}}, allow: {{session: {{via: '{HUB}', external-id: partner-7}}, role:"
    made = iam([policy(f"  - {{name: a, when: {{{when} '{ROLE}'}}}}\n")], host_role=HOST)
    assert made.host["Statement"][0]["Resource"] == [HUB]
    (call,) = made.hops[HUB]["Statement"]
    assert call["Resource"] == [ROLE]
    assert as_json(made)["hop-roles"] == made.hops
    stack = as_cloudformation(made)["Resources"]["Hub444455556666"]["Properties"]
    assert stack["Policies"][0]["PolicyDocument"] == made.hops[HUB]
    terraform = as_terraform(made)["resource"]["aws_iam_role_policy"]["Hub444455556666"]
    assert json.loads(terraform["policy"]) == made.hops[HUB]
    (hub,), (role,) = made.trust[HUB]["Statement"], made.trust[ROLE]["Statement"]
    assert (hub["Principal"], role["Principal"]) == ({"AWS": HOST}, {"AWS": HUB})
    assert "sts:ExternalId" in role["Condition"]["StringEquals"]
    assert "sts:ExternalId" not in hub["Condition"]["StringEquals"]
    assert made.scp["Statement"][0]["Condition"]["ArnNotEquals"]["aws:PrincipalArn"] == [HUB, HOST]


def test_host_policy_passes_policy_linter(tmp_path: Path) -> None:
    store = {"Effect": "Allow", "Action": ["ssm:GetParametersByPath", "ssm:GetParameters"],
             "Resource": ["arn:aws:ssm:us-east-1:111122223333:parameter/buildkite/*"]}  # fmt: skip
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(iam([MAIN, SECRETS], host_role=HOST, store=store).host))
    program = (
        "import sys, parliament\n"
        "found = parliament.analyze_policy_string(open(sys.argv[1]).read()).findings\n"
        "print(*found, sep='\\n')\nsys.exit(bool(found))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_iam_forms_hold_same_documents() -> None:
    made = iam([MAIN], host_role=HOST)
    trust = made.trust[ROLE]
    assert as_json(made)["trust"] == {ROLE: trust}
    stack = as_cloudformation(made)["Resources"]
    assert stack["CiDeploy111122223333"]["Properties"] == {
        "RoleName": "deploy", "Path": "/ci/", "AssumeRolePolicyDocument": trust,
    }  # fmt: skip
    terraform = as_terraform(made)["resource"]["aws_iam_role"]["CiDeploy111122223333"]
    assert json.loads(terraform["assume_role_policy"]) == trust


def test_drift_reports_missing_role_and_wider_trust() -> None:
    made = iam([MAIN], host_role=HOST)
    trust = made.trust[ROLE]
    same = {"RoleDetailList": [{"Arn": ROLE, "AssumeRolePolicyDocument": trust}]}
    assert drift(made, same) == ()
    assert drift(made, {"RoleDetailList": []}) == (f"{ROLE}: is not in the dump",)
    wide = json.loads(json.dumps(trust))
    wide["Statement"].append({"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"})
    del wide["Statement"][0]["Condition"]
    text = "\n".join(
        drift(made, {"RoleDetailList": [{"Arn": ROLE, "AssumeRolePolicyDocument": wide}]})
    )
    assert f"trusts {HOST} under the condition {{}}" in text
    assert "also trusts *" in text
