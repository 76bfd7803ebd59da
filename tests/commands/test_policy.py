"""`airlock policy`: every verb, on valid folders, invalid folders and a store in SSM."""

import json
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import pytest
import yaml

from bootstrap.commands.policy.schema import json_schema
from tests.job.given import job_env
from tests.policy import corpus
from tests.policy.given import HEAD
from tests.test_cli import AIRLOCK, Done, airlock, verbs

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "agent-config/policies"
ROLE = "arn:aws:iam::111122223333:role/ci/deploy"
CASE = "pipeline: storefront\ncases: [{name: x, expect: {rule: deploy}}]\n"
ALL = HEAD + "  - {name: all, when: {branch: main}, allow: {}}\n"


def policy(*arguments: str | Path) -> Done:
    done = airlock("policy", *map(str, arguments))
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done


@pytest.mark.parametrize("verb", verbs())
def test_every_verb_has_a_help_text(verb: str) -> None:
    done = policy(verb, "--help")
    assert done.returncode == 0
    assert f"usage: airlock policy {verb}" in done.stdout


@pytest.mark.parametrize("verb", ["lint", "test", "report", "push"])
def test_a_folder_that_does_not_exist_is_an_error(verb: str, tmp_path: Path, config: Path) -> None:
    more = {"report": ("--output", tmp_path / "x"), "push": ("--config", config)}.get(verb, ())
    done = policy(verb, tmp_path / "absent", *more)
    assert done.returncode == 78
    assert "cannot be read: No such file or directory" in done.stderr


def test_the_examples_have_no_errors_and_pass_their_cases() -> None:
    assert "2 policies, 0 errors" in policy("lint", EXAMPLES).stdout
    assert "7 cases, 0 failed" in policy("test", EXAMPLES).stdout


def test_lint_prints_the_place_of_each_mistake(folder: Path) -> None:
    (folder / "broken.yaml").write_text("pipelin: x\n")
    done = policy("lint", folder)
    assert done.returncode == 1
    assert f'{folder}/broken.yaml:1: error [mistake] unknown key "pipelin"' in done.stdout
    found = json.loads(policy("lint", folder, "--json").stdout)
    assert {finding["severity"] for finding in found} == {"error"}
    hidden = policy("lint", folder, "--ignore", "mistake")
    assert (hidden.returncode, hidden.stdout) == (78, "")
    assert "'mistake' cannot be ignored: the host refuses the document" in hidden.stderr


