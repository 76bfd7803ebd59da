"""images/job/debian: the mirror of Debian 12 among all repositories of a machine."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.images.scripts import AMI, program

DEBIAN = AMI.parents[1] / "images/job/debian"
# As `apt-get indextargets` lists them: other repositories have suites of the same name.
TARGETS = """Docker stable bookworm https://download.example.com/linux/debian/
HashiCorp main bookworm https://apt.example.com/
Debian non-free bookworm http://mirror.example.com/debian/
Debian main bookworm-security http://mirror.example.com/debian-security/
Debian main bookworm http://mirror.example.com/debian/
Debian main bookworm http://mirror.example.com/debian/
Debian main trixie http://mirror.example.com/debian/"""


def found(path: Path, apt: str) -> list[str]:
    program(path, "apt-get", apt)
    done = subprocess.run(
        [str(DEBIAN)], capture_output=True, text=True, check=True,
        env={"PATH": f"{path}:{os.environ['PATH']}"},
    )  # fmt: skip
    return done.stdout.splitlines()


def test_other_repositories_are_not_taken_for_debians(tmp_path: Path) -> None:
    assert found(tmp_path, f"cat <<'EOF'\n{TARGETS}\nEOF") == [
        "bookworm http://mirror.example.com/debian/",
        "bookworm-security http://mirror.example.com/debian-security/",
    ]


def test_machine_without_debian_12_has_none(tmp_path: Path) -> None:
    assert found(tmp_path, "echo Ubuntu main noble http://mirror.example.com/ubuntu/") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, as apt does")
def test_lists_are_fetched_where_there_are_none(tmp_path: Path) -> None:
    """As in a new container."""
    apt = f"""[ "$1" = indextargets ] || {{ touch {tmp_path}/updated; exit 0; }}
[ ! -e {tmp_path}/updated ] || echo Debian main bookworm http://mirror.example.com/debian/"""
    assert found(tmp_path, apt) == ["bookworm http://mirror.example.com/debian/"]
