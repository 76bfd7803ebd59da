"""The shells themselves complete what the command line defines."""

import shutil
import subprocess
from pathlib import Path

import pytest

from bootstrap.command_line import whole
from bootstrap.completion import commands, script
from tests.test_cli import airlock, verbs

POLICY = "airlock policy "
CASES = [
    (
        "airlock ",
        {
            "bootstrap",
            "admit",
            "serve",
            "gc",
            "firewall",
            "doctor",
            "policy",
            "replay",
            "why",
            "record",
            "completion",
        },
    ),
    ("airlock policy im", {"import"}),
    ("airlock policy schema ", {"policy", "guardrails", "cases"}),
    ("airlock policy who-can --form", {"--format"}),
    ("airlock policy who-can x --format ", {"text", "json"}),
    ("airlock gc --dry", {"--dry-run"}),
]


def bash(path: Path, line: str) -> set[str]:
    words = line.split(" ")
    listed = " ".join(f"'{word}'" for word in words)
    program = (
        f"source {path}; COMP_WORDS=({listed}); COMP_CWORD={len(words) - 1}; _airlock; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    return printed(["bash", "-c", program])


def fish(path: Path, line: str) -> set[str]:
    found = printed(["fish", "--no-config", "-c", f"source {path}; complete -C '{line}'"])
    return {one.partition("\t")[0] for one in found}


# A terminal of zsh's own, in which the line is typed; it reads until the expected text is there.
ZSH = """zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z 'PS1=; autoload -Uz compinit; compinit -u -D; source %s; stty -echo; print ready""done'
zpty -r -m z out '*readydone*'
zpty -w -n z $'%s\\t'
zpty -r -m z out '*%s*'
print -r -- "$out"
"""


def printed(command: list[str]) -> set[str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return {line for line in done.stdout.splitlines() if line}


SHELLS = {"bash": bash, "fish": fish}


def written(shell: str, tmp_path: Path) -> Path:
    if not shutil.which(shell):
        pytest.skip(f"no {shell}: tests/lab/setup installs it")
    path = tmp_path / f"completion.{shell}"
    done = airlock("completion", shell)
    assert done.returncode == 0
    path.write_text(done.stdout)
    return path


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("line", "expected"), CASES, ids=[line for line, _ in CASES])
def test_a_shell_completes_commands_options_and_choices(
    shell: str, line: str, expected: set[str], tmp_path: Path
) -> None:
    found = SHELLS[shell](written(shell, tmp_path), line)
    options = {one for one in found if one.startswith("-")}
    assert found - (set() if "-" in line.rpartition(" ")[2] else options) == expected


@pytest.mark.parametrize("shell", SHELLS)
def test_every_verb_is_completed(shell: str, tmp_path: Path) -> None:
    found = SHELLS[shell](written(shell, tmp_path), POLICY)
    assert {one for one in found if not one.startswith("-")} == set(verbs())


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_files_and_directories_are_completed(shell: str, tmp_path: Path) -> None:
    path = written(shell, tmp_path)
    (tmp_path / "policies").mkdir()
    (tmp_path / "page.html").touch()
    file = SHELLS[shell](path, f"airlock policy report --output {tmp_path}/p")
    assert f"{tmp_path}/page.html" in file
    folder = SHELLS[shell](path, f"airlock policy test {tmp_path}/p")
    assert {one.rstrip("/") for one in folder} == {f"{tmp_path}/policies"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("airlock policy im", "import"),
        ("airlock policy who-can --form", "--format"),
        ("airlock policy schema guard", "guardrails"),
    ],
)
def test_zsh_completes_what_is_typed(line: str, expected: str, tmp_path: Path) -> None:
    path = written("zsh", tmp_path)
    out = printed(["zsh", "-f", "-c", ZSH % (path, line, expected)])
    assert any(expected in one for one in out)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_option_of_every_command_is_in_the_script(shell: str) -> None:
    root = commands(whole())
    text = script(shell, root)
    names = {name for one in root.all for argument in one.arguments for name in argument.names}
    assert {"--accounts", "--repository", "--check", "--help"} <= names
    assert not [name for name in names if name.lstrip("-") not in text]
    assert len(list(root.all)) == 1 + 11 + 2 + len(verbs())
