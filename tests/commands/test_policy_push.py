"""`airlock policy push` and `pull`: guardrails, pruning, and nothing over what nobody has seen."""

import json
import os
import pty
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.commands.test_policy import ALL, policy
from tests.fakes.simulator import Reply, loopback
from tests.fakes.ssm import StrictSsm
from tests.test_cli import AIRLOCK

PREFIX = "/buildkite/pipelines"
STOREFRONT = f"{PREFIX}/storefront/policy"
RAILS = "/buildkite/guardrails"
GUARDRAILS = "guardrails: acme\nroles: 'arn:aws:iam::*:role/ci/*'\n"


@pytest.fixture
def guarded(config: Path) -> Path:
    """A configuration whose hosts read guardrails from the store too."""
    text = config.read_text().replace("[policy]\n", f'[policy]\nguardrails = "ssm:{RAILS}"\n')
    config.write_text(text)
    return config


def changes(ssm: StrictSsm) -> list[str]:
    return [one for one in ssm.operations if one in {"PutParameter", "DeleteParameter"}]


def test_guardrails_are_pushed_and_pulled(
    ssm: StrictSsm, guarded: Path, folder: Path, tmp_path: Path
) -> None:
    (folder / "guardrails.yaml").write_text(GUARDRAILS)
    done = policy("push", folder, "--config", guarded)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"wrote {RAILS}, version 1\nwrote {STOREFRONT}, version 1\n")
    assert policy("pull", tmp_path / "back", "--config", guarded).returncode == 0
    assert (tmp_path / "back/guardrails.yaml").read_text() == GUARDRAILS
    assert (
        policy("diff", "store", tmp_path / "back", "--config", guarded).stdout
        == "No access changes.\n"
    )


def test_guardrails_that_only_allow_more_are_written_last(
    ssm: StrictSsm, guarded: Path, folder: Path
) -> None:
    ssm.put(RAILS, GUARDRAILS)
    (folder / "guardrails.yaml").write_text("guardrails: acme\n")
    done = policy("push", folder, "--config", guarded)
    assert done.stdout.startswith(f"wrote {STOREFRONT}, version 1\nwrote {RAILS}, version 2\n")


@pytest.mark.parametrize("verb", ["push", "diff store"])
def test_guardrails_that_no_host_would_read_are_an_error(
    ssm: StrictSsm, config: Path, folder: Path, verb: str
) -> None:
    ssm.put(STOREFRONT, ALL)
    (folder / "guardrails.yaml").write_text(GUARDRAILS)
    done = policy(*verb.split(), folder, "--config", config)
    assert done.returncode == 78
    assert "they would limit nothing" in done.stderr
    assert 'Set policy.guardrails = "ssm:/path" on the hosts' in done.stderr
    assert changes(ssm) == []


def gone(ssm: StrictSsm) -> None:
    ssm.put(STOREFRONT, ALL)
    ssm.put(f"{PREFIX}/gone/policy", ALL.replace("storefront", "gone"))
    ssm.put(f"{PREFIX}/leafy/branches", "main")
    ssm.put(f"{PREFIX}/leafy/repository", "git@github.com:acme/leafy.git")
    ssm.put(f"{PREFIX}/leafy/npm-token", "s3cret", kind="SecureString")


def test_prune_asks_and_without_a_terminal_writes_nothing(
    ssm: StrictSsm, config: Path, folder: Path
) -> None:
    gone(ssm)
    done = policy("push", folder, "--config", config)
    assert "2 pipelines of the store not in the directory: gone, leafy" in done.stdout
    assert changes(ssm) == ["PutParameter"]
    done = policy("push", folder, "--config", config, "--prune")
    assert done.returncode == 78
    assert "would remove 3 parameters, and there is no terminal" in done.stderr
    done = policy("push", folder, "--config", config, "--prune", "--dry-run")
    assert done.returncode == 0
    assert f"would remove {PREFIX}/gone/policy, version 1" in done.stdout
    assert changes(ssm) == ["PutParameter"]


