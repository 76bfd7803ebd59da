"""What lint reports of a rule's list of what its jobs reach."""

import pytest

from tests.policy.test_lint import found


def lint(egress: str) -> set[str]:
    rules = f"  - {{name: only, when: {{pull-request: any}}, allow: {{{egress}}}}}\n"
    return {one for one in found(rules) if one.startswith("egress")}


def test_lint_reports_a_list_without_the_repository() -> None:
    assert "egress-lacks-repository" in lint("egress: none")
    assert "egress-lacks-repository" in lint("egress: {hosts: '*.github.com'}")
    assert not lint("egress: {hosts: github.com}")
    assert not lint("egress: {hosts: '*'}")
    assert not lint("")


def test_lint_says_where_the_repository_goes_in_a_rule_without_a_list() -> None:
    rules = "  - {name: only, when: {pull-request: any}, allow: {egress: none}}\n"
    finding = found(rules)["egress-lacks-repository"]
    assert "list" not in finding.text
    assert "`egress: {hosts: [github.com]}`" in finding.fix


@pytest.mark.parametrize("host", ["*.com", "*.amazonaws.com", "*.github.io", "*.internal"])
def test_lint_reports_domains_of_everyone(host: str) -> None:
    assert lint(f"egress: {{hosts: [github.com, '{host}']}}") == {"egress-open-wildcard"}


def test_lint_reports_what_limits_little() -> None:
    assert lint("egress: {mode: observe}") == {"egress-observed"}
    assert "egress-wide-network" in lint("egress: {hosts: github.com, cidrs: 20.0.0.0/8}")
