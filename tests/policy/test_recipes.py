"""The policies of docs/recipes.md: lint finds nothing in them, and their cases pass."""

import re
from pathlib import Path

import pytest

from bootstrap.commands.policy.lint import lint
from bootstrap.commands.policy.test import test as run_cases

PAGE = Path(__file__).parents[2] / "docs/recipes.md"
HEAD, *SECTIONS = PAGE.read_text().split("\n## ")
BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def written(directory: Path, sections: list[str]) -> None:
    """Write the documents as the page names them."""
    directory.chmod(0o755)
    (guardrails,) = BLOCK.findall(HEAD)
    documents = {"guardrails.yaml": guardrails}
    for section in sections:
        policy, cases = BLOCK.findall(section)
        (slug,) = set(re.findall(r"^pipeline: (.+)$", policy + cases, re.MULTILINE))
        documents |= {f"{slug}.yaml": policy, f"{slug}.test.yaml": cases}
    for name, text in documents.items():
        (directory / name).write_text(text)
        (directory / name).chmod(0o644)


def passed(directory: Path, min_coverage: float = 100.0) -> str:
    """Return what both commands print, if either finds anything."""
    lines: list[str] = []
    none = Path("absent")
    found = lint(
        directory=directory, config_path=none, ignore=(), as_json=False, output=lines.append
    )
    failed = run_cases(
        directory=directory, junit=None, min_coverage=min_coverage, as_json=False,
        output=lines.append,
    )  # fmt: skip
    text = "\n".join(lines)
    return text if found or failed or ", 0 warnings" not in text else ""


@pytest.mark.parametrize("section", SECTIONS, ids=lambda text: text.partition("\n")[0])
def test_recipe(section: str, tmp_path: Path) -> None:
    written(tmp_path, [section])
    assert passed(tmp_path) == ""


def test_all_recipes_together(tmp_path: Path) -> None:
    assert len(SECTIONS) == 13
    written(tmp_path, SECTIONS)
    assert passed(tmp_path) == ""


def test_a_recipe_that_is_wrong_is_noticed(tmp_path: Path) -> None:
    changed = SECTIONS[1].replace("creator-team: platform, source", "step: deploy, source")
    assert changed != SECTIONS[1]
    written(tmp_path, [changed])
    assert "requires.production" in passed(tmp_path)