def test_prune_with_yes_removes_the_repository_first_and_nothing_foreign(
    ssm: StrictSsm, config: Path, folder: Path
) -> None:
    gone(ssm)
    done = policy("push", folder, "--config", config, "--prune", "--yes")
    assert done.returncode == 0, done.stderr
    removed = [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("removed")]
    assert removed == [
        f"{PREFIX}/gone/policy", f"{PREFIX}/leafy/repository", f"{PREFIX}/leafy/branches",
    ]  # fmt: skip
    assert set(ssm.parameters) == {STOREFRONT, f"{PREFIX}/leafy/npm-token"}
    assert "s3cret" not in done.stdout + done.stderr


@pytest.mark.parametrize(("answer", "status"), [(b"y\n", 0), (b"n\n", 1), (b"\n", 1), (b"\x04", 1)])
def test_prune_on_a_terminal_goes_by_the_answer(
    ssm: StrictSsm, config: Path, folder: Path, answer: bytes, status: int
) -> None:
    gone(ssm)
    ours, its = pty.openpty()
    os.write(ours, answer)
    done = subprocess.run(
        [str(AIRLOCK), "policy", "push", folder, "--config", config, "--prune"],
        stdin=its, capture_output=True, text=True, check=False,
    )  # fmt: skip
    os.close(its)
    os.close(ours)
    assert done.returncode == status, done.stderr
    assert "Remove 3 parameters from the store?" in done.stdout
    assert (f"{PREFIX}/gone/policy" in ssm.parameters) == bool(status)
    assert ("nothing was written" in done.stdout) == bool(status)


def test_guardrails_are_never_pruned(ssm: StrictSsm, guarded: Path, folder: Path) -> None:
    ssm.put(RAILS, GUARDRAILS)
    done = policy("push", folder, "--config", guarded, "--prune", "--yes")
    assert done.returncode == 0
    assert ssm.parameters[RAILS].value == GUARDRAILS


def test_push_refuses_what_changed_after_it_was_compared(
    ssm: StrictSsm, config: Path, folder: Path, tmp_path: Path
) -> None:
    ssm.put(STOREFRONT, ALL)
    seen = tmp_path / "versions.json"
    done = policy("diff", "store", folder, "--config", config, "--save-versions", seen)
    assert done.returncode == 1
    assert json.loads(seen.read_text())["parameters"] == {STOREFRONT: 1}
    ssm.put(STOREFRONT, ALL + "# by somebody else\n")
    done = policy("push", folder, "--config", config, "--versions", seen)
    assert done.returncode == 1
    assert f"{STOREFRONT}: expected version 1, got version 2, written by " in done.stdout
    assert "user/writer-2 at 2027-" in done.stdout
    assert "nothing was written" in done.stdout
    ssm.writer = None
    done = policy("push", folder, "--config", config, "--versions", seen)
    assert f"{STOREFRONT}: expected version 1, got version 2\n" in done.stdout
    assert changes(ssm) == []
    policy("diff", "store", folder, "--config", config, "--save-versions", seen)
    for _ in range(2):  # the file has the new versions after a push
        assert policy("push", folder, "--config", config, "--versions", seen).returncode == 0


def test_push_of_a_pulled_directory_refuses_what_changed_meanwhile(
    ssm: StrictSsm, guarded: Path, tmp_path: Path
) -> None:
    ssm.put(STOREFRONT, ALL)
    ssm.put(RAILS, GUARDRAILS)
    back = tmp_path / "back"
    assert policy("pull", back, "--config", guarded, "--dry-run").returncode == 0
    assert not back.exists()
    assert policy("pull", back, "--config", guarded).returncode == 0
    (back / "new.yaml").write_text(ALL.replace("storefront", "new"))
    ssm.put(RAILS, "guardrails: acme\n")  # under which nobody has reviewed anything
    ssm.put(f"{PREFIX}/other/policy", ALL.replace("storefront", "other"))
    done = policy("push", back, "--config", guarded)
    assert done.returncode == 1
    assert f"{RAILS}: expected version 1, got version 2" in done.stdout
    assert f"{PREFIX}/other" not in done.stdout  # which this push leaves alone
    done = policy("push", back, "--config", guarded, "--prune", "--dry-run")
    assert f"{PREFIX}/other/policy: expected no parameter, got version 1" in done.stdout


