"""`airlock policy push` and `pull` for programs: one document, whatever was written until then."""

import json
from pathlib import Path

from tests.commands.test_policy import ALL, policy
from tests.commands.test_policy_push import GUARDRAILS, PREFIX, RAILS, STOREFRONT, guarded
from tests.fakes.ssm import StrictSsm

__all__ = ["guarded"]  # a fixture

NOTHING: dict[str, list[str]] = {
    "written": [], "removed": [], "to-write": [], "to-remove": [], "not-in-directory": [],
    "problems": [],
}  # fmt: skip


def test_a_push_says_what_it_would_write_and_what_it_wrote(
    ssm: StrictSsm, guarded: Path, folder: Path
) -> None:
    (folder / "guardrails.yaml").write_text(GUARDRAILS)
    ssm.put(f"{PREFIX}/gone/policy", ALL.replace("storefront", "gone"))
    push = ("push", folder, "--config", guarded, "--format", "json")
    size = len((folder / "storefront.yaml").read_bytes())
    planned = {"path": STOREFRONT, "bytes": size, "over": None}
    rails = {"path": RAILS, "bytes": len(GUARDRAILS), "over": None}
    done = policy(*push, "--dry-run")
    assert (done.returncode, json.loads(done.stdout)) == (
        0, {**NOTHING, "to-write": [rails, planned], "not-in-directory": ["gone"]},
    )  # fmt: skip
    done = policy(*push, "--prune", "--yes")
    assert (done.returncode, json.loads(done.stdout)) == (0, {
        **NOTHING,
        "written": [{"path": RAILS, "version": 1}, {"path": STOREFRONT, "version": 1}],
        "removed": [f"{PREFIX}/gone/policy"], "not-in-directory": ["gone"],
    })  # fmt: skip


def test_a_push_that_writes_nothing_says_why(ssm: StrictSsm, config: Path, folder: Path) -> None:
    push = ("push", folder, "--config", config, "--format", "json")
    ssm.put(f"{PREFIX}/gone/policy", ALL.replace("storefront", "gone"))
    asked = policy(*push, "--prune")
    assert (asked.returncode, asked.stdout) == (78, "")
    error = json.loads(asked.stderr)["error"]
    assert error["exit"] == 78
    assert "remove 1 parameter, and --format json asks nothing; nothing was" in error["message"]
    assert "--prune --yes" in error["hint"]
    (folder / "storefront.yaml").write_text("pipeline: [")
    wrong = policy(*push)
    (problem,) = json.loads(wrong.stdout)["problems"]
    assert wrong.returncode == 1
    assert problem.startswith(f"{folder}/storefront.yaml:2: error [mistake] not YAML")
    assert "PutParameter" not in ssm.operations


def test_a_push_over_what_changed_says_why_and_what_to_do(
    ssm: StrictSsm, config: Path, folder: Path, tmp_path: Path
) -> None:
    ssm.put(STOREFRONT, ALL)
    ssm.writer = None
    seen = tmp_path / "versions.json"
    seen.write_text('{"version": 1, "store": "/buildkite/pipelines", "parameters": {}}')
    done = policy("push", folder, "--config", config, "--versions", seen, "--format", "json")
    assert (done.returncode, json.loads(done.stdout)["problems"]) == (1, [
        f"the store is not as it was when {seen} was written",
        f"{STOREFRONT}: expected no parameter, got version 1",
        "nothing was written: `airlock policy diff store DIR --save-versions FILE` compares again",
    ])  # fmt: skip


def test_a_file_of_versions_that_cannot_be_written_is_a_problem_of_a_push_that_is_done(
    ssm: StrictSsm, config: Path, folder: Path, tmp_path: Path
) -> None:
    seen = tmp_path / ("v" * 255)  # beside which no longer name fits
    seen.write_text('{"version": 1, "store": "/buildkite/pipelines", "parameters": {}}')
    done = policy("push", folder, "--config", config, "--versions", seen, "--format", "json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["written"]) == (0, [{"path": STOREFRONT, "version": 1}])
    (problem,) = found["problems"]
    assert problem.endswith("the versions in it are those before this push")


def test_a_push_that_fails_midway_says_what_is_left(
    ssm: StrictSsm, config: Path, folder: Path
) -> None:
    for slug in ("a", "b"):
        (folder / f"{slug}.yaml").write_text(ALL.replace("storefront", slug))
    ssm.may_put = 1
    done = policy("push", folder, "--config", config, "--format", "json")
    found = json.loads(done.stdout)
    assert (done.returncode, json.loads(done.stderr)["error"]["exit"]) == (125, 125)
    assert found["written"] == [{"path": f"{PREFIX}/a/policy", "version": 1}]
    assert [one["path"] for one in found["to-write"]] == [f"{PREFIX}/b/policy", STOREFRONT]


def test_a_pull_lists_its_files(ssm: StrictSsm, guarded: Path, tmp_path: Path) -> None:
    ssm.put(STOREFRONT, "pipeline: [")
    ssm.put(RAILS, GUARDRAILS)
    back = tmp_path / "back"
    pull = ("pull", back, "--config", guarded, "--format", "json")
    files = [str(back / "storefront.yaml"), str(back / "guardrails.yaml")]
    assert json.loads(policy(*pull, "--dry-run").stdout) == {
        "written": [], "to-write": files, "with-mistakes": 1,
    }  # fmt: skip
    done = policy(*pull)
    assert (done.returncode, json.loads(done.stdout)) == (
        0, {"written": files, "to-write": [], "with-mistakes": 1},
    )  # fmt: skip
    again = policy(*pull)
    assert (again.returncode, json.loads(again.stderr)["error"]["exit"]) == (78, 78)
