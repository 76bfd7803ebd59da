"""Roles as profiles, and secrets, used in the sandbox by real clients."""

from collections.abc import Iterator
from hashlib import sha256

import jwt
import pytest

from tests.fakes.metadata import ACCESS_KEY_ID
from tests.fakes.secretsmanager import SecretsManager
from tests.fakes.ssm import StrictSsm
from tests.fakes.sts import Trust
from tests.lab import world
from tests.lab.lab import ROLE, Fleet, Lab

pytestmark = pytest.mark.lab

HUB = "arn:aws:iam::444455556666:role/hub"
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
LICENSE = "-----BEGIN LICENSE-----\nthe license secret\n-----END LICENSE-----\n"


@pytest.fixture
def ssm(lab: Lab) -> Iterator[StrictSsm]:
    with StrictSsm(world.listen(world.WORLD, 0)) as strict:
        strict.put("/storefront/npm", "the npm secret", kind="SecureString")
        strict.put("/storefront/license", LICENSE, kind="SecureString")
        yield strict


@pytest.fixture
def manager(lab: Lab) -> Iterator[SecretsManager]:
    secrets = {"prod/db": '{"password": "the db secret"}'}
    with SecretsManager(world.listen(world.WORLD, 0), secrets) as made:
        yield made


@pytest.fixture
def stores(fleet: Fleet, ssm: StrictSsm, manager: SecretsManager) -> Fleet:
    endpoints = f'ssm-endpoint = "{ssm.url}"\nsecretsmanager-endpoint = "{manager.url}"'
    fleet.config.write_text(fleet.config.read_text().replace("[aws]", f"[aws]\n{endpoints}"))
    fleet.sts.roles[AUDIT] = Trust()
    fleet.policy(GRANT)
    return fleet


def test_default_role_and_profile_have_separate_sessions(stores: Fleet) -> None:
    both = [CLI.format(url=stores.sts.url, profile=way) for way in ("", "--profile audit")]
    with stores.agent():
        job = stores.control.enqueue(stores.env("set -e\n" + "\n".join(both)))
        assert stores.control.finished(job) == ("0", "", ""), job.log.decode()
    assert b"111122223333:assumed-role/storefront-deploy/storefront-42-" in job.log
    assert b"444455556666:assumed-role/storefront-audit/storefront-42-" in job.log
    # Both are requested at the same time.
    assert sorted(asked.role for asked in stores.sts.asked) == sorted([ROLE, AUDIT])
    assert {asked.source_identity for asked in stores.sts.asked} == {job.id}


def test_role_via_hub_is_assumed_in_two_hops(stores: Fleet) -> None:
    stores.sts.roles[HUB] = Trust()
    stores.policy(f"  - {{name: a, allow: {{role: '{ROLE}', session: {{via: '{HUB}'}}}}}}\n")
    with stores.agent():
        job = stores.control.enqueue(stores.env(CLI.format(url=stores.sts.url, profile="")))
        assert stores.control.finished(job) == ("0", "", ""), job.log.decode()
    assert f"role {ROLE} (via {HUB}) until" in job.log.decode()
    assert b"111122223333:assumed-role/storefront-deploy/storefront-42-" in job.log
    assert [(asked.role, asked.duration) for asked in stores.sts.asked] == [
        (HUB, 900),
        (ROLE, 3600),
    ]
    (session,) = [event for event in stores.events(job.id) if event["event"] == "session"]
    assert (session["role"], session["via"]) == (ROLE, HUB)


def test_session_near_size_limit_is_logged(stores: Fleet) -> None:
    stores.sts.packed_size = 93
    with stores.agent():
        job = stores.control.enqueue(stores.env("true"))
        assert stores.control.finished(job) == ("0", "", ""), job.log.decode()
    assert job.log.count(b"its tags and policies take 93 % of STS's limit") == 2


def test_role_with_web_identity_is_assumed_with_buildkite_token(stores: Fleet) -> None:
    stores.sts.roles[ROLE] = Trust(web_identity=True)
    grant = f"{{role: '{ROLE}', session: {{identity: buildkite}}}}"
    stores.policy(f"  - {{name: a, allow: {grant}}}\n")
    with stores.agent():
        job = stores.control.enqueue(stores.env(CLI.format(url=stores.sts.url, profile="")))
        assert stores.control.finished(job) == ("0", "", ""), job.log.decode()
    assert b"111122223333:assumed-role/storefront-deploy/storefront-42-" in job.log
    asked = stores.sts.requests[0]
    assert (asked.action, asked.key) == ("AssumeRoleWithWebIdentity", None)
    claims = jwt.decode(asked.parameters["WebIdentityToken"], options={"verify_signature": False})
    assert (claims["aud"], claims["job_id"]) == ("sts.amazonaws.com", job.id)


@pytest.mark.parametrize("reader", ["host", "role"])
def test_secrets_are_read_with_credentials_that_rule_names(
    stores: Fleet, ssm: StrictSsm, manager: SecretsManager, reader: str
) -> None:
    stores.policy(GRANT.replace("secrets:", f"secrets-with: {reader}\n      secrets:"))
    with stores.agent():
        job = stores.control.enqueue(stores.env('test "$NPM_AUTH" = "the npm secret"'))
        assert stores.control.finished(job) == ("0", "", ""), job.log.decode()
    issued = {key for key, session in stores.sts.issued.items() if "-deploy/" in session.arn}
    assert ssm.access_keys() == (issued if reader == "role" else {ACCESS_KEY_ID})
    assert manager.access_keys() == ssm.access_keys()


def test_secrets_are_redacted_in_log_and_absent_from_records(stores: Fleet) -> None:
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
    (event,) = [event for event in stores.events(job.id) if event["event"] == "secrets"]
    reference = "ssm:/storefront/license"
    licence = {"kind": "secret-files", "name": "license.pem", "reference": reference}
    assert licence in event["secrets"]


def test_other_rule_gets_no_role_and_no_secret(stores: Fleet) -> None:
    command = """
        test -z "$NPM_AUTH$DB$AWS_CONFIG_FILE" && test -z "$(ls -A $AIRLOCK_SECRETS)" && echo none
    """
    with stores.agent():
        job = stores.control.enqueue(stores.env(command, BUILDKITE_BRANCH="feature"))
        assert stores.control.finished(job) == ("0", "", ""), job.log.decode()
    assert b"\nnone" in job.log
    assert stores.sts.asked == []


def test_variable_of_job_does_not_replace_granted_secret(stores: Fleet) -> None:
    with stores.agent():
        job = stores.control.enqueue(
            stores.env('test "$DB" = "the db secret" && echo the rule counts', DB="mine")
        )
        assert stores.control.finished(job) == ("0", "", ""), job.log.decode()
    assert b"\nthe rule counts" in job.log


def test_missing_secret_starts_nothing(stores: Fleet) -> None:
    stores.policy(GRANT.replace("/storefront/npm", "/storefront/absent"))
    with stores.agent():
        job = stores.control.enqueue(stores.env("echo I ran"))
        assert stores.control.finished(job) == ("78", "", "")
    assert b"the secret ssm:/storefront/absent does not exist" in job.log
    assert b"\nI ran" not in job.log