@pytest.mark.parametrize(
    ("verb", "done_with_them"),
    [("lint", "checked"), ("test", "checked"), ("push", "checked"), ("report", "written")],
)
def test_an_empty_folder_is_an_error(
    verb: str, done_with_them: str, tmp_path: Path, config: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/README.md").touch()
    more = {"report": ("--output", tmp_path / "x"), "push": ("--config", config)}.get(verb, ())
    done = policy(verb, tmp_path / "empty", *more)
    assert done.returncode == 78
    assert f"holds no policies, so nothing was {done_with_them}" in done.stderr
    assert "<pipeline slug>.yaml" in done.stderr


@pytest.mark.parametrize("verb", ["lint", "test"])
def test_a_yml_file_is_not_ignored_silently(folder: Path, verb: str) -> None:
    (folder / "warehouse.yml").write_text(ALL)
    done = policy(verb, folder)
    assert done.returncode == 1
    assert "expected a name that ends in .yaml: Airlock reads no .yml files" in done.stdout


def test_failed_cases_are_printed_and_in_the_junit_file(folder: Path, tmp_path: Path) -> None:
    (folder / "storefront.test.yaml").write_text(
        "pipeline: storefront\ncases:\n"
        f"  - {{name: main, expect: {{role: '{ROLE}'}}}}\n"
        "  - {name: wrong, given: {branch: x}, expect: {rule: deploy}}\n"
    )
    done = policy("test", folder, "--junit", tmp_path / "junit.xml")
    assert done.returncode == 1
    assert f"{folder}/storefront.test.yaml:4: FAILED wrong" in done.stdout
    suites = ET.fromstring((tmp_path / "junit.xml").read_text())  # noqa: S314 - ours
    (suite,) = suites
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")


def test_cases_for_programs_are_one_document(folder: Path) -> None:
    (folder / "storefront.test.yaml").write_text(
        "pipeline: storefront\ncases:\n"
        f"  - {{name: main, expect: {{role: '{ROLE}'}}}}\n"
        "  - {name: wrong, given: {branch: x}, expect: {rule: deploy}}\n"
    )
    done = policy("test", folder, "--format", "json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["mistakes"]) == (1, [])
    passed, failed = document["cases"]
    assert (passed["name"], passed["rule"], passed["problem"]) == ("main", "deploy", None)
    assert (failed["line"], failed["rule"]) == (4, None)
    assert failed["problem"].startswith("expected rule 'deploy', got a refusal")
    assert (document["rules"], document["coverage"]) == (1, 100.0)
    assert document["rules-without-case"] == document["without-cases"] == []


def test_report_names_the_documents_with_mistakes(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.yaml").write_text("pipelin: x\n")
    output = tmp_path / "map.html"
    done = policy("report", folder, "--output", output)
    assert done.returncode == 0
    assert "1 document with mistakes" in done.stdout
    assert f"\n  {folder / 'broken.yaml'}\n" in done.stdout
    document = json.loads(policy("report", folder, "--output", output, "--json").stdout)
    assert document["documents_with_mistakes"] == [str(folder / "broken.yaml")]


@pytest.mark.parametrize("verb", ["test", "report", "draft"])
def test_a_path_that_cannot_be_written_is_an_error(folder: Path, tmp_path: Path, verb: str) -> None:
    (tmp_path / "file").touch()
    (folder / "storefront.test.yaml").write_text(CASE)
    (tmp_path / "records").mkdir()
    (tmp_path / "records/a.json").write_text(json.dumps({"env": job_env()}))
    arguments = {
        "test": (folder, "--junit", tmp_path / "file/x"),
        "report": (folder, "--output", tmp_path / "file/x"),
        "draft": (tmp_path / "file/x", "--records", tmp_path / "records"),
    }
    done = policy(verb, *arguments[verb])
    assert done.returncode == 78
    assert "cannot be written: Not a directory" in done.stderr


@pytest.mark.parametrize("form", ["json", "shell"])
def test_explain_of_a_refused_job_prints_every_condition(
    folder: Path, tmp_path: Path, form: str
) -> None:
    env = job_env(BUILDKITE_BRANCH="feature")
    lines = "".join(f'{name}="{value}"\n' for name, value in env.items())
    (tmp_path / "env").write_text(json.dumps(env) if form == "json" else lines)
    done = policy("explain", tmp_path / "env", "--policies", folder)
    assert done.returncode == 77
    got = "NO   branch           expected main, got feature (vouched, from the job's environment)"
    assert got in done.stdout
    assert "refused: no rule of" in done.stdout
    explained = json.loads(
        policy("explain", tmp_path / "env", "--policies", folder, "--json").stdout
    )
    assert [(r["subject"], r["holds"], r["provenance"]) for r in explained["reasons"]] == [
        ("branch", False, "job"), ("tag", True, None), ("pull-request", True, "job"),
    ]  # fmt: skip


def test_explain_of_an_admitted_job_prints_rule_and_role(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "env").write_text(json.dumps(job_env()))
    done = policy("explain", tmp_path / "env", "--policies", folder)
    assert done.returncode == 0
    assert f"admitted by rule 'deploy' of {folder}/storefront.yaml, with {ROLE}" in done.stdout


@pytest.mark.parametrize(
    "content", [b"", b"hello\n", b"a: b\n", b"{", b"[1]", b"A=1\n", b'{"A": 1}', b"\xff\xfe="]
)
def test_explain_of_a_file_that_is_not_an_environment(
    folder: Path, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "env").write_bytes(content)
    done = policy("explain", tmp_path / "env", "--policies", folder)
    assert done.returncode == 78
    assert f"{tmp_path}/env is not the environment of a job: " in done.stderr
    assert 'one JSON object, or lines of NAME="value"' in done.stderr
    assert "disk" not in done.stderr


def test_explain_without_a_file_is_an_error(folder: Path, tmp_path: Path) -> None:
    done = policy("explain", tmp_path / "absent", "--policies", folder)
    assert done.returncode == 78
    assert "absent cannot be read: No such file or directory" in done.stderr


def test_diff_prints_the_changed_access(folder: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    text = (folder / "storefront.yaml").read_text()
    (new / "storefront.yaml").write_text(text.replace("branch: main", "branch: [main, dev]"))
    done = policy("diff", folder, new)
    assert done.returncode == 1
    assert "storefront\n  + gains  a sandbox\n" in done.stdout
    assert (
        f"  + gains  role {ROLE}\n      for: branch dev, no tag, no pull request\n" in done.stdout
    )
    assert policy("diff", folder, folder).returncode == 0


@pytest.mark.parametrize("document", ["policy", "guardrails", "cases"])
def test_the_published_schemas_match_the_grammar(document: str) -> None:
    published = ROOT / f"agent-config/{document}.schema.json"
    assert json.loads(published.read_text()) == json_schema(document), "run `make schemas`"
    assert json.loads(policy("schema", document).stdout) == json_schema(document)
    jsonschema.Draft202012Validator.check_schema(json_schema(document))


def test_editors_accept_what_the_parser_accepts() -> None:
    texts = [(EXAMPLES.joinpath(f"{name}.yaml").read_text(), json_schema("policy"))
             for name in ("docs", "storefront")]  # fmt: skip
    texts += [(EXAMPLES.joinpath("guardrails.yaml").read_text(), json_schema("guardrails"))]
    texts += [(EXAMPLES.joinpath("storefront.test.yaml").read_text(), json_schema("cases"))]
    texts += [(corpus.document(1), json_schema("policy")), (corpus.cases(1), json_schema("cases"))]
    for text, schema in [*texts, (corpus.GUARDRAILS, json_schema("guardrails"))]:
        jsonschema.validate(yaml.safe_load(text), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"pipeline": "x", "brnach": "y"}, json_schema("policy"))


def test_a_closed_pipe_causes_no_traceback(tmp_path: Path) -> None:
    policies = corpus.write(tmp_path / "policies")
    command = f"{AIRLOCK} policy lint {policies} | head -n 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_three_hundred_pipelines_pass_every_verb(tmp_path: Path) -> None:
    """How long it takes: `make bench`."""
    policies = corpus.write(tmp_path / "policies")
    assert "300 policies, 0 errors" in policy("lint", policies).stdout
    assert "900 cases, 0 failed" in policy("test", policies).stdout
    assert policy("diff", policies, policies).returncode == 0
    assert policy("report", policies, "--output", tmp_path / "map.html").returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [("diff", "OLD", "NEW"), ("who-can", "*", "--policies", "NEW"),
     ("iam", "NEW", "--host-role", "arn:aws:iam::999988887777:role/agents")],
    ids=lambda arguments: arguments[0],
)  # fmt: skip
def test_question_about_policies_with_mistakes_is_not_answered(
    tmp_path: Path, folder: Path, arguments: tuple[str, ...]
) -> None:
    """An answer without the unreadable document would be wrong."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "storefront.yaml").write_text("pipeline: [\n")
    places = {"OLD": str(folder), "NEW": str(broken)}
    done = policy(*(places.get(argument, argument) for argument in arguments))
    assert (done.returncode, done.stdout) == (78, "")
    assert "1 document with mistakes" in done.stderr
    assert "storefront.yaml:" in done.stderr


@pytest.mark.parametrize(
    ("name", "text"),
    [("storefront.yaml", "pipeline: [\n"), ("guardrails.yaml", "guardrails: [\n")],
)
def test_explain_with_mistakes_that_stop_the_host_ends_as_the_host_does(
    tmp_path: Path, folder: Path, name: str, text: str
) -> None:
    (folder / name).write_text(text)
    (tmp_path / "env").write_text(json.dumps(job_env()))
    done = policy("explain", tmp_path / "env", "--policies", folder)
    assert (done.returncode, done.stdout) == (78, "")
    assert f"{name}:" in done.stderr


def test_explain_of_policy_in_a_file_of_another_name_is_refused(
    tmp_path: Path, folder: Path
) -> None:
    """A host reads <slug>.yaml only."""
    (folder / "storefront.yaml").rename(folder / "shop.yaml")
    (tmp_path / "env").write_text(json.dumps(job_env()))
    done = policy("explain", tmp_path / "env", "--policies", folder)
    assert done.returncode == 77
    assert "no policy exists for pipeline 'storefront'" in done.stdout


def test_output_that_cannot_be_written_is_an_error(folder: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [str(AIRLOCK), "policy", "schema"], stdout=full, stderr=subprocess.PIPE, text=True,
            check=False,
        )  # fmt: skip
    assert done.returncode == 70
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
