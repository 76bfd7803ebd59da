"""The documents hold together: what cites a page or a heading names one that is there.

Anchors are formed as GitHub forms them: inline markup is taken off, letters become small,
punctuation goes, each space becomes a hyphen, and a heading that repeats gets -1, -2 and so on.
"""

import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [README, ROOT / "CHANGELOG.md", *DOCS]

_FENCE = re.compile(r"^ {0,3}(```|~~~).*?^ {0,3}\1[ \t]*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.*?)[ \t]*#*$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CITATION = re.compile(r"(?:\bdocs/[\w./-]*\.md|(?<![\w./])README\.md)(?:#[\w-]*)?")
# "README.md, section Policy": the title is compared as an anchor.
_SECTION = re.compile(r"\b(README(?:\.md)?|docs/[\w-]+\.md)(?:'s|,|:)?\s+section\s+\W?(\w[\w ]*)")
_PATH = re.compile(r"`((?:bootstrap|tests|agent-config|images|docs)/[\w./-]*)`")
# How documents outside of the repository used to be cited.
_ELSEWHERE = re.compile(
    r"\bDESIGN(?:\.md|\s+section)|\bcontract\s+(?:sections?\s+)?\d|\breference\s+[A-H]\d"
    r"|\breference/[\w-]+\.md|/shared/",
)
_REGISTRIES = (
    "py" + "pi.org", "python" + "hosted.org", "npm" + "js.", "docker" + ".io",
    "docker" + ".com", "gh" + "cr.io", "qu" + "ay.io", "crates" + ".io", "rubygems" + ".org",
    "maven" + ".org", "proxy" + ".golang", "public" + ".ecr",
)  # fmt: skip


def tracked() -> list[Path]:
    """Files of the repository, those that are not added yet among them."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=True,
    ).stdout  # fmt: skip
    paths = (ROOT / name for name in listed.decode().split("\0") if name)
    return [path for path in paths if path.is_file() and not path.is_symlink() and _is_text(path)]


def _is_text(path: Path) -> bool:
    try:
        path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False
    return True


def anchor(heading: str) -> str:
    """The anchor of one heading, before repetitions are numbered."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
    text = re.sub(r"(\*\*?)(.+?)\1", r"\2", text)
    return re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")


def anchors_in(text: str) -> set[str]:
    """Every anchor of a page."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        plain = anchor(heading)
        found.add(f"{plain}-{seen[plain]}" if seen[plain] else plain)
        seen[plain] += 1
    return found


def commands_below(page: str, heading: str) -> list[str]:
    """The commands of the console blocks below a heading, without their comments."""
    section = (ROOT / "docs" / page).read_text().partition(f"\n## {heading}\n")[2]
    blocks = re.findall(r"```console\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    lines = [re.sub(r" +# .*", "", line) for block in blocks for line in block.splitlines()]
    assert lines, f"{page} has no commands below {heading}"
    return lines


@cache
def anchors(page: Path) -> set[str]:
    return anchors_in(page.read_text())


def problem(page: Path, fragment: str) -> str:
    """What is wrong with a reference to `page`; "" if it leads somewhere."""
    if not page.exists():
        return "there is no such file"
    if fragment and fragment not in anchors(page):
        return "no heading has this anchor"
    return ""


def citations() -> Iterator[tuple[Path, str]]:
    for path in tracked():
        if path != Path(__file__):
            for found in _CITATION.findall(path.read_text()):
                yield path, found


def test_every_cited_page_and_heading_exists() -> None:
    cited = list(citations())
    wrong = [
        f"{path.relative_to(ROOT)}: {found}: {why}"
        for path, found in cited
        if (why := problem(ROOT / found.partition("#")[0], found.partition("#")[2]))
    ]
    assert not wrong
    code = [found for path, found in cited if path.suffix == ".py" and "#" in found]
    assert len(code) >= 40, "the code cites its sources; is the pattern right?"


def test_every_cited_section_exists() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {file}, section {title}"
        for path in tracked()
        if path != Path(__file__)
        for file, title in _SECTION.findall(path.read_text())
        if not any(
            anchor(title).startswith(known)
            for known in anchors(ROOT / (file if file.endswith(".md") else "README.md"))
        )
    ]
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    named = _PATH.findall(_FENCE.sub("", page.read_text()))
    assert not [path for path in named if not (ROOT / path).exists()]


def test_every_file_that_the_design_names_exists() -> None:
    text = _FENCE.sub("", (ROOT / "docs/design.md").read_text())
    named = re.findall(r"`((?:\w+/)*\w+\.(?:py|sh))`", text)
    where = (ROOT, ROOT / "bootstrap", ROOT / "bootstrap/sandbox")
    modules = {path.name for path in (ROOT / "bootstrap").glob("*.py")}
    assert modules - {"__init__.py"} <= set(named)
    packages = {path.parent.name for path in (ROOT / "bootstrap").glob("*/__init__.py")}
    assert {name for name in packages if f"| `{name}` |" not in text} == set()
    assert not [path for path in named if not any((base / path).exists() for base in where)]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    text = _CODE.sub("", _FENCE.sub("", page.read_text()))
    wrong = [
        f"{target}: {why}"
        for target in _LINK.findall(text)
        if not target.startswith("https://")
        and (why := problem(_target(page, target), target.partition("#")[2]))
    ]
    assert not wrong


def _target(page: Path, target: str) -> Path:
    file = target.partition("#")[0]
    return page.parent / file if file else page


def test_the_readme_leads_to_every_document() -> None:
    linked = set(_LINK.findall(README.read_text()))
    assert {str(page.relative_to(ROOT)) for page in DOCS} <= linked


def test_nothing_cites_a_document_outside_of_the_repository() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {found[0]}"
        for path in tracked()
        if path != Path(__file__)
        for found in _ELSEWHERE.finditer(path.read_text())
    ]
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_no_document_names_a_package_registry_host(page: Path) -> None:
    text = page.read_text().lower()
    assert not [host for host in _REGISTRIES if host in text]


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("Could not start", "could-not-start"),
        ("The job's environment", "the-jobs-environment"),
        ("From CloudTrail to the build, and back", "from-cloudtrail-to-the-build-and-back"),
        ("`airlock gc` and *others*", "airlock-gc-and-others"),
        ("docker-py", "docker-py"),
        ("first_uid & slots", "first_uid--slots"),
        ("A [link](there.md) in it", "a-link-in-it"),
        ("Größe", "größe"),
    ],
)
def test_anchors_are_formed_as_github_forms_them(heading: str, expected: str) -> None:
    assert anchor(heading) == expected


@pytest.mark.parametrize(
    "text",
    ["DESIGN section 6", "DESIGN.md", "agent contract section 1.4", "contract 4.4",
     "contract sections 5.1 and 9", "(reference B1)", "reference/hosts.md", "../shared/x"],
)  # fmt: skip
def test_documents_outside_are_recognised(text: str) -> None:
    assert _ELSEWHERE.search(text)


@pytest.mark.parametrize("text", ["docs/design.md#policy", "a contract of 3 parts", "refer to A1"])
def test_other_text_is_not_taken_for_one(text: str) -> None:
    assert not _ELSEWHERE.search(text)


def test_a_wrong_reference_is_noticed() -> None:
    assert not problem(ROOT / "docs/design.md", "the-sandbox")
    assert problem(ROOT / "docs/design.md", "the-sand-box")
    assert problem(ROOT / "docs/designs.md", "")


def test_repeated_headings_are_numbered_and_fenced_ones_are_none() -> None:
    page = "# Limits\n```sh\n# not a heading\n```\n## Limits\n### Limits ###\n"
    assert anchors_in(page) == {"limits", "limits-1", "limits-2"}
