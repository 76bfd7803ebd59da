"""`airlock policy diff`: what an approver reads, in each format, and its exit statuses."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.commands.test_policy import ROOT, policy
from tests.fakes.ssm import StrictSsm, denial
from tests.policy.given import HEAD
from tests.test_cli import AIRLOCK

ROLE = "arn:aws:iam::111122223333:role/ci/deploy"
OTHER = "arn:aws:iam::444455556666:role/ci/read"
GUARDRAILS = "guardrails: acme\nroles: ['arn:aws:iam::*:role/ci/*']\nsession: 12h\n"
DEPLOY = f"  - {{name: deploy, when: {{branch: main}}, allow: {{role: '{ROLE}'}}}}\n"
READ = f"  - {{name: read, when: {{branch: '*'}}, allow: {{role: '{OTHER}'}}}}\n"


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Path, Path]:
    """Two directories with the same policy and guardrails."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "storefront.yaml").write_text(HEAD + DEPLOY + READ)
        (tmp_path / name / "guardrails.yaml").write_text(GUARDRAILS)
    return tmp_path / "old", tmp_path / "new"


def test_the_same_twice_changes_nothing(sides: tuple[Path, Path]) -> None:
    done = policy("diff", *sides)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "No access changes.\n"


def test_deleted_guardrails_are_a_gain_of_access(sides: tuple[Path, Path]) -> None:
    (sides[1] / "guardrails.yaml").unlink()
    done = policy("diff", *sides)
    assert done.returncode == 1
    assert "every pipeline\n  + gains  guardrails" in done.stdout
    assert "arn:aws:iam::*:role/ci/*" in done.stdout


def test_another_order_of_rules_changes_access(sides: tuple[Path, Path]) -> None:
    (sides[1] / "storefront.yaml").write_text(HEAD + READ + DEPLOY)
    done = policy("diff", *sides)
    assert done.returncode == 1
    assert f"- loses  role {ROLE}" in done.stdout
    assert f"+ gains  role {OTHER}" in done.stdout
    assert "branch main" in done.stdout


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("state", ["empty", "absent", "a file", "broken", "a link", "binary"])
def test_a_side_that_cannot_be_read_is_a_failure_and_no_change(
    sides: tuple[Path, Path], tmp_path: Path, side: int, state: str
) -> None:
    document = sides[side] / "storefront.yaml"
    document.rename(tmp_path / "moved.yaml")
    (sides[side] / "guardrails.yaml").unlink()
    match state:
        case "absent":
            sides[side].rmdir()
        case "a file":
            sides[side].rmdir()
            sides[side].touch()
        case "broken":
            document.write_text("pipeline: [\n")
        case "a link":
            document.symlink_to(tmp_path / "moved.yaml")
        case "binary":
            document.write_bytes(b"\xff\xfe")
    done = policy("diff", *sides)
    assert (done.returncode, done.stdout) == (78, "")
    assert "loses" not in done.stderr
    assert str(sides[side]) in done.stderr


@pytest.mark.parametrize("side", [0, 1])
def test_an_empty_side_can_be_allowed(sides: tuple[Path, Path], side: int) -> None:
    for path in sides[side].iterdir():
        path.unlink()
    done = policy("diff", *sides, "--allow-empty")
    assert done.returncode == 1
    assert ("- loses" if side else "+ gains") + f"  role {ROLE}" in done.stdout


def test_a_setting_of_a_session_is_part_of_the_access(sides: tuple[Path, Path]) -> None:
    text = (sides[1] / "storefront.yaml").read_text()
    changed = text.replace(f"role: '{ROLE}'", f"role: '{ROLE}', session: {{duration: 12h}}")
    (sides[1] / "storefront.yaml").write_text(changed)
    done = policy("diff", *sides)
    assert done.returncode == 1
    assert "+ gains  session duration" in done.stdout
    assert "before: 1h" in done.stdout
    assert "after: 12h" in done.stdout


