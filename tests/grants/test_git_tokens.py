"""The credential helper answers for the rule's repositories and for no similar URL."""

import subprocess
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.errors import AirlockError, WrongConfiguration
from bootstrap.grants.git_tokens import HELPER, TOKENS, lines, variables
from bootstrap.sandbox.environment import AIRLOCK
from bootstrap.secret import Secret

SCRIPT = Path(__file__).parents[2] / "bootstrap/sandbox/git_credential.sh"
GRANTED = {
    "https://github.com/acme/": Secret("gh-token"),
    "https://git.example.com:8443/team/one.git": Secret("bot:example-token"),
}


def asked(tmp_path: Path, protocol: str, host: str, path: str, verb: str = "get") -> str:
    """Call the real script as git does, with its file in another place."""
    (tmp_path / "tokens").write_bytes(lines(GRANTED))
    script = SCRIPT.read_text().replace(str(AIRLOCK / TOKENS), str(tmp_path / "tokens"))
    question = f"protocol={protocol}\nhost={host}\npath={path}\n\n"
    done = subprocess.run(
        ["sh", "-c", script, "helper", verb],
        input=question, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize(
    ("host", "path", "token"),
    [
        ("github.com", "acme/storefront.git", "username=x-access-token\npassword=gh-token\n"),
        ("github.com", "acme/storefront", "username=x-access-token\npassword=gh-token\n"),
        ("git.example.com:8443", "team/one.git", "username=bot\npassword=example-token\n"),
        ("git.example.com:8443", "team/one", "username=bot\npassword=example-token\n"),
    ],
)
def test_helper_answers_for_repositories_of_the_rule(
    tmp_path: Path, host: str, path: str, token: str
) -> None:
    assert asked(tmp_path, "https", host, path) == token


@pytest.mark.parametrize(
    ("protocol", "host", "path"),
    [
        ("http", "github.com", "acme/storefront.git"),
        ("https", "github.com", "mallory/storefront.git"),
        ("https", "github.com", "acme-evil/storefront.git"),
        ("https", "github.com", "acme/../mallory/storefront.git"),
        ("https", "github.com", "acme/./x"),
        ("https", "github.com", "acme//x"),
        ("https", "github.com", "acme"),
        ("https", "github.com", ""),
        ("https", "github.com.evil.example", "acme/storefront.git"),
        ("https", "github.com:8443", "acme/storefront.git"),
        ("https", "git.example.com:8443", "team/one-two.git"),
        ("https", "git.example.com:8443", "team/one/x.git"),
        ("https", "git.example.com", "team/one.git"),
        ("https", "*", "*"),
    ],
)
def test_helper_is_silent_for_any_other_url(
    tmp_path: Path, protocol: str, host: str, path: str
) -> None:
    assert asked(tmp_path, protocol, host, path) == ""


@pytest.mark.parametrize("verb", ["store", "erase", ""])
def test_helper_is_silent_for_any_verb_but_get(tmp_path: Path, verb: str) -> None:
    assert asked(tmp_path, "https", "github.com", "acme/storefront.git", verb) == ""


@pytest.mark.parametrize("value", ["", "two words", "a\nb", "user:", ":token", "ünï"])
def test_malformed_token_is_a_configuration_error(value: str) -> None:
    with pytest.raises(WrongConfiguration, match="acme/ is malformed") as caught:
        lines({"https://github.com/acme/": Secret(value)})
    assert not value or value not in caught.value.problem


@given(st.text())
def test_any_accepted_value_makes_one_line(value: str) -> None:
    try:
        made = lines({"https://github.com/acme/": Secret(value)})
    except AirlockError:
        return
    assert made.count(b"\n") == 1
    assert len(made.split()) == 3


@pytest.mark.parametrize(
    ("count", "first"), [("", 0), ("2", 2), ("many", 0), ("-1", 0), ("99999", 0)]
)
def test_git_settings_of_the_job_are_kept(count: str, first: int) -> None:
    made = variables(AIRLOCK / HELPER, {"GIT_CONFIG_COUNT": count})
    assert made["GIT_CONFIG_COUNT"] == str(first + 2)
    assert made[f"GIT_CONFIG_KEY_{first}"] == "credential.helper"
    assert made[f"GIT_CONFIG_VALUE_{first}"] == "!/bin/sh /airlock/git-credential"
    assert made[f"GIT_CONFIG_VALUE_{first + 1}"] == "true"


def test_git_calls_a_helper_that_it_could_not_execute(tmp_path: Path) -> None:
    """The sandbox directory may lie on a mount with noexec."""
    (tmp_path / TOKENS).write_bytes(lines(GRANTED))
    helper = tmp_path / HELPER
    helper.write_text(SCRIPT.read_text().replace(str(AIRLOCK / TOKENS), str(tmp_path / TOKENS)))
    helper.chmod(0o444)
    settings = variables(PurePosixPath(helper), {})
    done = subprocess.run(
        ["git", "credential", "fill"], input="url=https://github.com/acme/storefront.git\n\n",
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **settings},
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert "password=gh-token\n" in done.stdout
