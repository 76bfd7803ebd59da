"""`airlock policy iam`: its formats, what the host's configuration adds, and wrong options."""

import json
from pathlib import Path
from typing import Any

import hcl2
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.commands.policy.iam import Asked, print_iam
from bootstrap.errors import AirlockError
from tests.commands.conftest import ROLE
from tests.policy.given import HEAD
from tests.test_cli import Done, airlock

HOST = "arn:aws:iam::999988887777:role/buildkite-agents"
OBSERVED = "arn:aws:iam::444455556666:role/observed"
ECR = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"


def iam(folder: Path, *options: str | Path) -> Done:
    done = airlock("policy", "iam", str(folder), "--host-role", HOST, *map(str, options))
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done


def test_each_format_is_what_its_name_says(folder: Path) -> None:
    options = ("--account", "111122223333", "--format")
    read: dict[str, Any] = {"cloudformation": yaml.safe_load, "terraform": hcl2.loads,
                            "json": json.loads}  # fmt: skip
    for form, parse in read.items():
        done = iam(folder, *options, form)
        assert (done.returncode, done.stderr) == (0, "")
        assert parse(done.stdout)
        assert "sts:SetSourceIdentity" in done.stdout
        assert not done.stdout.endswith("\n\n")


def test_a_stack_is_of_one_account(folder: Path) -> None:
    for options in ((), ("--account", "123456789012")):
        done = iam(folder, "--format", "cloudformation", *options)
        assert (done.returncode, done.stdout) == (78, "")
        assert "Pass --account with one of: 111122223333, 999988887777." in done.stderr
    assert set(json.loads(iam(folder).stdout)["roles"]) == {ROLE}


def test_tags_make_trust_policies_that_name_no_pipeline(folder: Path) -> None:
    assert "storefront" in json.dumps(json.loads(iam(folder).stdout)["roles"])
    tags = json.loads(iam(folder, "--trust", "tags").stdout)
    assert "storefront" not in json.dumps(tags["roles"])


def test_a_raised_quota_is_that_of_trust_policies(folder: Path) -> None:
    done = iam(folder, "--trust-policy-quota", "4096")
    (size,) = (s for s in json.loads(done.stdout)["sizes"] if "trust" in s["document"])
    assert (size["document"], size["quota"]) == ("trust policy of deploy", 4096)


def test_a_policy_that_is_too_long_names_the_pipeline_and_the_remedies(folder: Path) -> None:
    branches = ", ".join(f"branch-of-quite-some-length-{n}" for n in range(90))
    rules = f"  - {{name: deploy, when: {{branch: [{branches}]}}, allow: {{role: '{ROLE}'}}}}\n"
    (folder / "storefront.yaml").write_text(HEAD + rules)
    done = iam(folder)
    assert (done.returncode, done.stdout) == (78, "")
    assert f"the trust policy of {ROLE} has " in done.stderr
    assert "storefront alone needs " in done.stderr
    assert "--trust tags" in done.stderr


