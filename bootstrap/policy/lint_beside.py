"""The checks of what a rule has beside its jobs: image builds and service containers."""

from collections.abc import Callable, Iterator

from bootstrap.policy.findings import Finding, warning
from bootstrap.policy.model import Policy, Rule
from bootstrap.policy.reach import pull_requests_of
from bootstrap.policy.steering import is_credential

_LIKE_A_SECRET = 16  # characters; a password of tests, such as `postgres`, has fewer


def _builds_of_forks(policy: Policy, rule: Rule) -> Iterator[Finding]:
    if rule.allow.builds and pull_requests_of(rule) == "any":
        yield warning(
            "fork-reaches-builds", policy, rule.line,
            f"rule {rule.name!r} lets anyone who opens a pull request build images: a build "
            "reaches more of the host's kernel than other jobs",
            "Write `pull-request: same-repository`, or leave out `builds`. Guardrails refuse "
            "such a job, unless they have `forks: anything`.",
        )  # fmt: skip


def _secrets_of_services(policy: Policy, rule: Rule) -> Iterator[Finding]:
    for name, service in rule.allow.services.items():
        for variable, value in service.env.items():
            if is_credential(variable) and len(value) >= _LIKE_A_SECRET:
                yield warning(
                    "secret-in-service", policy, rule.line,
                    f"rule {rule.name!r} has {variable} of the service {name} in the policy, where "
                    "everyone reads it who sees the policy, the audit trail or `docker inspect`",
                    "Use a password of tests alone: services get no secrets.",
                )  # fmt: skip


CHECKS: tuple[Callable[[Policy, Rule], Iterator[Finding]], ...] = (
    _builds_of_forks,
    _secrets_of_services,
)
