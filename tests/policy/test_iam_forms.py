"""The documents as JSON, CloudFormation and Terraform, and what tools of others find in them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import hcl2
import pytest
import yaml

from bootstrap.errors import WrongConfiguration
from bootstrap.policy.iam.cloudformation import as_cloudformation
from bootstrap.policy.iam.model import HostNeeds, Iam, Trust
from bootstrap.policy.iam.stack import as_json, logical, stack_of
from bootstrap.policy.iam.terraform import as_terraform
from tests.policy.fleet import document, made
from tests.policy.samples import MAIN, OTHER, ROLE, SECRETS, rule

HUB = "arn:aws:iam::444455556666:role/hub"
OWN = "arn:aws:iam::444455556666:role/ci/pipelines/shop/shop-deploy"
ECR = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/ci/job@sha256:" + 32 * "ab"
STORE = {"Effect": "Allow", "Action": ["ssm:GetParametersByPath", "ssm:GetParameters"],
         "Resource": ["arn:aws:ssm:us-east-1:*:parameter/buildkite/*"]}  # fmt: skip
NEEDS = HostNeeds(statements=(STORE,), images=(ECR,), observe_role=OTHER.replace("read", "watch"))
HOSTS, ACCOUNTS = "999988887777", ["111122223333", "444455556666", "999988887777"]


def everything(trust: Trust = Trust.PIPELINES) -> Iam:
    """Return documents that have every kind of statement."""
    tokens = f"{{role: '{OTHER}', session: {{identity: buildkite}}}}"
    hops = f"{{roles: {{a: '{OTHER}-2'}}, session: {{via: '{HUB}', external-id: partner-7}}}}"
    shop = document(
        "shop",
        rule("own", "branch: main", OWN)
        + f"  - {{name: hop, when: {{branch: ['*', '!a-b']}}, allow: {hops}}}\n"
        + rule("tags", "tag: 'v*'", ROLE),
    )
    docs = document("docs", f"  - {{name: t, when: {{branch: 'a$?'}}, allow: {tokens}}}\n")
    listed = [MAIN, SECRETS, shop, *([docs] if trust is Trust.PIPELINES else [])]
    return made(*listed, trust=trust, needs=NEEDS)


STACKS = [(account, trust) for account in ACCOUNTS for trust in Trust]


def test_templates_pass_cloudformations_linter(tmp_path: Path) -> None:
    for account, trust in STACKS:
        text = as_cloudformation(stack_of(everything(trust), account))
        (tmp_path / f"{account}-{trust}.yaml").write_text(text)
    done = subprocess.run(
        [Path(sys.executable).with_name("cfn-lint"), "--non-zero-exit-code", "informational",
         "--include-checks", "I", "--", *sorted(tmp_path.glob("*.yaml"))],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def resources(text: str) -> dict[str, dict[str, Any]]:
    """Return Terraform's resources as its own language defines them, by type and name."""
    found: dict[str, dict[str, Any]] = {}
    for block in hcl2.loads(text).get("resource", []):
        for kind, named in block.items():
            for name, body in named.items():
                found.setdefault(kind.strip('"'), {})[name.strip('"')] = body
    return found


@pytest.mark.parametrize(("account", "trust"), STACKS)
def test_both_formats_hold_the_same_resources(account: str, trust: Trust) -> None:
    stack = stack_of(everything(trust), account)
    template = yaml.safe_load(as_cloudformation(stack))["Resources"]
    found = resources(as_terraform(stack))
    roles = {name for name, each in template.items() if each["Type"] == "AWS::IAM::Role"}
    assert set(found.get("aws_iam_role", {})) == roles
    policies = [each for each in template.values() if each["Type"] == "AWS::IAM::ManagedPolicy"]
    assert len(found.get("aws_iam_policy", {})) == len(policies) == len(stack.host)
    assert bool(found.get("aws_iam_openid_connect_provider")) == ("Buildkite" in template)
    inline = {name for name in roles if "Policies" in template[name]["Properties"]}
    assert set(found.get("aws_iam_role_policy", {})) == inline


