"""`airlock policy who-can`: what is printed of an access, and what is counted."""

import json
from pathlib import Path

from tests.commands.test_policy import ROLE, policy
from tests.policy.given import HEAD


def test_who_can_prints_rules_or_returns_1(folder: Path) -> None:
    done = policy("who-can", ROLE, "--policies", folder)
    assert done.returncode == 0
    assert "storefront: rule 'deploy' grants role" in done.stdout
    unused = policy("who-can", "arn:unused", "--policies", folder)
    assert unused.returncode == 1
    assert "0 pipelines can reach arn:unused" in unused.stdout
    part = policy("who-can", "ci/deploy", "--policies", folder)
    assert part.returncode == 1
    assert part.stdout.splitlines()[1].endswith(f'and * is any text; did you mean "{ROLE}"?')


def test_who_can_lists_rules_whose_jobs_can_get_a_token_of_any_audience(folder: Path) -> None:
    (folder / "storefront.yaml").write_text(
        HEAD + "  - {name: signs, when: {branch: main}, allow: {agent-api: "
        "{oidc-audiences: 'https://signer.example.com'}}}\n"
        "  - {name: narrow, allow: {agent-api: {}}}\n  - {name: open, allow: {}}\n"
    )
    for asked in ("https://signer.example.com", "sts.amazonaws.com", "*.example.com"):
        done = policy("who-can", asked, "--policies", folder)
        assert done.returncode == 0, done.stdout
        assert "rule 'open' has no agent-api: its jobs can get a token for any OIDC" in done.stdout
        assert "narrow" not in done.stdout
        assert ("rule 'signs' grants" in done.stdout) == (asked != "sts.amazonaws.com")
        found = json.loads(policy("who-can", asked, "--policies", folder, "--json").stdout)
        assert [one["name"] for one in found if one["rule"] == "open"] == ["*"]
    for other in (ROLE, "arn:unused", "ci/deploy", "buildkite:KEY"):
        assert "agent-api" not in policy("who-can", other, "--policies", folder).stdout
    (folder / "guardrails.yaml").write_text("guardrails: acme\nagent-api: required\n")
    done = policy("who-can", "sts.amazonaws.com", "--policies", folder)
    assert (done.returncode, done.stdout) == (1, "0 pipelines can reach sts.amazonaws.com\n")


def test_who_can_does_not_count_what_guardrails_refuse(folder: Path) -> None:
    (folder / "guardrails.yaml").write_text("guardrails: acme\naccounts: ['444455556666']\n")
    done = policy("who-can", ROLE, "--policies", folder)
    assert (done.returncode, done.stdout.splitlines()[-2:]) == (1, [
        "    REFUSED by guardrail accounts: got 111122223333, allowed 444455556666",
        f"0 pipelines can reach {ROLE}; the guardrails refuse 1 more",
    ])  # fmt: skip
    (found,) = json.loads(policy("who-can", ROLE, "--policies", folder, "--json").stdout)
    assert found["refused"] == ["accounts: got 111122223333, allowed 444455556666"]


def test_who_can_names_audiences_and_forks_get_none(folder: Path) -> None:
    (folder / "storefront.yaml").write_text(
        HEAD + "  - {name: r, when: {pull-request: any}, allow: {agent-api: "
        "{oidc-audiences: 'https://signer.example.com'}}}\n"
    )
    for asked in ("https://signer.example.com", "*signer*"):
        (found,) = json.loads(policy("who-can", asked, "--policies", folder, "--json").stdout)
        assert found["kind"] == "OIDC audience"
        assert found["pull_requests"] == "same-repository"
    other = policy("who-can", "https://SIGNER.example.com", "--policies", folder)
    assert other.returncode == 1, "an audience is compared character for character"
