"""A document that was read before is not parsed again, and nothing else ever counts as read."""

import os
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.errors import WrongConfiguration
from bootstrap.host.config import Host, parse
from bootstrap.host.parsed import ENTRIES, LARGEST, fingerprint, parsed
from bootstrap.log import JobLog
from bootstrap.policy.model import Guardrails, Policy
from bootstrap.policy.parse import parse as policy
from bootstrap.policy.parse import parse_guardrails
from tests.policy.given import HEAD
from tests.policy.samples import SECRETS

EXAMPLES = Path(__file__).parents[2] / "agent-config"
TEXT = HEAD + "  - {name: all, allow: {}}\n"
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")


@dataclass
class Reader:
    """Reads one document, and counts how often it had to be parsed."""

    runtime: Path
    count: int = 0

    def read(self, text: str = TEXT, origin: str = "a.yaml") -> Policy:
        return parsed(self.runtime, Policy, origin, text.encode(), partial(self._parse, text))

    def _parse(self, text: str) -> Policy:
        self.count += 1
        return policy(text, "a.yaml")

    def file(self) -> Path:
        (only,) = (self.runtime / "parsed").iterdir()
        return only


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


def test_a_document_is_parsed_once(reader: Reader) -> None:
    assert reader.read() == reader.read() == policy(TEXT, "a.yaml")
    assert reader.count == 1
    assert reader.file().stat().st_mode & 0o777 == 0o600
    assert reader.file().parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(("text", "origin"), [(TEXT + "#", "a.yaml"), (TEXT, "b.yaml")])
def test_another_document_is_parsed(reader: Reader, text: str, origin: str) -> None:
    reader.read()
    reader.read(text, origin)
    assert reader.count == 2


def test_other_code_parses_anew(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    reader.read()
    monkeypatch.setattr(sys, "path", [*sys.path, str(reader.runtime)])
    fingerprint.cache_clear()
    reader.read()
    fingerprint.cache_clear()
    assert reader.count == 2


@AS_ROOT
def test_a_file_of_another_user_does_not_count(reader: Reader) -> None:
    reader.read()
    os.chown(reader.file(), 1000, 1000)
    reader.read()
    assert reader.count == 2
    assert reader.file().stat().st_uid == 0


def test_a_link_does_not_count(reader: Reader) -> None:
    reader.read()
    kept = reader.file().rename(reader.runtime / "elsewhere")
    (reader.runtime / "parsed" / _name(reader)).symlink_to(kept)
    reader.read()
    assert reader.count == 2


def _name(reader: Reader) -> str:
    """Return the file's name, by reading the document into another directory."""
    (reader.runtime / "again").mkdir()
    other = Reader(reader.runtime / "again")
    other.read()
    return other.file().name


@given(content=st.binary(max_size=200))
def test_a_broken_file_does_not_count(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    reader = Reader(tmp_path_factory.mktemp("runtime"))
    reader.read()
    key = reader.file().read_bytes()[:32]
    reader.file().write_bytes(key + content)
    assert reader.read() == policy(TEXT, "a.yaml")
    assert reader.count == 2


class _Command:
    """Pickled, it is a call of a function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self._call


@pytest.mark.parametrize(
    "function",
    [os.mkdir, exec, Path.mkdir, partial, policy, JobLog],
    ids=lambda f: f.__class__.__name__,
)
def test_nothing_in_a_file_is_called(reader: Reader, function: Callable[..., object]) -> None:
    reader.read()
    key = reader.file().read_bytes()[:32]
    created = reader.runtime / "created"
    reader.file().write_bytes(key + pickle.dumps(_Command(function, str(created))))
    assert reader.read() == policy(TEXT, "a.yaml")
    assert reader.count == 2
    assert not created.exists()


def test_another_kind_of_value_does_not_count(reader: Reader) -> None:
    reader.read()
    key = reader.file().read_bytes()[:32]
    rails = parse_guardrails("guardrails: acme\n", "guardrails.yaml")
    reader.file().write_bytes(key + pickle.dumps(rails))
    assert isinstance(reader.read(), Policy)
    assert reader.count == 2


def test_mistakes_are_reported_every_time(reader: Reader) -> None:
    for _ in range(2):
        with pytest.raises(WrongConfiguration, match="1 mistake"):
            reader.read(HEAD + "  - {name: all, alow: {}, allow: {}}\n")
    assert reader.count == 2


def test_what_has_a_secret_is_not_kept(tmp_path: Path) -> None:
    proxy = {"https-proxy": "http://user:s3cret@proxy:3128"}
    host = parse({"sandbox": {"image": "x"}, "aws": proxy}, tmp_path)
    assert parsed(tmp_path, Host, "airlock.toml", b"", lambda: host) is host
    assert list((tmp_path / "parsed").iterdir()) == []


def test_nothing_is_created_before_the_directory_for_runtime_files(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "none")
    assert reader.read() == reader.read()
    assert reader.count == 2
    assert list(tmp_path.iterdir()) == []


def test_what_is_kept_is_bounded(reader: Reader) -> None:
    for number in range(ENTRIES + 10):
        reader.read(origin=f"{number}.yaml")
        assert sum(1 for _ in (reader.runtime / "parsed").iterdir()) <= ENTRIES


def test_what_is_too_large_is_not_kept(tmp_path: Path) -> None:
    conditions = "command: [" + ", ".join(f"'{i:0900}'" for i in range(70)) + "]"
    largest = HEAD + f"  - {{name: a, when: {{{conditions}}}, allow: {{}}}}\n"
    assert len(pickle.dumps(policy(largest, "a.yaml"))) < LARGEST
    value = tuple(policy(largest, "a.yaml") for _ in range(5))
    assert parsed(tmp_path, tuple, "a.yaml", b"", lambda: value) is value
    assert list((tmp_path / "parsed").iterdir()) == []


@pytest.mark.parametrize(
    "path",
    sorted(set((EXAMPLES / "policies").glob("*.yaml")) - set(EXAMPLES.glob("*/*.test.yaml"))),
    ids=lambda p: p.name,
)
def test_every_example_is_the_same_from_a_file(tmp_path: Path, path: Path) -> None:
    text = path.read_text()
    kind, read = (Guardrails, parse_guardrails) if path.stem == "guardrails" else (Policy, policy)
    first = parsed(tmp_path, kind, path.name, text.encode(), lambda: read(text, path.name))
    again = parsed(tmp_path, kind, path.name, text.encode(), lambda: None)
    assert again == first
    assert again is not first


def test_every_kind_of_grant_and_every_setting_is_the_same_from_a_file(tmp_path: Path) -> None:
    host = parse({"sandbox": {"image": "x", "dns": ["10.0.0.2"]}}, tmp_path)
    assert parsed(tmp_path, Host, "airlock.toml", b"", lambda: host) is host
    assert parsed(tmp_path, Host, "airlock.toml", b"", lambda: None) == host
    value = parsed(tmp_path, Policy, "x", b"", lambda: SECRETS)
    assert parsed(tmp_path, Policy, "x", b"", lambda: None) == value == SECRETS
