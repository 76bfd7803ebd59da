"""The rules for all kinds of grants; a new kind takes one file and its line in the list."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bootstrap.grants import KINDS
from bootstrap.grants.kind import Kind
from bootstrap.grants.profiles import Profiles
from bootstrap.grants.role import Role
from bootstrap.grants.secrets import Secrets
from tests.test_architecture import imported

ROOT = Path(__file__).parents[2]
IMPORT, ENTRY = "from bootstrap.grants.licence import Licence\n", "    Licence,\n"


def with_one_more_kind(place: Path) -> None:
    """Copy the package; add one file, and its import and entry where the kinds are listed."""
    shutil.copytree(ROOT / "bootstrap", place / "bootstrap")
    (place / "tests").symlink_to(ROOT / "tests")
    shutil.copy(ROOT / "tests/grants/licence.py", place / "bootstrap/grants/licence.py")
    listed = place / "bootstrap/grants/__init__.py"
    before, first, after = listed.read_text().partition("    Role,\n")
    listed.write_text(before.replace("\nfrom bootstrap", f"\n{IMPORT}from bootstrap", 1)
                      + first + ENTRY + after)  # fmt: skip


def whole_way(place: Path) -> subprocess.CompletedProcess[str]:
    (place / "host").mkdir()
    return subprocess.run(
        [sys.executable, "-m", "tests.grants.whole_way", place / "host"],
        cwd=place, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_new_kind_takes_one_file_and_its_line(tmp_path: Path) -> None:
    with_one_more_kind(tmp_path)
    done = whole_way(tmp_path)
    assert (done.returncode, done.stdout) == (0, "all of it passed\n"), done.stderr


def test_a_file_without_its_line_is_no_kind(tmp_path: Path) -> None:
    """Otherwise the test above would prove nothing."""
    with_one_more_kind(tmp_path)
    shutil.copy(ROOT / "bootstrap/grants/__init__.py", tmp_path / "bootstrap/grants/__init__.py")
    done = whole_way(tmp_path)
    assert done.returncode != 0
    assert 'unknown key "build-licence"' in done.stderr


@pytest.mark.parametrize("names", [[kind.key for kind in KINDS], list(KINDS)])
def test_every_kind_is_listed_once(names: list[object]) -> None:
    assert len(set(names)) == len(names)


# Where one kind is meant, and not each: the role of observe mode, that which a developer
# assumes for a replay, and the directory that every job finds in AIRLOCK_SECRETS.
ONE_IS_MEANT = {
    "admission.py": {"bootstrap.grants.role"},
    "replay/credentials.py": {"bootstrap.grants.role"},
    "sandbox/environment.py": {"bootstrap.grants.secret_files"},
}


def test_no_other_package_imports_a_kind() -> None:
    modules = {kind.__module__ for kind in KINDS}
    assert len(modules) == len(KINDS)
    package = ROOT / "bootstrap"
    knowing = {
        str(path.relative_to(package)): imported(path) & modules
        for path in package.rglob("*.py")
        if path.parent.name != "grants" and imported(path) & modules
    }
    assert knowing == ONE_IS_MEANT


# The keys role, roles and secrets are words of guardrails, cases and records too.
UNMISTAKABLE = [kind for kind in KINDS if kind not in {Role, Profiles, Secrets}]


@pytest.mark.parametrize("kind", UNMISTAKABLE, ids=[kind.key for kind in UNMISTAKABLE])
def test_no_other_file_contains_the_key_of_a_kind(kind: type[Kind[object]]) -> None:
    literal = {f'"{kind.key}"', f'"{kind.key.replace("-", "_")}"'}
    package = ROOT / "bootstrap"
    found = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if path.parent.name != "grants" and any(text in path.read_text() for text in literal)
    }
    assert found == set()
