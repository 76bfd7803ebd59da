"""Further roles as profiles and secrets, in the room, by real clients."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from tests.fakes.secretsmanager import SecretsManager
from tests.fakes.ssm import StrictSsm
from tests.fakes.sts import Trust
from tests.lab import world
from tests.lab.lab import ROLE, Fleet, Lab, fleet

pytestmark = pytest.mark.lab

AUDIT = "arn:aws:iam::444455556666:role/storefront-audit"
GRANT = f"""  - name: deploy
    when: {{branch: main}}
    allow:
      role: {ROLE}
      roles: {{audit: "{AUDIT}"}}
      secrets: {{NPM_AUTH: "ssm:/storefront/npm", DB: "secretsmanager:prod/db#password"}}
      secret-files: {{license.pem: "ssm:/storefront/license"}}
  - name: nothing
    when: {{branch: "*"}}
    allow: {{}}
"""
CLI = (
    "AWS_PAGER= aws --endpoint-url {url} {profile} sts get-caller-identity "
    "--query Arn --output text"
)
BOTO3 = (
    "python3 -c \"import boto3; s = boto3.Session(profile_name='audit'); "
    "print(s.client('sts', endpoint_url='{url}').get_caller_identity()['Arn'])\""
)
JAVASCRIPT = (
    "cd /opt/sdk && AWS_PROFILE=audit node -e \"const s=require('@aws-sdk/client-sts');"
    "new s.STSClient({{endpoint:'{url}'}}).send(new s.GetCallerIdentityCommand({{}}))"
    '.then(r=>console.log(r.Arn),e=>{{console.error(e);process.exit(9)}})"'
)
LICENSE = "-----BEGIN LICENSE-----\nthe license secret\n-----END LICENSE-----\n"


@pytest.fixture
def stores(fleet: Fleet) -> Iterator[Fleet]:
    with (
        StrictSsm(world.listen(world.WORLD, 0)) as ssm,
        SecretsManager(
            world.listen(world.WORLD, 0), {"prod/db": '{"password": "the db secret"}'}
        ) as manager,
    ):
        ssm.put("/storefront/npm", "the npm secret", kind="SecureString")
        ssm.put("/storefront/license", LICENSE, kind="SecureString")
        endpoints = f'ssm-endpoint = "{ssm.url}"\nsecretsmanager-endpoint = "{manager.url}"'
        text = fleet.config.read_text().replace("[aws]", f"[aws]\n{endpoints}")
        fleet.config.write_text(text)
        fleet.sts.roles[AUDIT] = Trust()
        fleet.policy(GRANT)
        yield fleet


@pytest.mark.parametrize(
    "client",
    [CLI.replace("{profile}", "--profile audit"), BOTO3, JAVASCRIPT],
    ids=["cli", "boto3", "javascript"],
)
def test_a_real_client_reads_default_role_and_profile(stores: Fleet, client: str) -> None:
    both = CLI.format(url=stores.sts.url, profile="") + "\n" + client.format(url=stores.sts.url)
    with stores.agent():
        job = stores.control.enqueue(stores.env(f"set -e\n{both}"))
        assert stores.control.finished(job) == ("0", "", ""), job.log.decode()
    assert b"111122223333:assumed-role/storefront-deploy/storefront-42-" in job.log
    assert b"444455556666:assumed-role/storefront-audit/storefront-42-" in job.log
    assert [asked.role for asked in stores.sts.asked] == [ROLE, AUDIT]
    assert {asked.source_identity for asked in stores.sts.asked} == {job.id}


def test_a_profile_is_renewed_while_the_job_runs(lab: Lab, tmp_path: Path) -> None:
    """Sessions of 4 s, for 14 s; each call is a new client that reads the profile anew."""
    with fleet(lab, tmp_path / "fleet", lifetime=4) as made:
        made.sts.roles[AUDIT] = Trust()
        made.policy(f"  - {{name: a, allow: {{roles: {{audit: '{AUDIT}'}}}}}}\n")
        ask = CLI.format(url=made.sts.url, profile="--profile audit")
        command = f"end=$((SECONDS + 14)); while [ $SECONDS -lt $end ]; do {ask}; sleep 0.2; done"
        with made.agent():
            job = made.control.enqueue(made.env(f"set -e\n{command}"))
            assert made.control.finished(job, 120) == ("0", "", ""), job.log.decode()
        assert len(made.sts.asked) >= 4


def test_secrets_arrive_redacted_and_nowhere_else(stores: Fleet) -> None:
    sums = [sha256(text.encode()).hexdigest() for text in ("the npm secret", "the db secret")]
    command = f"""set -e
        printf %s "$NPM_AUTH" | sha256sum | grep {sums[0]}
        printf %s "$DB" | sha256sum | grep {sums[1]}
        sha256sum $AIRLOCK_SECRETS/license.pem | grep {sha256(LICENSE.encode()).hexdigest()}
        test "$(stat -c %a $AIRLOCK_SECRETS/license.pem)" = 400
        echo printed $NPM_AUTH and $DB
    """
    with stores.agent():
        job = stores.control.enqueue(stores.env(command))
        assert stores.control.finished(job) == ("0", "", ""), job.log.decode()
    assert b"printed [REDACTED] and [REDACTED]" in job.log
    records = stores.records.read_text() + "".join(
        path.read_text() for path in (stores.base / "state/records").glob("*.json")
    )
    for secret in ("the npm secret", "the db secret", "the license secret"):
        assert secret not in records
        assert secret.encode() not in job.log
    assert '"file license.pem": "ssm:/storefront/license"' in records


def test_another_rule_gets_neither(stores: Fleet) -> None:
    command = """
        test -z "$NPM_AUTH$DB$AWS_CONFIG_FILE" && test -z "$(ls -A $AIRLOCK_SECRETS)" && echo none
    """
    with stores.agent():
        job = stores.control.enqueue(stores.env(command, BUILDKITE_BRANCH="feature"))
        assert stores.control.finished(job) == ("0", "", ""), job.log.decode()
    assert b"\nnone" in job.log
    assert stores.sts.asked == []


def test_a_job_cannot_bring_a_value_for_the_rules_variable(stores: Fleet) -> None:
    with stores.agent():
        job = stores.control.enqueue(
            stores.env('test "$DB" = "the db secret" && echo the rule counts', DB="mine")
        )
        assert stores.control.finished(job) == ("0", "", ""), job.log.decode()
    assert b"\nthe rule counts" in job.log


def test_a_secret_that_is_not_there_starts_nothing(stores: Fleet) -> None:
    stores.policy(GRANT.replace("/storefront/npm", "/storefront/absent"))
    with stores.agent():
        job = stores.control.enqueue(stores.env("echo I ran"))
        assert stores.control.finished(job) == ("78", "", "")
    assert b"the secret ssm:/storefront/absent does not exist" in job.log
    assert b"\nI ran" not in job.log
