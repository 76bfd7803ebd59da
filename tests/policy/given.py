"""A policy and a job for tests of the decision."""

from bootstrap.job.assemble import assemble
from bootstrap.job.model import Job
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


def job(**env: str) -> Job:
    return assemble(job_env(**env), process_env())


def decided(when: str, **env: str) -> Decision:
    """Decide about a job by a policy of one rule."""
    return decide(job(**env), policy(f"  - {{name: only, when: {when}, allow: {{}}}}\n"))
