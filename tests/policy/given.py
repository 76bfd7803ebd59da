"""A policy and a job's claims for tests of the decision."""

from bootstrap.job.assemble import claims_of
from bootstrap.job.model import Claims
from bootstrap.policy.decide import decide
from bootstrap.policy.model import Decision, Policy
from bootstrap.policy.parse import parse
from tests.job.given import job_env, process_env

HEAD = """pipeline: storefront
repository: git@github.com:acme/storefront.git
rules:
"""


def policy(rules: str) -> Policy:
    return parse(HEAD + rules, "storefront.yaml")


def claims(**env: str) -> Claims:
    return claims_of(job_env(**env), process_env())


def decided(when: str, **env: str) -> Decision:
    """Decide about a job by a policy of one rule."""
    return decide(claims(**env), policy(f"  - {{name: only, when: {when}, allow: {{}}}}\n"))
