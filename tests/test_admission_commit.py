"""Admission of a job whose rule has its commit verified: the check, and the credentials it gets."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bootstrap import admission
from bootstrap.credentials.repository_access import RepositoryAccess
from bootstrap.errors import WrongConfiguration
from bootstrap.host.config import Aws, Host
from bootstrap.job.model import Claims, Known, Provenance
from bootstrap.log import JobLog
from bootstrap.policy.model import Admitted, Denied
from bootstrap.record import Record
from bootstrap.sandbox.commit_check import ancestry
from tests.credentials.given import write_credentials
from tests.fakes.simulator import loopback
from tests.fakes.ssm import StrictSsm
from tests.policy.given import claims
from tests.test_admission import ROLE, admit, agent, decided, events, host


@pytest.mark.parametrize("answer", ["verified", "elsewhere", "unknown"])
def test_what_the_host_found_out_about_the_commit_is_among_the_claims(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    found = Known(value=answer, provenance=Provenance.HOST)
    monkeypatch.setattr(ancestry, "commit_on_branch", lambda *_, **__: found)
    rules = "  - {name: r, when: {branch: main, commit-on-branch: verified}, allow: {}}\n"
    made = decided(host(tmp_path, rules))
    assert made.claims.facts["commit-on-branch"] == found
    assert isinstance(made.decision, Admitted) == (answer == "verified")


def test_the_commit_is_not_asked_for_where_nothing_depends_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bootstrap.sandbox.commit_check.ancestry.commit_on_branch", pytest.fail)
    assert isinstance(decided(host(tmp_path)).decision, Admitted)


TOKENS = "git-tokens: {'https://git.example.com/acme/': 'ssm:/ci/git'}"
PRIVATE = "https://git.example.com/acme/private.git"
CHECKED = (
    "  - name: checked\n    when: {branch: main, commit-on-branch: verified}\n"
    f"    allow: {{{TOKENS}, ssh-keys: 'ssm:/ci/key'}}\n"
)


@pytest.fixture
def ssm() -> Iterator[StrictSsm]:
    with StrictSsm(loopback()) as strict:
        strict.put("/ci/git", "the-git-token", kind="SecureString")
        strict.put("/ci/key", "the-ssh-key", kind="SecureString")
        yield strict


def private(tmp_path: Path, ssm: StrictSsm, rules: str = CHECKED, **policy: Any) -> Host:
    """Return a host whose policy is about a private repository, with its secrets in SSM."""
    made = host(tmp_path, rules, **policy)
    document = tmp_path / "policies/storefront.yaml"
    document.write_text(document.read_text().replace("git@github.com:acme/storefront.git", PRIVATE))
    write_credentials(tmp_path / "credentials", "AKIAHOST")
    aws = {"credentials": f"file:{tmp_path}/credentials", "ssm-endpoint": ssm.url}
    return made.model_copy(update={"aws": Aws.model_validate(aws)})


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[RepositoryAccess]:
    """Take the container's place: note what it may use, and verify every commit."""
    seen: list[RepositoryAccess] = []

    def commit_on_branch(_: Claims, __: Host, access: Any, ___: JobLog) -> Known:
        seen.append(access())
        return Known(value="verified", provenance=Provenance.HOST)

    monkeypatch.setattr(ancestry, "commit_on_branch", commit_on_branch)
    return seen


def test_the_check_gets_the_token_of_the_rule_that_it_decides_about(
    tmp_path: Path, ssm: StrictSsm, checks: list[RepositoryAccess]
) -> None:
    admit(tmp_path, private(tmp_path, ssm), claims(BUILDKITE_REPO=PRIVATE))
    (access,) = checks
    assert [secret.reveal() for secret in access.obtained.secrets.values()] == ["the-git-token"]
    assert [kind.key for kind in access.grant.kinds] == ["git-tokens"], "keys are of no use there"
    fetched, admitted = events(tmp_path)
    assert (fetched["event"], fetched["purpose"]) == ("secrets", "commit-on-branch")
    assert fetched["secrets"] == [
        {"kind": "git-tokens", "name": "https://git.example.com/acme/", "reference": "ssm:/ci/git"}
    ]
    assert admitted["event"] == "admitted"
    assert "the-git-token" not in (tmp_path / "records.jsonl").read_text()


