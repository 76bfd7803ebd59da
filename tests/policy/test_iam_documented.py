"""What docs/aws.md and docs/governance.md show of accounts, executed: moto has them as AWS would.

moto creates what a stack has and issues sessions, but it evaluates no trust policy. So the
documents that it was given are also evaluated, as AWS documents it (tests/fakes).
"""

import json
import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from bootstrap.credentials.plan import plans
from bootstrap.grants.kind import DEFAULT
from bootstrap.host.config import Aws
from bootstrap.policy.iam.model import Trust
from bootstrap.policy.iam.stack import as_json
from bootstrap.policy.parse import parse, parse_guardrails
from tests.aws.given import client
from tests.credentials.given import write_credentials
from tests.fakes.iam_evaluation import Request, allows
from tests.fakes.sts_authorization import Fleet, forged
from tests.policy.fleet import asked, fleet, job, made
from tests.policy.samples import HOST
from tests.test_cli import Done, airlock
from tests.test_docs import ROOT

ACCOUNT, HOSTS = "111122223333", "999988887777"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/ci/deploy"
AWS_PAGE = (ROOT / "docs/aws.md").read_text()
POLICIES = re.findall(r"^```yaml\n(.*?)^```$", AWS_PAGE, re.MULTILINE | re.DOTALL)
ONBOARDING = (ROOT / "docs/governance.md").read_text().split("## Onboarding an account")[1]


def run(line: str, place: Path) -> Done:
    """Run a command of Airlock as it is shown, with the examples as the folder of policies."""
    places = {"policies/": str(ROOT / "agent-config/policies"), "roles.json": f"{place}/roles.json"}
    _, *words = shlex.split(line.partition(" > ")[0])
    return airlock(*(places.get(word, word) for word in words))


def commands() -> list[str]:
    shown = re.findall(r"^```console\n(.*?)^```$", ONBOARDING, re.MULTILINE | re.DOTALL)
    return [line for block in shown[:2] for line in block.splitlines()]


def test_the_trust_policy_shown_is_that_of_the_rule_shown() -> None:
    trusting = parse(POLICIES[0], "storefront.yaml")
    (shown,) = re.findall(r"^```json\n(.*?)^```$", AWS_PAGE, re.MULTILINE | re.DOTALL)
    (role,) = made(trusting).roles.values()
    assert role.trust == json.loads(shown)
    assert fleet(made(trusting)).refusal(asked(job(), trusting), caller=HOST) is None


GUARDRAILS = """guardrails: acme
roles: ["arn:aws:iam::*:role/ci/*"]
secrets: ["ssm:/ci/*", "!*/root"]
images: ["111122223333.dkr.ecr.us-east-1.amazonaws.com/ci/*@sha256:*"]
"""


def test_a_new_pipeline_is_one_file_and_changes_no_stack() -> None:
    assert POLICIES[1].count("\n") <= 10
    new = parse(POLICIES[1], "search.yaml")
    old = parse(
        re.sub(r"\n      secrets: .*", "", POLICIES[1].replace("search", "shop")), "shop.yaml"
    )
    options: dict[str, Any] = {
        "trust": Trust.TAGS,
        "guardrails": parse_guardrails(GUARDRAILS, "guardrails.yaml"),
    }
    before = made(old, **options)
    assert as_json(before, None) == as_json(made(old, new, **options), None)
    env = {"BUILDKITE_REPO": "git@github.com:acme/search.git"}
    wanted = asked(job(pipeline="search", **env), new)
    assert fleet(before).refusal(wanted, caller=HOST) is None
    assert not fleet(before).trusts(forged(wanted, pipeline=None), caller=HOST)
    for action, resource in (
        ("ssm:GetParameters", f"arn:aws:ssm:us-east-1:{HOSTS}:parameter/ci/search/npm-token"),
        ("ecr:BatchGetImage", f"arn:aws:ecr:us-east-1:{ACCOUNT}:repository/ci/search"),
    ):
        for asks, expected in ((resource, True), (resource.replace("/ci/", "/other/"), False)):
            request = Request(action=action, resource=asks, principal=HOST)
            assert allows(before.host, request) is expected


