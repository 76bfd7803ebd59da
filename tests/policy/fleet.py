"""The documents of `policy iam` as AWS evaluates them, and the requests that Airlock sends."""

from collections.abc import Iterable, Mapping
from typing import Any

from bootstrap.aws.model import SessionRequest
from bootstrap.credentials.plan import plans
from bootstrap.grants.kind import DEFAULT
from bootstrap.job.assemble import claims_of
from bootstrap.job.model import Claims
from bootstrap.policy.decide import decide
from bootstrap.policy.iam.documents import Options, iam
from bootstrap.policy.iam.model import Iam
from bootstrap.policy.model import Admitted, Policy
from bootstrap.policy.parse import parse
from tests.fakes.sts_authorization import Fleet, Token
from tests.job.given import job_env, process_env
from tests.policy.samples import HOST

COMMIT = "3c44caebd2fcfca65b567fe290a1e31485d54f5b"


def document(pipeline: str, rules: str) -> Policy:
    text = f"pipeline: {pipeline}\nrepository: git@github.com:acme/storefront.git\nrules:\n{rules}"
    return parse(text, f"{pipeline}.yaml")


def made(*policies: Policy, **options: Any) -> Iam:
    return iam(policies, Options(host_role=HOST, **{"organization": "acme", **options}))


def fleet(found: Iam) -> Fleet:
    """Return what AWS has once every stack is deployed."""
    return Fleet(
        trust={arn: role.trust for arn, role in found.roles.items()},
        policies={
            found.host_role: found.host,
            **{arn: (role.policy,) for arn, role in found.roles.items() if role.policy},
        },
        longest={arn: role.longest for arn, role in found.roles.items()},
        control=found.scp,
    )


def job(*, pipeline: str = "storefront", branch: str = "main", tag: str = "", **env: str) -> Claims:
    """Return the claims of a build; the branch of a build of a tag is the tag's name."""
    named = {"BUILDKITE_PIPELINE_SLUG": pipeline, "BUILDKITE_BRANCH": tag or branch}
    tagged = {"BUILDKITE_TAG": tag} if tag else {}
    return claims_of(job_env(**named, **tagged, **env), process_env())


def token(claims: Claims, *, step: str = "deploy", organization: str = "acme") -> Token:
    """Return Buildkite's token for the job."""
    env: Mapping[str, str] = claims.env
    tag = env.get("BUILDKITE_TAG")
    ref = f"refs/tags/{tag}" if tag else f"refs/heads/{env['BUILDKITE_BRANCH']}"
    return Token(
        subject=f"organization:{organization}:pipeline:{claims.pipeline}:ref:{ref}"
        f":commit:{COMMIT}:step:{step}"
    )


def request(claims: Claims, policies: Iterable[Policy]) -> SessionRequest | None:
    """Return what Airlock asks STS for the job's own role, None if a rule grants none."""
    (policy,) = (p for p in policies if p.pipeline == claims.pipeline)
    decision = decide(claims, policy)
    if not isinstance(decision, Admitted):
        return None
    return plans(claims, decision.grant, rule=decision.rule).get(DEFAULT)


def asked(claims: Claims, *policies: Policy) -> SessionRequest:
    """Return the same for a job that has a role."""
    found = request(claims, policies)
    assert found, f"no rule grants {claims.pipeline} a role"
    return found
