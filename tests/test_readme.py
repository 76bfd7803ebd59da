"""What the README shows is so."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from bootstrap.errors import AirlockError
from bootstrap.grants.ssh_keys import SshKeys
from bootstrap.host import config
from bootstrap.job.assemble import claims_of
from bootstrap.job.claims import confirmed
from bootstrap.job.model import Provenance, Unvouched
from bootstrap.policy import cases
from bootstrap.policy.parse import parse, parse_guardrails
from bootstrap.policy.schema import When
from tests.job.given import JOB_ID, job_env, process_env
from tests.test_cli import verbs

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for named, text in BLOCKS if named == language]


def test_its_documents_are_what_it_says() -> None:
    policy, guardrails, grants, tests = blocks("yaml")
    kinds = parse(grants, "README.md").rules[0].allow.kinds
    assert any(isinstance(kind, SshKeys) for kind in kinds)
    made = parse(policy, "README.md")
    rails = parse_guardrails(guardrails, "README.md")
    document = cases.parse(tests, "README.md")
    outcomes = cases.outcomes([document], {made.pipeline: made}, rails)
    assert [outcome.problem for outcome in outcomes] == ["", "", ""]


def test_its_commands_exist() -> None:
    shown = re.findall(r"^airlock policy ([a-z-]+) ", README, re.MULTILINE)
    assert set(shown) <= set(verbs())
    assert len(shown) >= 8


def test_its_configuration_is_one() -> None:
    assert [config.parse(tomllib.loads(text), ROOT) for text in blocks("toml")]


def test_its_iam_documents_allow_the_three_actions() -> None:
    documents = [json.loads(text) for text in blocks("json")]
    assert len(documents) == 2
    for document in documents:
        (statement,) = document["Statement"]
        assert sorted(statement["Action"]) == [
            "sts:AssumeRole", "sts:SetSourceIdentity", "sts:TagSession",
        ]  # fmt: skip


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#][^)]*)\)", README))))
def test_what_it_links_to_is_there(target: str) -> None:
    assert target.startswith("https://") or (ROOT / target.partition("#")[0]).exists()


def test_every_anchor_is_a_heading() -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    }
    anchors = set(re.findall(r"\]\(#([^)]+)\)", README))
    assert anchors | {kind.docs for kind in AirlockError.__subclasses__()} <= headings


WORTH = {
    condition: (default, signed)
    for condition, default, signed in re.findall(
        r"^\| `([a-z-]+)` \| ([^|]+) \| ([^|]+) \|", README, re.MULTILINE
    )
}
# How a job looks that has everything; what is absent from it could not show who says it.
EVERYTHING = {
    "BUILDKITE_TAG": "v1", "BUILDKITE_AGENT_META_DATA_SIZE": "large", "BUILDKITE_PLUGINS": "[]",
    "BUILDKITE_UNBLOCKER_TEAMS": "platform",
}  # fmt: skip
CLAIMS = {
    "organization_slug": "acme", "pipeline_slug": "storefront", "build_branch": "main",
    "build_tag": "v1", "build_commit": job_env()["BUILDKITE_COMMIT"], "build_source": "ui",
    "step_key": "deploy", "queue_key": "deploy", "build_number": 42, "job_id": JOB_ID,
    "agent_tag:size": "large",
}  # fmt: skip


def test_what_a_condition_is_worth() -> None:
    """Every condition has its row, and is signed, or never holds, exactly where the row says so."""
    conditions = {field.replace("_", "-") for field in When.model_fields}
    assert conditions <= WORTH.keys()
    plain = claims_of(job_env(**EVERYTHING), process_env())
    signed = confirmed(plain, CLAIMS, ("size",))
    for condition in conditions - {"env", "commit-on-branch"}:
        fact = "agent-tag:size" if condition == "agent-tag" else condition
        default, with_signature = WORTH[condition]
        assert ("never holds" in default) == isinstance(plain.facts[fact], Unvouched), condition
        held = getattr(signed.facts[fact], "provenance", None)
        assert (with_signature == "signed") == (held is Provenance.SIGNED), condition
        assert default in {"vouched", "the job's word", "never holds"}


def test_every_make_target_it_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"\bmake (\w+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_dependency_has_its_row() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in project["dependencies"]:
        name = re.split(r"[<>=\[]", requirement)[0]
        assert re.search(rf"^\| \[{re.escape(name)}\]\(https", README, re.MULTILINE), name


def test_no_document_names_a_package_registry() -> None:
    """The network rule: what is installed from where is the machine's own setting."""
    hosts = ("py" + "pi.org", "python" + "hosted.org", "npm" + "js.org", "docker" + ".io/")
    for path in ROOT.rglob("*"):
        if path.is_file() and path.suffix in {".md", ".lock", ".json", ".toml"}:
            if {".venv", "node_modules", ".git"} & set(path.parts):
                continue
            text = path.read_text(errors="replace")
            assert not [host for host in hosts if host in text], path