class Account:
    """One account of moto, by the header that its server takes for it."""

    def __init__(self, url: str, account: str) -> None:
        self._url, self._account = url, account

    def client(self, service: str) -> Any:
        client = boto3.client(
            service, endpoint_url=self._url, region_name="us-east-1",
            aws_access_key_id="AKIAANY", aws_secret_access_key="any",
        )  # fmt: skip
        client.meta.events.register("before-send", self._name_account)
        return client

    def _name_account(self, request: Any, **_: Any) -> None:
        request.headers["x-moto-account-id"] = self._account

    def roles(self) -> dict[str, Any]:
        return {role["Arn"]: role for role in self.dump()["RoleDetailList"]}

    def dump(self) -> Any:
        return self.client("iam").get_account_authorization_details(Filter=["Role"])


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address, port = server.get_host_and_port()
    yield f"http://{address}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def deployed(moto: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Run the commands shown; what they call `aws` is moto."""
    tmp_path = tmp_path_factory.mktemp("stacks")
    assume = json.dumps({"Version": "2012-10-17", "Statement": []})
    Account(moto, HOSTS).client("iam").create_role(
        RoleName="buildkite-agents", AssumeRolePolicyDocument=assume
    )
    account = ""
    for line in commands()[:4]:
        words = shlex.split(line.partition(" > ")[0])
        options = dict(pairwise(words))
        if words[0] == "airlock":
            account = options["--account"]
            done = run(line, tmp_path)
            assert (done.returncode, done.stderr) == (0, "")
            (tmp_path / line.partition(" > ")[2]).write_text(done.stdout)
        else:
            Account(moto, account).client("cloudformation").create_stack(
                StackName=options["--stack-name"],
                TemplateBody=(tmp_path / options["--template-file"]).read_text(),
                Capabilities=[options["--capabilities"]],
            )
    return moto


def test_the_account_has_the_roles_after_the_commands_shown(deployed: str, tmp_path: Path) -> None:
    found = Account(deployed, ACCOUNT).roles()
    assert set(found) == {ROLE}
    dump = tmp_path / "roles.json"
    dump.write_text(json.dumps(Account(deployed, ACCOUNT).dump(), default=str))
    done = run(commands()[-1], tmp_path)
    assert (done.returncode, done.stdout) == (0, "0 differences in 1 role\n")
    trust = found[ROLE]["AssumeRolePolicyDocument"]
    del trust["Statement"][0]["Condition"]["Null"]
    changed = {"RoleDetailList": [{"Arn": ROLE, "AssumeRolePolicyDocument": trust}]}
    dump.write_text(json.dumps(changed))
    assert run(commands()[-1], tmp_path).returncode == 1


def test_the_hosts_assume_a_deployed_role_with_airlocks_own_request(
    deployed: str, tmp_path: Path
) -> None:
    policy = parse((ROOT / "agent-config/policies/storefront.yaml").read_text(), "storefront.yaml")
    rule = policy.rules[0]  # which also asks for a verified commit
    wanted = plans(job(), rule.allow, rule=rule.name)[DEFAULT]
    assert wanted.role == ROLE
    write_credentials(tmp_path / "credentials", "AKIAHOST")
    aws = Aws.model_validate(
        {"credentials": f"file:{tmp_path}/credentials", "sts-endpoint": deployed}
    )
    session = client(aws).assume(wanted)
    assert session.assumed_role.startswith(
        f"arn:aws:sts::{ACCOUNT}:assumed-role/deploy/storefront-42-"
    )
    as_deployed = fleet_of(deployed)
    assert as_deployed.refusal(wanted, caller=HOST) is None
    assert not as_deployed.trusts(forged(wanted, pipeline="docs"), caller=HOST)
    assert not as_deployed.trusts(forged(wanted, branch="dev"), caller=HOST)


def fleet_of(url: str) -> Fleet:
    """Return the documents that moto has."""
    found = Account(url, ACCOUNT).roles()
    iam = Account(url, HOSTS).client("iam")
    attached = iam.list_attached_role_policies(RoleName="buildkite-agents")["AttachedPolicies"]
    documents = [
        iam.get_policy_version(PolicyArn=each["PolicyArn"], VersionId="v1")["PolicyVersion"]
        for each in attached
    ]
    return Fleet(
        trust={arn: role["AssumeRolePolicyDocument"] for arn, role in found.items()},
        policies={HOST: tuple(each["Document"] for each in documents)},
    )
