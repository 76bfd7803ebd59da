"""`airlock policy diff`, `push` and `explain` of whatever there may be: an answer or an error."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bootstrap.commands.policy.diff import diff
from bootstrap.commands.policy.source import Form
from bootstrap.errors import AirlockError, WrongConfiguration
from bootstrap.policy.stores.versions import read
from tests.commands.test_explain import explained
from tests.commands.test_policy import ALL, policy
from tests.fakes.ssm import StrictSsm
from tests.policy.difference.documents import guardrails, policies

FEW = settings(max_examples=60, deadline=None)
NAMES = (
    "storefront.yaml",
    "guardrails.yaml",
    "storefront.test.yaml",
    "a.yml",
    ".yaml",
    "\udcff.yaml",
)
scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=20)
yamls = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(scalars, inner, max_size=3)
).map(lambda value: yaml.safe_dump(value).encode())
documents = (policies | guardrails).map(lambda one: yaml.safe_dump(one).encode())


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """A document in which some bytes are others."""
    text = bytearray(draw(documents))
    for at in draw(st.lists(st.integers(0, len(text) - 1), max_size=3)):
        text[at] = draw(st.integers(0, 255))
    return bytes(text)


contents = st.binary(max_size=60) | yamls | spoiled() | documents
directories = st.dictionaries(st.sampled_from(NAMES), contents, max_size=4)


def compared(old: Path, new: Path, form: Form, lines: list[str]) -> int | AirlockError:
    try:
        return diff(
            old=old, new=new, config_path=Path("/dev/null"), form=form, allow_empty=True,
            save_versions=None, output=lines.append,
        )  # fmt: skip
    except AirlockError as failed:
        return failed


@FEW
@given(directories, directories, st.sampled_from(Form))
def test_diff_of_anything_is_an_answer_or_an_error(
    old: dict[str, bytes], new: dict[str, bytes], form: Form
) -> None:
    with tempfile.TemporaryDirectory() as base:
        sides = [Path(base) / name for name in ("old", "new")]
        for side, files in zip(sides, (old, new), strict=True):
            side.mkdir()
            for name, content in files.items():
                (side / name).write_bytes(content)
        lines: list[str] = []
        done = compared(sides[0], sides[1], form, lines)
        if isinstance(done, AirlockError):
            assert lines == []
            assert done.exit_code == 78
            assert done.hint
        else:
            assert done in {0, 1}
            assert lines


@FEW
@given(contents)
def test_a_file_of_versions_is_read_or_an_error(content: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(content)
        with pytest.raises(WrongConfiguration, match="the file of versions"):
            read(Path(file.name))


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 30)


SPOILERS: dict[str, Callable[[Path], object]] = {
    "a directory": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "a link to nothing": lambda path: path.symlink_to("absent"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "huge": huge,
    "not UTF-8": lambda path: path.write_bytes(b"\xff\xfe"),
    "zeros": lambda path: path.write_bytes(bytes(1000)),
    "nested": lambda path: path.write_text("[" * 60_000),
    "empty": lambda path: path.touch(),
}


@pytest.mark.parametrize("verb", ["diff", "push"])
@pytest.mark.parametrize("name", ["storefront.yaml", "guardrails.yaml"])
@pytest.mark.parametrize("spoiler", SPOILERS)
def test_what_is_no_document_is_an_error_and_nothing_is_written(
    ssm: StrictSsm, config: Path, tmp_path: Path, *, verb: str, name: str, spoiler: str
) -> None:
    directory = tmp_path / "p"
    directory.mkdir()
    (directory / "other.yaml").write_text(ALL.replace("storefront", "other"))
    SPOILERS[spoiler](directory / name)
    arguments = (directory, directory) if verb == "diff" else (directory, "--config", config)
    done = policy(verb, *arguments)
    assert done.returncode == (78 if verb == "diff" else 1)
    assert str(directory / name) in done.stdout + done.stderr
    assert ssm.calls == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
@pytest.mark.parametrize("mode", [0o000, 0o644])
def test_without_permission_it_is_an_error(mode: int) -> None:
    """A directory without execute permission can be listed, and none of its files read."""
    with tempfile.TemporaryDirectory() as base:
        Path(base).chmod(0o755)
        new = Path(base) / "new"
        new.mkdir()
        (new / "storefront.yaml").write_text(ALL)
        new.chmod(mode)
        child = os.fork()
        if child == 0:
            os.setresuid(12345, 12345, 12345)
            lines: list[str] = []
            done = compared(new, new, Form.TEXT, lines)
            os._exit(0 if isinstance(done, WrongConfiguration) and not lines else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_is_no_file_of_a_job_is_not_waited_for(folder: Path, tmp_path: Path) -> None:
    pipe, large = tmp_path / "pipe", tmp_path / "large"
    os.mkfifo(pipe)
    with large.open("wb") as file:
        file.truncate(1 << 30)
    for path, what in ((pipe, "is not a regular file"), (large, "more than 32 MiB")):
        with pytest.raises(AirlockError, match=what):
            explained(folder, job=path)