def test_versions_of_a_directory_cannot_be_recorded(folder: Path, tmp_path: Path) -> None:
    done = policy("diff", folder, folder, "--save-versions", tmp_path / "v")
    assert (done.returncode, "is a directory" in done.stderr) == (78, True)
    assert not (tmp_path / "v").exists()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"version": 2}', b"\xff", b"[" * 100_000,
                b'{"version": 1, "store": "/x", "parameters": {"/x": "1"}}']
)  # fmt: skip
def test_a_file_of_versions_that_is_none_is_an_error(
    ssm: StrictSsm, config: Path, folder: Path, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "v").write_bytes(content)
    done = policy("push", folder, "--config", config, "--versions", tmp_path / "v")
    assert done.returncode == 78
    assert "the file of versions" in done.stderr
    assert changes(ssm) == []


def test_versions_of_another_store_or_none_are_an_error(
    ssm: StrictSsm, config: Path, folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "v"
    other.write_text('{"version": 1, "store": "/other", "parameters": {}}')
    done = policy("push", folder, "--config", config, "--versions", other)
    assert (done.returncode, "those of /other" in done.stderr) == (78, True)
    done = policy("push", folder, "--config", config, "--versions", tmp_path / "absent")
    assert (done.returncode, "does not exist" in done.stderr) == (78, True)
    assert changes(ssm) == []


class Busy(StrictSsm):
    """Another writer, who comes right before the push's own first write."""

    def _put(self, asked: dict[str, Any]) -> Reply:
        if self.parameters.pop("/late", None):
            self.put(STOREFRONT, ALL + "# late\n")
        return super()._put(asked)


def test_a_write_in_the_same_moment_is_noticed(config: Path, folder: Path) -> None:

    with Busy(loopback()) as busy:
        text = config.read_text()
        config.write_text("\n".join(
            f'ssm-endpoint = "{busy.url}"' if line.startswith("ssm-endpoint") else line
            for line in text.splitlines()
        ))  # fmt: skip
        busy.put("/late", "late")
        new = policy("push", folder, "--config", config)
        assert new.returncode == 1
        assert f"{STOREFRONT} was changed during this push" in new.stdout
        assert busy.parameters[STOREFRONT].value.endswith("# late\n")
        busy.put("/late", "late")
        over = policy("push", folder, "--config", config)
        assert over.returncode == 1
        assert f"{STOREFRONT}: version 2 was written by somebody else" in over.stdout


def test_an_encrypted_or_advanced_parameter_stays_what_it_is(
    ssm: StrictSsm, config: Path, folder: Path
) -> None:
    """SSM changes no parameter's type, and makes no advanced one a standard one."""
    ssm.put(STOREFRONT, ALL, kind="SecureString")
    ssm.tiers[STOREFRONT] = "Advanced"
    done = policy("push", folder, "--config", config)
    assert done.returncode == 0, done.stderr
    assert ssm.parameters[STOREFRONT].kind == "SecureString"


def test_what_ssm_does_not_store_is_refused_before_anything_is_written(
    ssm: StrictSsm, config: Path, folder: Path
) -> None:
    (folder / "storefront.yaml").write_text(ALL + "# {{ template }}\n")
    done = policy("push", folder, "--config", config)
    assert done.returncode == 1
    assert "storefront: the text contains {{, which SSM does not store" in done.stdout
    assert ssm.calls == []


@pytest.mark.parametrize("slug", ["guardrails", "a.test", "..", "Big"])
def test_pull_writes_no_file_that_means_something_else(
    ssm: StrictSsm, config: Path, tmp_path: Path, slug: str
) -> None:
    ssm.put(f"{PREFIX}/{slug}/policy", ALL)
    done = policy("pull", tmp_path / "back", "--config", config)
    assert done.returncode == 78
    assert f"ssm:{PREFIX}/{slug}" in done.stderr
    assert not (tmp_path / "back").exists()


def test_pull_writes_documents_with_mistakes_and_mentions_them(
    ssm: StrictSsm, config: Path, tmp_path: Path
) -> None:
    ssm.put(STOREFRONT, "pipeline: [")
    done = policy("pull", tmp_path / "back", "--config", config)
    assert done.returncode == 0
    assert "1 document with mistakes" in done.stdout
    assert (tmp_path / "back/storefront.yaml").read_text() == "pipeline: ["
