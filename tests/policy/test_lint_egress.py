"""What lint reports of a rule's list of what its jobs reach."""

from dataclasses import replace

import pytest

from bootstrap.policy.catalogue import Catalogue
from bootstrap.policy.lint import lint as all_findings
from tests.policy.given import policy
from tests.policy.test_lint import found


def lint(egress: str) -> set[str]:
    rules = f"  - {{name: only, when: {{pull-request: any}}, allow: {{{egress}}}}}\n"
    return {one for one in found(rules) if one.startswith("egress")}


def test_lint_reports_a_list_without_the_repository() -> None:
    assert "egress-lacks-repository" in lint("egress: none")
    assert "egress-lacks-repository" in lint("egress: {hosts: '*.github.com'}")
    assert not lint("egress: {hosts: github.com}")
    assert not lint("")


@pytest.mark.parametrize(
    ("egress", "reported"),
    [
        ("egress: {cidrs: 203.0.113.0/24}", False),
        ("egress: {cidrs: 198.51.100.0/24}", True),
        ("egress: {hosts: '*'}", True),
        ("egress: {mode: observe}", False),
    ],
)
def test_a_repository_at_an_address_is_reached_by_its_network(
    egress: str, *, reported: bool
) -> None:
    rules = f"  - {{name: only, when: {{pull-request: any}}, allow: {{{egress}}}}}\n"
    parsed = replace(policy(rules), repositories=("ssh://git@203.0.113.7/acme/storefront.git",))
    identifiers = {one.id for one in all_findings(Catalogue(policies=(parsed,), guardrails=None))}
    assert ("egress-lacks-repository" in identifiers) is reported


def test_lint_says_where_the_repository_goes_in_a_rule_without_a_list() -> None:
    rules = "  - {name: only, when: {pull-request: any}, allow: {egress: none}}\n"
    finding = found(rules)["egress-lacks-repository"]
    assert "list" not in finding.text
    assert "`egress: {hosts: [github.com]}`" in finding.fix


@pytest.mark.parametrize(
    "host", ["*.com", "*.amazonaws.com", "*.github.io", "*.internal", "*.core.windows.net"]
)
def test_lint_reports_domains_of_everyone(host: str) -> None:
    assert lint(f"egress: {{hosts: [github.com, '{host}']}}") == {"egress-open-wildcard"}


def test_lint_takes_what_is_below_a_name_of_one_owner_for_its_own() -> None:
    assert not lint("egress: {hosts: [github.com, '*.acme-artifacts.s3.amazonaws.com']}")


def test_lint_reports_what_limits_little() -> None:
    assert lint("egress: {mode: observe}") == {"egress-observed"}
    for cidr, reported in (("20.0.0.0/8", True), ("20.2.0.0/15", True), ("20.2.0.0/16", False)):
        found_wide = "egress-wide-network" in lint(f"egress: {{hosts: github.com, cidrs: {cidr}}}")
        assert found_wide is reported


def test_lint_reports_a_list_with_every_name() -> None:
    assert lint("egress: {hosts: '*'}") == {"egress-open-wildcard"}


ECR = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
LAYERS = "prod-eu-west-1-starport-layer-bucket.s3.eu-west-1.amazonaws.com"
ROLE = "role: 'arn:aws:iam::111122223333:role/ci/x'"


@pytest.mark.parametrize(
    ("grants", "hosts", "missing"),
    [
        ("registries: {'r.example.com:5000': 'ssm:/ci/r'}", "github.com", "r.example.com"),
        ("registries: {docker.io: 'ssm:/ci/r'}", "github.com, docker.io",
         "registry-1.docker.io, auth.docker.io"),
        (f"{ROLE}, registries: {{{ECR}: role}}", "github.com", f"{ECR}, {LAYERS}"),
        (f"{ROLE}, registries: {{{ECR}: role}}", f"github.com, {ECR}", LAYERS),
        ("git-tokens: {'https://git.example.com/acme/': 'ssm:/ci/t'}", "github.com",
         "git.example.com"),
    ],
)  # fmt: skip
def test_lint_names_the_hosts_of_logins_that_are_not_reached(
    grants: str, hosts: str, missing: str
) -> None:
    allow = f"{grants}, egress: {{hosts: [{hosts}]}}"
    rules = f"  - {{name: only, when: {{branch: main}}, allow: {{{allow}}}}}\n"
    fixes = [one.fix for one in all_findings(Catalogue(policies=(policy(rules),)))]
    assert [fix for fix in fixes if f"Add to hosts: {missing};" in fix]


@pytest.mark.parametrize(
    ("grants", "hosts"),
    [
        ("registries: {r.example.com: 'ssm:/ci/r'}", "github.com, '*.example.com'"),
        (ROLE, "github.com, sts.eu-west-1.amazonaws.com"),
        (ROLE, "github.com, 's3.cn-north-1.amazonaws.com.cn'"),
        (f"{ROLE}, registries: {{{ECR}: role}}", f"github.com, {ECR}, {LAYERS}"),
        ("secrets: {A: 'ssm:/ci/a'}", "github.com"),
    ],
)
def test_lint_is_silent_where_the_hosts_of_grants_are_listed(grants: str, hosts: str) -> None:
    assert not lint(f"{grants}, egress: {{hosts: [{hosts}]}}")


def test_lint_reports_a_role_without_any_host_of_aws() -> None:
    assert lint(f"{ROLE}, egress: {{hosts: github.com}}") == {"egress-lacks-grant"}
    assert not lint(f"{ROLE}, egress: internet")


def test_lint_reports_builds_that_can_pull_no_base_image() -> None:
    """Which registries a Dockerfile needs is not known: a list with any host is not reported."""
    nowhere = {"egress-lacks-grant", "egress-lacks-repository"}
    assert lint("builds: buildkit, egress: none") == nowhere
    assert lint("builds: buildkit, egress: {hosts: []}") == nowhere
    assert lint("egress: none") == {"egress-lacks-repository"}
    assert not lint("builds: buildkit, egress: {hosts: github.com}")
    assert not lint("builds: buildkit, egress: {mode: observe}") - {"egress-observed"}
    assert not lint("builds: buildkit")
