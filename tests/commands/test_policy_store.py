"""`airlock policy push`, `pull` and the store of the host."""

from pathlib import Path

from tests.commands.test_policy import ALL, policy
from tests.fakes.ssm import StrictSsm


def test_push_writes_what_differs_and_pull_brings_it_back(
    ssm: StrictSsm, config: Path, folder: Path, tmp_path: Path
) -> None:
    done = policy("push", folder, "--config", config, "--dry-run")
    assert "would write /buildkite/pipelines/storefront/policy" in done.stdout
    assert "PutParameter" not in ssm.operations
    done = policy("push", folder, "--config", config)
    assert done.returncode == 0, done.stderr
    assert "wrote /buildkite/pipelines/storefront/policy, version 1" in done.stdout
    assert "0 of 1 document differed" in policy("push", folder, "--config", config).stdout
    ssm.put("/buildkite/pipelines/leafy/repository", "git@github.com:acme/leafy.git")
    ssm.put("/buildkite/pipelines/leafy/branches", "main,release/*", kind="StringList")
    assert policy("pull", tmp_path / "back", "--config", config).returncode == 0
    back = tmp_path / "back"
    assert (back / "storefront.yaml").read_text() == (folder / "storefront.yaml").read_text()
    assert policy("lint", back).returncode == 0
    assert "release/*" in (back / "leafy.yaml").read_text()
    full = policy("pull", back, "--config", config)
    assert full.returncode == 78
    assert "is not empty" in full.stderr


def test_push_refuses_what_lint_refuses(ssm: StrictSsm, config: Path, folder: Path) -> None:
    (folder / "b.yaml").write_text(ALL)
    done = policy("push", folder, "--config", config)
    assert done.returncode == 1
    assert "nothing was written" in done.stdout
    assert ssm.calls == []


def test_push_refuses_to_mix_layouts(ssm: StrictSsm, config: Path, folder: Path) -> None:
    ssm.put("/buildkite/pipelines/storefront/repository", "git@github.com:acme/storefront.git")
    done = policy("push", folder, "--config", config)
    assert done.returncode == 78
    assert "a pipeline has either those or one document" in done.stderr
    assert "PutParameter" not in ssm.operations


def test_a_push_that_fails_midway_prints_how_much_was_written(
    ssm: StrictSsm, config: Path, folder: Path
) -> None:
    for number in range(3):
        text = ALL.replace("pipeline: storefront", f"pipeline: p{number}")
        (folder / f"p{number}.yaml").write_text(text)
    ssm.may_put = 2
    done = policy("push", folder, "--config", config)
    assert done.returncode == 125
    assert "2 of 4 parameters were changed; push again for the rest" in done.stdout
    ssm.may_put = 100
    again = policy("push", folder, "--config", config)
    assert again.returncode == 0
    assert "2 of 4 documents differed" in again.stdout


def test_push_refuses_a_policy_too_large_for_a_parameter(
    ssm: StrictSsm, config: Path, folder: Path
) -> None:
    (folder / "storefront.yaml").write_text(ALL + "#" * 8192)
    done = policy("push", folder, "--config", config)
    assert done.returncode == 1
    assert "; a parameter holds 8192" in done.stdout


def test_push_refuses_a_store_that_is_not_in_ssm(tmp_path: Path, folder: Path) -> None:
    config = tmp_path / "file.toml"
    config.write_text('[sandbox]\nimage = "job:1"\n')
    config.chmod(0o644)
    done = policy("push", folder, "--config", config)
    assert done.returncode == 78
    assert "which is not in SSM" in done.stderr


def test_the_hosts_store_is_the_default(ssm: StrictSsm, config: Path) -> None:
    ssm.put("/buildkite/pipelines/storefront/policy", ALL)
    ssm.put("/buildkite/pipelines/foreign/npm-token", "x", kind="SecureString")
    done = policy("lint", "--config", config)
    assert "1 policy, 0 errors" in done.stdout
    ssm.put("/buildkite/pipelines/broken/branchs", "x")
    done = policy("lint", "--config", config)
    assert done.returncode == 1
    assert 'unknown parameter "branchs"; did you mean "branches"?' in done.stdout