def test_the_hosts_configuration_adds_what_it_needs_itself(folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "airlock.toml"
    config.write_text(
        '[policy]\nstore = "ssm:/buildkite/pipelines"\nguardrails = "ssm:/buildkite/guardrails"\n'
        f'mode = "observe"\nobserve-role = "{OBSERVED}"\n'
        f'[sandbox]\nimage = "{ECR}/ci/default:1"\n[paths]\nruntime = "{tmp_path}/run"\n'
        f'[registries]\n"{ECR}" = "ecr"\n"registry.example.com" = "ssm:/logins/registry"\n'
    )
    config.chmod(0o644)
    found = json.loads(iam(folder, "--config", config).stdout)
    (document,) = found["host-role"]
    stated = {s["Sid"]: s["Resource"] for s in document["Statement"]}
    assert stated["AirlockSessions"] == [ROLE, OBSERVED]
    assert stated["AirlockPolicies"][0] == "arn:aws:ssm:us-east-1:*:parameter/buildkite/pipelines"
    assert (
        stated["AirlockGuardrails"][0] == "arn:aws:ssm:us-east-1:*:parameter/buildkite/guardrails"
    )
    assert stated["AirlockParameters"] == ["arn:aws:ssm:*:999988887777:parameter/logins/registry"]
    assert stated["AirlockImages"] == ["arn:aws:ecr:eu-west-1:111122223333:repository/ci/default"]
    assert OBSERVED in found["roles"]
    config.write_text(config.read_text().replace('mode = "observe"\n', ""))
    assert OBSERVED not in iam(folder, "--config", config).stdout


def test_drift_is_printed_and_a_malformed_dump_refused(folder: Path, tmp_path: Path) -> None:
    dump = tmp_path / "dump.json"
    dump.write_text(json.dumps({"RoleDetailList": []}))
    done = iam(folder, "--drift", dump)
    assert done.returncode == 1
    assert f"{ROLE}: is not in the dump" in done.stdout
    assert "1 difference in 1 role" in done.stdout
    hosts = iam(folder, "--account", "999988887777", "--drift", dump)
    assert (hosts.returncode, hosts.stdout) == (
        1, f"{HOST}: is not in the dump\n1 difference in 1 role\n",
    )  # fmt: skip
    unknown = iam(folder, "--account", "123456789012", "--drift", dump)
    assert (unknown.returncode, unknown.stdout) == (78, "")
    assert "account 123456789012 has no role of these policies" in unknown.stderr
    for text, problem in (("{}", "has no RoleDetailList"), ("[" * 100_000, "is not a dump"),
                          ("{", "is not a dump of roles")):  # fmt: skip
        dump.write_text(text)
        wrong = iam(folder, "--drift", dump)
        assert wrong.returncode == 78
        assert problem in wrong.stderr
    dump.write_bytes(b"\xff")
    assert iam(folder, "--drift", dump).returncode == 78


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--host-role", "me"), "--host-role is 'me': expected a role's ARN"),
        (("--account", "12"), "--account is '12'; expected an account's twelve digits"),
        (("--organization", "a:b*"), "--organization is 'a:b*'; expected an organization's slug"),
        (("--kms-key", "*"), "--kms-key is '*'; expected the ARN of a key, with its id"),
        (("--trust-policy-quota", "1"), "is '1'; expected 2048 to 8192 characters"),
    ],
)
def test_a_malformed_option_is_named_with_what_was_expected(
    folder: Path, options: tuple[str, ...], problem: str
) -> None:
    done = iam(folder, *options)
    assert (done.returncode, done.stdout) == (78, "")
    assert problem in done.stderr


@given(
    host_role=st.text() | st.just(HOST),
    account=st.none() | st.text() | st.just("111122223333"),
    organization=st.none() | st.text(),
    key=st.text(),
    quota=st.integers() | st.just(2048),
    form=st.sampled_from(["json", "cloudformation", "terraform"]),
)
def test_no_option_causes_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, quota: int, key: str, **options: Any
) -> None:
    directory = tmp_path_factory.mktemp("policies")
    rules = f"  - {{name: deploy, when: {{branch: main}}, allow: {{role: '{ROLE}'}}}}\n"
    (directory / "storefront.yaml").write_text(HEAD + rules)
    asked = Asked(trust_quota=quota, keys=(key,) if key else (), **options)
    shown: list[str] = []
    try:
        status = print_iam(
            directory=directory, config_path=directory / "absent", asked=asked, output=shown.append
        )
    except AirlockError as refused:
        assert refused.hint
        assert not shown
    else:
        assert (status, len(shown)) == (0, 1)


def test_a_configuration_beside_a_directory_has_what_the_hosts_need(
    folder: Path, config: Path
) -> None:
    done = iam(folder, "--config", config)
    assert done.returncode == 0, done.stderr
    assert "parameter/buildkite/pipelines" in json.dumps(json.loads(done.stdout)["host-role"])


def test_drift_is_json_where_that_is_asked_for(folder: Path, tmp_path: Path) -> None:
    dump = tmp_path / "roles.json"
    dump.write_text('{"RoleDetailList": []}')
    done = iam(folder, "--drift", dump, "--format", "json")
    assert (done.returncode, json.loads(done.stdout)) == (
        1, {"differences": [f"{ROLE}: is not in the dump"], "roles": 1},
    )  # fmt: skip
    assert iam(folder, "--drift", dump).stdout.endswith("\n1 difference in 1 role\n")
    for form in ("cloudformation", "terraform"):
        wrong = iam(folder, "--drift", dump, "--format", form)
        assert (wrong.returncode, wrong.stdout) == (2, "")
        assert f"--drift prints text or JSON, not {form}" in wrong.stderr


def test_a_comparison_of_nothing_is_no_success(folder: Path, tmp_path: Path) -> None:
    rules = "  - {name: a, allow: {secrets: {A: 'ssm:/ci/a'}}}\n"
    (folder / "storefront.yaml").write_text(HEAD + rules)
    dump = tmp_path / "roles.json"
    dump.write_text('{"RoleDetailList": []}')
    done = iam(folder, "--drift", dump)
    assert (done.returncode, done.stdout) == (78, "")
    assert (
        f"nothing was compared: these policies need nothing of the roles in {dump}" in done.stderr
    )
    dump.write_text(json.dumps({"RoleDetailList": [{"Arn": HOST}]}))
    hosts = iam(folder, "--drift", dump)
    assert hosts.returncode == 1
    assert hosts.stdout.endswith("in 1 role\n")
