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
