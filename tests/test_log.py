"""What Airlock prints: sanitised, masked, in the agent's style; and secrets that stay secret."""

import copy
import json
import os
import pickle
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.errors import CannotStart, InternalError, Refused, WrongConfiguration
from bootstrap.log import JobLog, to_descriptor
from bootstrap.secret import Secret
from bootstrap.text import on_terminal, printable


def written(method: str) -> tuple[JobLog, list[bytes]]:
    lines: list[bytes] = []
    log = JobLog(lines.append)
    getattr(log, method)("role \x1b]0;owned\x07 of\n+++ a group of the job's\u202e")
    return log, lines


@pytest.mark.parametrize("method", ["group", "note", "alert"])
def test_no_text_of_a_job_opens_a_group_or_moves_the_cursor(method: str) -> None:
    text = b"".join(written(method)[1]).decode()
    assert "\n+++" not in text
    assert "\x1b]" not in text
    assert "\u202e" not in text


@pytest.mark.parametrize("kind", [Refused, WrongConfiguration, CannotStart, InternalError])
def test_a_failure_shows_the_problem_what_to_do_and_whose_status_it_is(
    kind: type[Refused] | type[CannotStart],
) -> None:
    lines: list[bytes] = []
    JobLog(lines.append).failure(kind("it\x1b[2J broke", hint="repair it", details=("a", "b\nc")))
    text = b"".join(lines).decode()
    assert text.startswith("+++ :no_entry: Airlock: ")
    assert "What to do: repair it" in text
    assert "\x1b[2J" not in text
    assert text.splitlines()[-1].startswith(f"Exit status {kind.exit_code} is Airlock's: https://")


def test_issued_secrets_are_masked_in_every_text() -> None:
    lines: list[bytes] = []
    log = JobLog(lines.append)
    log.mask(Secret("hunter2"))
    log.note("the key is hunter2")
    log.failure(CannotStart("hunter2", hint="hunter2", details=("hunter2",)))
    assert b"hunter2" not in b"".join(lines)


@pytest.mark.parametrize("text", ["x" * 490 + "hunter2-hunter2", "two\nlines"])
def test_secret_at_the_limit_or_with_newlines_is_masked_whole(text: str) -> None:
    lines: list[bytes] = []
    log = JobLog(lines.append)
    log.mask(Secret("hunter2-hunter2"), Secret("two\nlines"))
    log.note(text)
    assert b"hunter2" not in lines[0]
    assert b"two" not in lines[0]
    assert b"***" in lines[0]


def test_an_empty_secret_masks_nothing() -> None:
    lines: list[bytes] = []
    log = JobLog(lines.append)
    log.mask(Secret(""))
    log.note("as it is")
    assert b"as it is" in lines[0]


def test_line_for_closed_descriptor_is_dropped() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(9999, b"hello")
    to_descriptor(9999)(b"hello")


@given(st.text(), st.integers(1, 50))
def test_printable_text_is_one_line_of_bounded_length(text: str, limit: int) -> None:
    shown = printable(text, limit=limit)
    assert len(shown) <= limit
    assert len(shown.splitlines()) <= 1
    assert printable(shown, limit=limit) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://ci:s3cret@git.example.com/a/b.git", "https://***@git.example.com/a/b.git"),
        ("https://s3cret@git.example.com/a/b.git", "https://***@git.example.com/a/b.git"),
        ("https://s3cret:@git.example.com/", "https://***@git.example.com/"),
        ("HTTP://ci:s3@cret@git.example.com:8080/", "HTTP://***@git.example.com:8080/"),
        ("//ci:s3cret@git.example.com/a", "//***@git.example.com/a"),
        (r"https://ci:s3\cret@git.example.com/a", "https://***@git.example.com/a"),
        ("ssh://git@git.example.com/a", "ssh://git@git.example.com/a"),
        ("ssh://git:s3cret@git.example.com/a", "ssh://git:***@git.example.com/a"),
        ("git@git.example.com:a/b.git", "git@git.example.com:a/b.git"),
        ("ci:s3cret@git.example.com:a/b.git", "ci:***@git.example.com:a/b.git"),
        ('[{"https:\\/\\/ci:s3cret@h\\/p#v1": null}]', '[{"https:\\/\\/***@h\\/p#v1": null}]'),
        ("fatal: unable to access 'https://ci:s3cret@h/a/': 403",
         "fatal: unable to access 'https://***@h/a/': 403"),
        ("https://h/docker@v5, node:18@sha256:00ff", "https://h/docker@v5, node:18@sha256:00ff"),
        ("by ada@example.com, 12:30", "by ada@example.com, 12:30"),
    ],
)  # fmt: skip
def test_credentials_in_urls_are_masked_and_nothing_else_is(text: str, shown: str) -> None:
    assert printable(text) == shown


_PART = st.text("abcXYZ019._~!$&'()*+,;=%-:@", min_size=1)


@given(_PART, st.text(max_size=20), st.integers(1, 60))
def test_no_userinfo_of_a_url_is_ever_shown(part: str, around: str, limit: int) -> None:
    """Not even a part of it, wherever the text is cut off."""
    shown = printable(f"{around} https://TOKEN{part}@git.example.com/x", limit=limit)
    assert "TOKEN" not in shown


def test_a_secret_is_masked_however_it_is_printed() -> None:
    secret = Secret("hunter2")
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>20}",
        f"{[secret]}",
        "%s" % secret,  # noqa: UP031
    ]
    assert not any("hunter2" in text for text in shown)
    assert secret.reveal() == "hunter2"


def test_a_secret_cannot_be_compared_hashed_or_copied() -> None:
    secret = Secret("hunter2")
    for use in (
        lambda: secret == "hunter2",
        lambda: hash(secret),
        lambda: pickle.dumps(secret),
        lambda: copy.copy(secret),
        lambda: json.dumps(secret),
        lambda: iter(secret),  # type: ignore[call-overload]
    ):
        with pytest.raises(TypeError):
            use()


@given(st.text())
def test_text_on_terminal_keeps_line_ends_and_nothing_else_that_acts(text: str) -> None:
    shown = on_terminal(text)
    assert shown.count("\n") == text.count("\n")
    assert len(shown) == len(text)
    assert on_terminal(shown) == shown
    hidden = {unicodedata.category(char) for char in shown.replace("\n", "")}
    assert not hidden & {"Cc", "Cf", "Cs", "Zl", "Zp"}