def test_json_names_pipeline_thing_and_jobs(sides: tuple[Path, Path]) -> None:
    text = (sides[1] / "storefront.yaml").read_text()
    (sides[1] / "storefront.yaml").write_text(text.replace("branch: main", "branch: [main, dev]"))
    done = policy("diff", *sides, "--format", "json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["version"] == 1
    assert {(c["kind"], c["pipeline"], c["name"]) for c in found["changes"]} == {
        ("gains", "storefront", ROLE), ("loses", "storefront", OTHER),
    }  # fmt: skip
    (way,) = found["changes"][0]["ways"]
    assert way["jobs"] == "branch dev, no tag, no pull request"
    assert json.loads(policy("diff", *sides, "--json").stdout) == found


@pytest.mark.parametrize("form", ["markdown", "sarif", "json", "text"])
def test_every_format_has_the_same_changes_and_status(sides: tuple[Path, Path], form: str) -> None:
    (sides[1] / "storefront.yaml").write_text(HEAD + READ)
    done = policy("diff", *sides, "--format", form)
    assert (done.returncode, done.stderr) == (1, "")
    assert ROLE in done.stdout
    assert policy("diff", sides[0], sides[0], "--format", form).returncode == 0


def test_sarif_names_files_as_the_code_host_does(sides: tuple[Path, Path]) -> None:
    (sides[1] / "storefront.yaml").write_text(HEAD + READ)
    done = subprocess.run(
        [str(AIRLOCK), "policy", "diff", "../old", "--format", "sarif", "."],
        cwd=sides[1], capture_output=True, text=True, check=False,
    )  # fmt: skip
    (run,) = json.loads(done.stdout)["runs"]
    places = [result["locations"][0]["physicalLocation"] for result in run["results"]]
    assert {place["artifactLocation"]["uri"] for place in places} == {"storefront.yaml"}
    assert {place["region"]["startLine"] for place in places} == {4}


def test_a_directory_may_be_called_store(sides: tuple[Path, Path]) -> None:
    sides[0].rename(sides[0].with_name("store"))
    done = subprocess.run(
        [str(AIRLOCK), "policy", "diff", "./store", "new"],
        cwd=sides[1].parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "No access changes.\n")


def test_the_store_is_one_of_the_sides(ssm: StrictSsm, config: Path, folder: Path) -> None:
    done = policy("diff", "store", folder, "--config", config)
    assert (done.returncode, done.stdout) == (78, "")
    assert "holds no policies, so nothing was compared" in done.stderr
    done = policy("diff", "store", folder, "--config", config, "--allow-empty")
    assert "  + gains  role " in done.stdout
    ssm.put("/buildkite/pipelines/broken/policy", "pipeline: [")
    done = policy("diff", "store", folder, "--config", config, "--allow-empty")
    assert (done.returncode, done.stdout) == (78, "")
    assert "ssm:/buildkite/pipelines/broken" in done.stderr
    ssm.fail("*", denial("ssm:GetParametersByPath", "*"), times=10)
    done = policy("diff", "store", folder, "--config", config, "--allow-empty")
    assert (done.returncode, done.stdout) == (125, "")


def test_the_example_of_the_documentation_is_what_is_printed(sides: tuple[Path, Path]) -> None:
    text = (sides[1] / "storefront.yaml").read_text()
    (sides[1] / "storefront.yaml").write_text(text.replace("branch: main", "branch: [main, dev]"))
    page = (ROOT / "docs/governance.md").read_text()
    assert f"$ airlock policy diff main/ proposed/\n{policy('diff', *sides).stdout}```" in page


def host_of(tmp_path: Path, store: Path, guardrails: Path | None) -> Path:
    path = tmp_path / "airlock.toml"
    named = f'guardrails = "file:{guardrails}"\n' if guardrails else ""
    path.write_text(f'[policy]\nstore = "file:{store}"\n{named}[sandbox]\nimage = "job:1"\n')
    return path


def test_guardrails_beside_a_store_of_files_are_not_taken_for_deleted(
    sides: tuple[Path, Path], tmp_path: Path
) -> None:
    old, new = sides
    rails = tmp_path / "rails.yaml"
    (old / "guardrails.yaml").rename(rails)
    (new / "guardrails.yaml").unlink()
    done = policy("diff", "store", new, "--config", host_of(tmp_path, old, rails))
    assert (done.returncode, done.stdout) == (0, "No access changes.\n")
    (new / "guardrails.yaml").write_text("guardrails: acme\n")
    done = policy("diff", "store", new, "--config", host_of(tmp_path, old, rails))
    assert "+ gains  guardrail session" in done.stdout
    rails.rename(old / "guardrails.yaml")
    (new / "guardrails.yaml").unlink()
    inside = host_of(tmp_path, old, old / "guardrails.yaml")
    assert "+ gains  guardrails" in policy("diff", "store", new, "--config", inside).stdout


def test_guardrails_that_no_host_of_a_store_of_files_reads_are_an_error(
    sides: tuple[Path, Path], tmp_path: Path
) -> None:
    old, new = sides
    (old / "guardrails.yaml").unlink()
    done = policy("diff", "store", new, "--config", host_of(tmp_path, old, None))
    assert (done.returncode, done.stdout) == (78, "")
    assert "they would limit nothing" in done.stderr
    assert f'Set policy.guardrails = "file:{old}/guardrails.yaml" on the hosts' in done.stderr


def test_why_a_whole_pipeline_is_refused_is_named(sides: tuple[Path, Path]) -> None:
    old, new = sides
    (new / "storefront.yaml").rename(new / "warehouse.yaml")
    done = policy("diff", old, new)
    assert "after: refused: the pipeline has no policy" in done.stdout
    assert "warehouse\n" not in done.stdout, "no job of it was admitted, and none is"
    (new / "warehouse.yaml").rename(new / "storefront.yaml")
    text = (new / "storefront.yaml").read_text()
    (new / "storefront.yaml").write_text(text.replace("pipeline: storefront", "pipeline: other"))
    done = policy("diff", old, new)
    assert "after: refused: storefront.yaml is the policy of pipeline other" in done.stdout
