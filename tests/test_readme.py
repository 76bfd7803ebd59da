"""What the README shows is so."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from bootstrap.cli_verbs import VERBS
from bootstrap.errors import AirlockError
from bootstrap.host import config
from bootstrap.policy import cases
from bootstrap.policy.parse import parse, parse_guardrails

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for named, text in BLOCKS if named == language]


def test_its_documents_are_what_it_says() -> None:
    policy, guardrails, grants, tests = blocks("yaml")
    assert parse(grants, "README.md").rules[0].allow.ssh_keys
    made = parse(policy, "README.md")
    rails = parse_guardrails(guardrails, "README.md")
    document = cases.parse(tests, "README.md")
    outcomes = cases.outcomes([document], {made.pipeline: made}, rails)
    assert [outcome.problem for outcome in outcomes] == ["", "", ""]


def test_its_commands_exist() -> None:
    shown = re.findall(r"^airlock policy ([a-z-]+) ", README, re.MULTILINE)
    assert set(shown) <= set(VERBS)
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
    assert target.startswith("https://") or (ROOT / target).exists()


def test_every_anchor_is_a_heading() -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    }
    anchors = set(re.findall(r"\]\(#([^)]+)\)", README))
    assert anchors | {kind.docs for kind in AirlockError.__subclasses__()} <= headings


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
