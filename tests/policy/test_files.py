"""The directory store: documents count only if no user but root could have written them."""

import os
from pathlib import Path

import pytest

from bootstrap.errors import WrongConfiguration
from bootstrap.policy.parse import parse
from bootstrap.policy.stores.files import guardrails_text
from bootstrap.policy.stores.files import pipeline_text as load
from tests.policy.given import HEAD

POLICY = HEAD + "  - {name: all, allow: {}}\n"
EXAMPLES = Path(__file__).parents[2] / "agent-config" / "policies"


def store(path: Path, text: str | bytes = POLICY) -> Path:
    path.mkdir(mode=0o755, exist_ok=True)
    file = path / "storefront.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    file.chmod(0o644)
    return path


def test_a_policy_is_found_by_its_slug(tmp_path: Path) -> None:
    assert load(store(tmp_path / "p"), "storefront") == POLICY


def test_a_pipeline_without_a_document_has_no_policy(tmp_path: Path) -> None:
    assert load(store(tmp_path / "p"), "warehouse") is None


@pytest.mark.parametrize("example", [EXAMPLES / "docs.yaml", EXAMPLES / "storefront.yaml"])
def test_the_examples_are_valid_policies(example: Path) -> None:
    assert parse(load(EXAMPLES, example.stem) or "", str(example)).pipeline == example.stem


def test_a_store_that_does_not_exist_is_wrong_configuration(tmp_path: Path) -> None:
    with pytest.raises(WrongConfiguration, match="No such file"):
        load(tmp_path / "absent", "storefront")


def test_a_file_in_place_of_the_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WrongConfiguration, match="is not a directory") as refused:
        load(tmp_path / "file", "storefront")
    assert "policy.store" in refused.value.hint
    assert "Remove" not in refused.value.hint


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646])
def test_a_document_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    (store(tmp_path / "p") / "storefront.yaml").chmod(mode)
    with pytest.raises(WrongConfiguration, match=f"mode {mode:04o}"):
        load(tmp_path / "p", "storefront")


def test_a_directory_that_others_can_write_is_refused(tmp_path: Path) -> None:
    store(tmp_path / "p").chmod(0o777)
    with pytest.raises(WrongConfiguration, match="mode 0777"):
        load(tmp_path / "p", "storefront")


def test_guardrails_in_a_directory_that_others_can_write_are_refused(tmp_path: Path) -> None:
    """Whoever can write there can put another file of root's in their place."""
    rails = store(tmp_path / "p") / "storefront.yaml"
    assert guardrails_text(rails) == POLICY
    assert guardrails_text(tmp_path / "absent" / "guardrails.yaml") is None
    rails.parent.chmod(0o775)
    with pytest.raises(WrongConfiguration, match="mode 0775"):
        guardrails_text(rails)


@pytest.mark.parametrize(
    ("path", "mode", "hint"),
    [
        ("p", 0o775, "the file and its directory"),
        ("p/storefront.yaml", 0o664, "the file and its directory"),
        ("", 0o755, "name the file if this is its directory"),
    ],
)
def test_an_error_about_guardrails_names_their_key(
    tmp_path: Path, path: str, mode: int, hint: str
) -> None:
    rails = store(tmp_path / "p") / "storefront.yaml"
    (tmp_path / path).chmod(mode)
    with pytest.raises(WrongConfiguration, match=f"^the guardrails' {tmp_path}") as refused:
        guardrails_text(rails if path else tmp_path)
    assert refused.value.hint.startswith("policy.guardrails in airlock.toml")
    assert hint in refused.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_a_document_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(store(tmp_path / "p") / "storefront.yaml", 1234, 1234)
    with pytest.raises(WrongConfiguration, match="belongs to uid 1234"):
        load(tmp_path / "p", "storefront")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    directory = store(tmp_path / "p")
    (directory / "storefront.yaml").rename(tmp_path / "elsewhere.yaml")
    (directory / "storefront.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    with pytest.raises(WrongConfiguration, match="cannot be read"):
        load(directory, "storefront")


def test_a_directory_in_place_of_a_document_is_refused(tmp_path: Path) -> None:
    directory = store(tmp_path / "p")
    (directory / "storefront.yaml").unlink()
    (directory / "storefront.yaml").mkdir(mode=0o755)
    with pytest.raises(WrongConfiguration, match="is not a regular file"):
        load(directory, "storefront")


def test_a_pipe_in_place_of_a_document_is_refused_at_once(tmp_path: Path) -> None:
    directory = store(tmp_path / "p")
    (directory / "storefront.yaml").unlink()
    os.mkfifo(directory / "storefront.yaml", 0o644)
    with pytest.raises(WrongConfiguration, match="is not a regular file"):
        load(directory, "storefront")


def test_a_document_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongConfiguration, match="not UTF-8 at byte 0"):
        load(store(tmp_path / "p", b"\xff\xfe"), "storefront")