def test_terraform_reads_the_configuration_and_has_nothing_to_format(tmp_path: Path) -> None:
    """Without the program, the other test has read it with a parser of the language."""
    for account, trust in STACKS:
        text = as_terraform(stack_of(everything(trust), account))
        (tmp_path / f"{account}-{trust}.tf").write_text(text)
    program = shutil.which("terraform") or shutil.which("tofu")
    command = [program, "fmt", "-check", "-diff", str(tmp_path)] if program else ["true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_variable_of_iam_is_not_an_expression_of_terraform() -> None:
    found = as_terraform(stack_of(everything(Trust.TAGS), HOSTS))
    assert '"arn:aws:iam::444455556666:role/ci/pipelines/$${aws:RequestTag/' in found
    assert "/${aws:" not in found
    trust = as_terraform(stack_of(everything(), "444455556666"))
    assert ":ref:refs/heads/a$${$}$${?}:commit:*" in trust


def documents(found: Iam) -> list[Any]:
    return [*found.host, *(role.policy for role in found.roles.values() if role.policy)]


@pytest.mark.parametrize("trust", list(Trust))
def test_policies_pass_policy_linter(trust: Trust, tmp_path: Path) -> None:
    listed = documents(everything(trust))
    assert len(listed) == 2
    path = tmp_path / "policies.json"
    # The linter knows variables without a second colon only.
    path.write_text(json.dumps(listed).replace("/buildkite:pipeline}", "/pipeline}"))
    program = (
        "import json, sys, parliament\n"
        "found = [str(f) for p in json.load(open(sys.argv[1]))\n"
        "         for f in parliament.analyze_policy_string(json.dumps(p)).findings]\n"
        "print(*found, sep='\\n')\nsys.exit(bool(found))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_stack_has_what_its_account_needs_and_nothing_else() -> None:
    found = everything()
    host = yaml.safe_load(as_cloudformation(stack_of(found, HOSTS)))["Resources"]
    assert [each["Type"] for each in host.values()] == ["AWS::IAM::ManagedPolicy"]
    assert host["HostPolicy1"]["Properties"]["Roles"] == ["buildkite-agents"]
    other = yaml.safe_load(as_cloudformation(stack_of(found, "444455556666")))
    names = [each["Properties"].get("RoleName") for each in other["Resources"].values()]
    assert sorted(map(str, names)) == [
        "None", "hub", "read", "read-2", "shop-deploy", "watch",
    ]  # fmt: skip
    assert other["Resources"]["Buildkite"]["Condition"] in other["Conditions"]
    hop = other["Resources"][logical(f"{OTHER}-2")]
    assert hop["DependsOn"] == [logical(HUB)]  # a trust policy names only roles that exist
    assert "Policies" in other["Resources"][logical(HUB)]["Properties"]


def test_sizes_and_notes_of_the_account_are_comments() -> None:
    text = as_cloudformation(stack_of(everything(), "444455556666"))
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert any(line.startswith("# inline policy of hub: ") for line in comments)
    assert any("of 2048 characters" in line for line in comments)
    assert any("trusts Buildkite's token" in line for line in comments)
    assert all(len(line) <= 100 for line in comments)
    host = as_terraform(stack_of(everything(), HOSTS))
    assert "# managed policy 1 of 1 of buildkite-agents: " in host
    assert "trusts Buildkite's token" not in host


@pytest.mark.parametrize("account", [None, "123456789012"])
def test_a_stack_of_no_account_or_an_unknown_one_is_refused(account: str | None) -> None:
    with pytest.raises(WrongConfiguration) as refused:
        stack_of(everything(), account)
    assert ", ".join(ACCOUNTS) in refused.value.hint


def test_json_has_all_documents_or_those_of_one_account() -> None:
    found = everything()
    whole, host = as_json(found, None), as_json(found, HOSTS)
    assert whole["host-role"] == host["host-role"] == list(found.host)
    assert set(whole["roles"]) == set(found.roles)
    assert host["roles"] == {}
    assert whole["roles"][ROLE]["trust"] == found.roles[ROLE].trust
    assert whole["identity-providers"][0]["account"] == "444455556666"
    assert {size["account"] for size in host["sizes"]} == {None, HOSTS}


def test_roles_of_similar_names_have_different_ids() -> None:
    names = ["ci/a-b", "ci/a_b", "ci/a/b", "ci-a/b", "ci/aB"]
    ids = {logical(f"arn:aws:iam::111122223333:role/{name}") for name in names}
    assert len(ids) == len(names)
    assert all(each.isalnum() for each in ids)


def test_ids_are_names_in_both_languages() -> None:
    """Terraform's begin with a letter; CloudFormation's have 255 characters at most."""
    long = logical(f"arn:aws:iam::111122223333:role/{'1/' * 200}{'9' * 60}")
    assert long[0].isalpha()
    assert len(long) <= 255


def test_another_policy_of_the_hosts_changes_no_description() -> None:
    """A new description replaces a managed policy: until then the hosts' role would not have it."""
    roles = [f"arn:aws:iam::444455556666:role/{'r' * 50}-{n}" for n in range(150)]
    listed = [document(f"p-{n}", rule("a", "", role)) for n, role in enumerate(roles)]
    descriptions = []
    for some in (listed[:10], listed):
        template = yaml.safe_load(as_cloudformation(stack_of(made(*some), HOSTS)))["Resources"]
        descriptions.append([each["Properties"]["Description"] for each in template.values()])
        terraform = resources(as_terraform(stack_of(made(*some), HOSTS)))["aws_iam_policy"]
        assert descriptions[-1] == [e["description"].strip('"') for e in terraform.values()]
    assert [len(each) for each in descriptions] == [1, 3]
    assert descriptions[0] == descriptions[1][:1]


def test_a_template_that_needs_a_bucket_says_so_and_one_that_is_too_large_is_refused() -> None:
    def stack(number: int, more: str) -> str:
        roles = [f"arn:aws:iam::444455556666:role/r-{n}" for n in range(number)]
        branches = ", ".join(f"'branch-{n}-{more}'" for n in range(6))
        listed = [document(f"p-{n}", rule("a", f"branch: [{branches}]", role))
                  for n, role in enumerate(roles)]  # fmt: skip
        return as_cloudformation(stack_of(made(*listed), "444455556666"))

    assert "--s3-bucket" not in stack(20, "")
    assert "# The template is larger than 51,200 bytes: `aws cloudformation deploy` needs" in stack(
        80, ""
    )
    with pytest.raises(WrongConfiguration) as refused:
        stack(490, "x" * 200)
    assert "CloudFormation takes 1,000,000" in refused.value.problem
    assert "docs/aws.md#a-catalogue-of-roles" in refused.value.hint


def test_a_stack_with_more_resources_than_cloudformation_allows_is_refused() -> None:
    roles = [f"arn:aws:iam::444455556666:role/r-{n}" for n in range(500)]
    listed = [document(f"p-{n}", rule("a", "", role)) for n, role in enumerate(roles)]
    with pytest.raises(WrongConfiguration) as refused:
        stack_of(made(*listed), "444455556666")
    assert "has 501 resources; CloudFormation allows 500" in refused.value.problem