def test_what_the_check_fetched_is_masked_in_the_log(
    tmp_path: Path, ssm: StrictSsm, checks: list[RepositoryAccess]
) -> None:
    lines: list[bytes] = []
    log = JobLog(lines.append)
    record = Record(tmp_path / "records.jsonl", "now")
    of = claims(BUILDKITE_REPO=PRIVATE)
    admission.decide(of, agent(), private(tmp_path, ssm), record, log)
    basic = base64.b64encode(b"x-access-token:the-git-token").decode()
    log.note(f"git printed the-git-token, or what it sends: {basic}")
    assert b"the-git-token" not in b"".join(lines)
    assert basic.encode() not in b"".join(lines)
    assert len(checks) == 1


@pytest.mark.parametrize(
    ("rules", "env"),
    [
        (CHECKED.replace("branch: main", "branch: other"), {}),
        (CHECKED, {"BUILDKITE_PULL_REQUEST": "7"}),
        (CHECKED, {"BUILDKITE_REPO": "https://git.example.com/acme/else.git"}),
    ],
    ids=["another-branch", "a-fork", "another-repository"],
)
@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_no_credential_is_fetched_for_a_job_that_no_answer_would_admit(
    tmp_path: Path,
    ssm: StrictSsm,
    checks: list[RepositoryAccess],
    *,
    rules: str,
    env: dict[str, str],
    mode: str,
) -> None:
    of = claims(**{"BUILDKITE_REPO": PRIVATE, **env})
    made = decided(private(tmp_path, ssm, rules, mode=mode), of)
    assert isinstance(made.decision, Denied)
    assert (checks, ssm.calls) == ([], [])


def test_no_credential_is_fetched_for_a_rule_beyond_the_guardrails(
    tmp_path: Path, ssm: StrictSsm, checks: list[RepositoryAccess]
) -> None:
    """The check is of use for the second rule only, which has no credentials."""
    rails = tmp_path / "guardrails.yaml"
    rails.write_text("guardrails: acme\nsecrets: []\n")
    second = "  - name: second\n    when: {commit-on-branch: verified-or-unknown}\n    allow: {}\n"
    here = private(tmp_path, ssm, CHECKED + second, guardrails=f"file:{rails}")
    assert isinstance(decided(here, claims(BUILDKITE_REPO=PRIVATE)).decision, Denied)
    assert ssm.calls == []
    assert checks == [RepositoryAccess()]


def test_a_rule_that_reads_with_its_role_gives_nothing_to_the_check(
    tmp_path: Path, ssm: StrictSsm, checks: list[RepositoryAccess]
) -> None:
    """Its role session is for admitted jobs; a public repository can be verified all the same."""
    rules = CHECKED.replace("allow: {", f"allow: {{role: '{ROLE}', secrets-with: role, ")
    decided(private(tmp_path, ssm, rules), claims(BUILDKITE_REPO=PRIVATE))
    assert checks == [RepositoryAccess()]
    assert ssm.calls == []


def test_missing_token_in_observe_mode_is_a_refusal_that_is_only_observed(
    tmp_path: Path, ssm: StrictSsm, checks: list[RepositoryAccess]
) -> None:
    rules = CHECKED.replace("ssm:/ci/git", "ssm:/ci/absent")
    of = claims(BUILDKITE_REPO=PRIVATE)
    made = decided(private(tmp_path, ssm, rules, mode="observe"), of)
    assert isinstance(made.decision, Denied)
    assert "ssm:/ci/absent" in made.decision.problem
    assert (made.enforced, checks) == (False, [])


def test_missing_token_in_enforce_mode_is_a_wrong_configuration(
    tmp_path: Path, ssm: StrictSsm, checks: list[RepositoryAccess]
) -> None:
    rules = CHECKED.replace("ssm:/ci/git", "ssm:/ci/absent")
    with pytest.raises(WrongConfiguration, match="ssm:/ci/absent does not exist"):
        decided(private(tmp_path, ssm, rules), claims(BUILDKITE_REPO=PRIVATE))
    assert checks == []
