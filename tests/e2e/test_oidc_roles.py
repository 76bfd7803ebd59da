"""A role that trusts Buildkite's tokens: any job assumes it without the gateway, none with it.

https://buildkite.com/docs/agent/cli/reference/oidc: a job asks for any audience that it likes.
"""

from collections.abc import Callable, Iterator

import jwt
import pytest

from tests.fakes.control_plane import ControlPlane, Job, JobOrder
from tests.fakes.sts import Trust
from tests.lab.lab import Fleet, Lab, fleet

pytestmark = pytest.mark.lab
AUDIENCE = "sts.amazonaws.com"
ROLE = "arn:aws:iam::111122223333:role/production"  # in no policy of Airlock's
RULES = f"""  - {{name: no gateway, when: {{step: open}}, allow: {{}}}}
  - {{name: nothing, when: {{step: shut}}, allow: {{agent-api: {{}}}}}}
  - name: another audience
    when: {{step: other}}
    allow: {{agent-api: {{oidc-audiences: "https://vault.example.com"}}}}
  - name: this audience
    when: {{step: granted}}
    allow: {{agent-api: {{oidc-audiences: {AUDIENCE}}}}}
"""
# The second way goes past the agent and its endpoint: the job's token, sent to Buildkite itself.
COMMAND = f"""
take() {{
  curl -s STS_URL -d Action=AssumeRoleWithWebIdentity -d Version=2011-06-15 \
    -d RoleSessionName=mine -d RoleArn={ROLE} --data-urlencode "WebIdentityToken=$1" > answer
  grep -q "assumed-role/production/mine" answer && state=assumed || state=refused
  echo "$2 the agent: $state"
}}
take "$(buildkite-agent oidc request-token --audience {AUDIENCE} --skip-redaction)" by
take "$(curl -s -H "Authorization: Token $BUILDKITE_AGENT_ACCESS_TOKEN" \
  -d '{{"audience": "{AUDIENCE}"}}' BUILDKITE_URL/jobs/$BUILDKITE_JOB_ID/oidc/tokens |
  jq -r .token)" past
"""


@pytest.fixture(scope="module")
def here(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(lab, tmp_path_factory.mktemp("oidc") / "fleet") as made:
        made.policy(RULES)
        made.sts.roles[ROLE] = Trust(web_identity=True)
        made.sts.verify_token = verifying(made.control)
        with made.agent():
            yield made


def verifying(control: ControlPlane) -> Callable[[str], object]:
    """Return what AWS does: the signature by the issuer's published key, audience and expiry."""

    def verified(token: str) -> object:
        (key,) = jwt.PyJWKSet.from_dict(control.issuer.document("jwks") or {}).keys
        try:
            return jwt.decode(token, key, ["RS256"], audience=AUDIENCE, issuer=control.url)
        except jwt.PyJWTError as wrong:
            raise ValueError(str(wrong)) from wrong

    return verified


def done(here: Fleet, step: str) -> Job:
    command = COMMAND.replace("STS_URL", here.sts.url).replace("BUILDKITE_URL", here.control.url)
    env = here.env(command, BUILDKITE_STEP_KEY=step)
    job = here.control.enqueue(JobOrder(env=env, agent="agent-1"))
    here.control.finished(job)
    return job


def ways(job: Job) -> list[str]:
    """Return what the job found out about each."""
    lines = job.log.decode().replace("\r", "").splitlines()
    return [line for line in lines if line.startswith(("by the agent: ", "past the agent: "))]


def signed(here: Fleet, job: Job) -> list[str | None]:
    return [audience for of, audience in here.control.issuer.signed if of == job.id]


def test_without_a_gateway_a_job_without_grants_assumes_the_role(here: Fleet) -> None:
    before = len(here.sts.issued)
    job = done(here, "open")
    assert ways(job) == ["by the agent: assumed", "past the agent: assumed"], job.log.decode()
    assert signed(here, job) == [AUDIENCE, AUDIENCE]
    assert len(here.sts.issued) == before + 2


@pytest.mark.parametrize("step", ["shut", "other"])
def test_with_the_gateway_it_does_not(here: Fleet, step: str) -> None:
    before = len(here.sts.issued)
    job = done(here, step)
    assert ways(job) == ["by the agent: refused", "past the agent: refused"], job.log.decode()
    assert signed(here, job) == []
    assert len(here.sts.issued) == before
    event = here.event(job.id, "agent_api")
    assert [one["path"] for one in event["refused"]] == [f"/jobs/{job.id}/oidc/tokens"]


def test_a_rule_allows_the_way_of_the_agent_alone(here: Fleet) -> None:
    job = done(here, "granted")
    assert ways(job) == ["by the agent: assumed", "past the agent: refused"], job.log.decode()
    assert signed(here, job) == [AUDIENCE]
