"""`airlock policy init`, `import`, `draft` and `fmt`: what they write and what they leave."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bootstrap.commands.policy.source import save_all
from bootstrap.errors import WrongConfiguration
from bootstrap.policy.parse import parse
from tests.commands.test_policy import ROOT, policy
from tests.commands.test_policy_iam import HOST
from tests.job.given import job_env
from tests.policy.test_import import PREFIX, REPOSITORY, STEPS, role, subject
from tests.test_cli import AIRLOCK

ANY = "organization:acme:pipeline:warehouse:ref:refs/heads/main:commit:*:step:*"


def documented() -> str:
    """The commands that docs/governance.md shows for a new pipeline."""
    section = (ROOT / "docs/governance.md").read_text().partition("## A new pipeline\n")[2]
    return section.partition("```console\n")[2].partition("```")[0]


def onboard(place: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["bash", "-e", "-c", documented()],
        cwd=place, env={"PATH": f"{AIRLOCK.parent}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_a_pipeline_is_onboarded_as_the_documents_show(tmp_path: Path) -> None:
    """One file of at most ten lines, which passes its cases; the role is one that exists."""
    done = onboard(tmp_path)
    folder = tmp_path / "policies"
    assert sorted(path.name for path in folder.iterdir()) == ["search.test.yaml", "search.yaml"]
    assert len((folder / "search.yaml").read_text().splitlines()) <= 10
    assert "1 policy, 0 errors" in done.stdout
    assert "4 cases, 0 failed" in done.stdout
    env = tmp_path / "env"
    env.write_text(json.dumps(job_env(**SEARCH)))
    explained = policy("explain", env, "--policies", folder)
    assert "admitted by rule 'main' of" in explained.stdout
    assert "with arn:aws:iam::111122223333:role/ci/deploy" in explained.stdout
    assert policy("fmt", "--check", folder).returncode == 0


SEARCH = {
    "BUILDKITE_PIPELINE_SLUG": "search",
    "BUILDKITE_REPO": "git@github.com:acme/search.git",
}


def test_a_pipeline_beside_the_examples_needs_no_other_iam(tmp_path: Path) -> None:
    """The examples' guardrails allow it, and the stacks that are deployed already give it its role.

    With `--trust pipelines`, whose trust policies name pipelines, the account's stack differs.
    """
    folder = tmp_path / "policies"
    shutil.copytree(ROOT / "agent-config/policies", folder)

    def needed(trust: str) -> str:
        return policy("iam", folder, "--host-role", HOST, "--trust", trust).stdout

    tags, pipelines = needed("tags"), needed("pipelines")
    assert "3 policies, 0 errors" in onboard(tmp_path).stdout
    assert needed("tags") == tags
    assert needed("pipelines") != pipelines


def test_init_writes_both_files_or_none(tmp_path: Path) -> None:
    made = [tmp_path / "storefront.yaml", tmp_path / "storefront.test.yaml"]
    made[1].mkdir()
    with pytest.raises(WrongConfiguration, match="cannot be written: Is a directory"):
        save_all({made[0]: b"x", made[1]: b"y"})
    assert not made[0].exists()


@pytest.mark.parametrize("verb", [("fmt", "--check"), ("report", "--output", "map.html")])
def test_a_directory_without_documents_is_an_error(tmp_path: Path, verb: tuple[str, ...]) -> None:
    (tmp_path / "empty").mkdir()
    done = policy(verb[0], tmp_path / "empty", *verb[1:])
    assert (done.returncode, done.stdout) == (78, "")
    assert "empty holds no " in done.stderr
    assert not Path("map.html").exists()


def test_directories_without_documents_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    done = policy("fmt", tmp_path / "a", tmp_path / "b")
    assert f"a and {tmp_path}/b hold no documents" in done.stderr


@pytest.mark.parametrize("name", ["storefront.yaml", "storefront.test.yaml"])
def test_init_overwrites_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine\n")
    done = policy("init", tmp_path, "storefront", "--repository", REPOSITORY)
    assert done.returncode == 78
    assert f"{tmp_path}/{name} exists, and nothing was written" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine\n"


def test_import_writes_proposals_and_names_what_is_missing(tmp_path: Path) -> None:
    listed = [
        {"Name": f"{PREFIX}/ledger/{leaf}", "Type": "String", "Value": value}
        for leaf, value in {"repository": REPOSITORY, "branches": "main"}.items()
    ]
    (tmp_path / "ssm.json").write_text(json.dumps({"Parameters": listed}))
    (tmp_path / "pipeline.yml").write_text(STEPS)
    (tmp_path / "role.json").write_text(role(subject(ANY)))
    out = tmp_path / "out"
    arguments = (
        "import", out, "--ssm", tmp_path / "ssm.json", "--steps", tmp_path / "pipeline.yml",
        "--pipeline", "storefront", "--trust", tmp_path / "role.json",
    )  # fmt: skip
    done = policy(*arguments)
    assert done.returncode == 0, done.stderr
    assert "3 policies proposed, 0 skipped" in done.stdout
    assert policy("fmt", "--check", out).returncode == 0
    assert (
        f"wrote {out}/warehouse.yaml: complete it\n    {out}/warehouse.yaml:3: repository is"
        in (done.stdout)
    )
    assert parse((out / "ledger.yaml").read_text(), "ledger").repositories == (REPOSITORY,)
    assert "# Not known" in (out / "storefront.yaml").read_text()
    again = json.loads(policy(*arguments, "--format", "json").stdout)
    assert again["written"] == []
    assert len(again["skipped"]) == 3
    assert "exists and was not changed" in again["skipped"][0]


def test_a_repository_completes_proposals(tmp_path: Path) -> None:
    (tmp_path / "role.json").write_text(role(subject(ANY)))
    arguments = ("--trust", tmp_path / "role.json", "--repository", REPOSITORY)
    done = policy("import", tmp_path / "out", *arguments)
    assert "complete it" not in done.stdout
    assert "1 policy, 0 errors" in policy("lint", tmp_path / "out").stdout


@pytest.mark.parametrize(
    ("option", "content", "expected"),
    [
        ("--ssm", "{", "expected the output of `aws ssm get-parameters-by-path`"),
        ("--steps", "a: [", "it is not YAML"),
        ("--trust", "[]", "expected the output of `aws iam get-role`"),
        ("--trust", None, "No such file or directory"),
        ("--trust", b"\xff", "can't decode byte"),
    ],
)
def test_a_source_that_cannot_be_read_is_an_error(
    tmp_path: Path, option: str, content: str | bytes | None, expected: str
) -> None:
    if content is not None:
        raw = content.encode() if isinstance(content, str) else content
        (tmp_path / "source").write_bytes(raw)
    done = policy("import", tmp_path / "out", option, tmp_path / "source", "--pipeline", "p")
    assert done.returncode == 78
    assert f"{tmp_path}/source cannot be imported: " in done.stderr
    assert expected in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("slug", "expected"),
    [("../../etc/x", "no policy's file"), ("guardrails", "no policy's file")],
)
def test_import_writes_no_other_file_than_policies(
    tmp_path: Path, slug: str, expected: str
) -> None:
    (tmp_path / "role.json").write_text(role(subject(ANY.replace("warehouse", slug))))
    done = policy("import", tmp_path / "out", "--trust", tmp_path / "role.json")
    assert done.returncode == 0
    assert expected in done.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [(), ("--steps", "x.yml")])
def test_import_without_a_source_or_pipeline_says_what_to_add(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    done = policy("import", tmp_path / "out", *arguments)
    assert done.returncode == 78
    assert ("--pipeline" if arguments else "--ssm, --steps or --trust") in done.stderr


def test_fmt_changes_layout_only_and_check_nothing(folder: Path) -> None:
    path = folder / "storefront.yaml"
    path.chmod(0o600)
    neat = policy("fmt", folder)
    assert neat.stdout == "1 document, 0 changed\n"
    text = path.read_text()
    path.write_text(text.replace("rules:\n", "# why\nrules:   \n\n\n"))
    ugly = path.read_text()
    check = policy("fmt", "--check", folder)
    assert check.returncode == 1
    assert check.stdout == f"would change {path}\n1 document, 1 to change\n"
    assert path.read_text() == ugly
    done = json.loads(policy("fmt", "--format", "json", path).stdout)
    assert done == {"documents": 1, "changed": [str(path)]}
    assert path.read_text() == text.replace("rules:\n", "# why\nrules:\n\n")
    assert path.stat().st_mode & 0o777 == 0o600
    assert policy("fmt", "--check", folder).returncode == 0


def test_fmt_writes_nothing_if_one_document_is_broken(folder: Path) -> None:
    path = folder / "storefront.yaml"
    path.write_text(path.read_text() + "\n\n")
    (folder / "zz.yaml").write_text("a: [\n")
    before = path.read_text()
    done = policy("fmt", folder)
    assert done.returncode == 78
    assert f"{folder}/zz.yaml cannot be laid out: line 2: not YAML" in done.stderr
    assert path.read_text() == before


@pytest.mark.parametrize("name", ["absent", "binary"])
def test_fmt_of_what_cannot_be_read_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    done = policy("fmt", tmp_path / name)
    assert done.returncode == 78
    assert f"{tmp_path}/{name} cannot be" in done.stderr


def test_fmt_keeps_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.yaml").write_text("a:   b\n")
    (tmp_path / "link.yaml").symlink_to(tmp_path / "real.yaml")
    assert policy("fmt", tmp_path / "link.yaml").returncode == 0
    assert (tmp_path / "link.yaml").is_symlink()
    assert (tmp_path / "real.yaml").read_text() == "a: b\n"


@pytest.mark.parametrize(
    "record",
    ["[" * 100_000, "[]", '{"env": []}', '{"env": {"BUILDKITE_PIPELINE_SLUG": "../x"}}', "{",
     '{"env": {"BUILDKITE_PIPELINE_SLUG": "a\\u0000b"}}',
     '{"env": {"BUILDKITE_PIPELINE_SLUG": "storefront", "BUILDKITE_REPO": "\\ud800"}}'],
)  # fmt: skip
def test_no_record_causes_a_traceback(tmp_path: Path, record: str) -> None:
    (tmp_path / "records").mkdir()
    (tmp_path / "records/a.json").write_text(record)
    arguments = ("draft", tmp_path / "out", "--records", tmp_path / "records")
    done = policy(*arguments, "--format", "json")
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    assert len(listed["written"]) == ("storefront" in record)
    assert all(Path(path).parent == tmp_path / "out" for path in listed["written"])
