"""What a job sends and sets: Airlock reads it beside the job, with its own processors and memory.

While a pattern is matched, all other threads of the process wait: those that cancel the job, and
those that stop it when its protection is breached. Each value is also read as it once was.
"""

import re
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress

import pytest

from bootstrap.agent_api.request import MAX_HEAD, BadRequestError, parse
from bootstrap.credentials import answer
from bootstrap.policy.steering import stays_inside

WITHIN = 0.1  # seconds of a processor
MEMORY = 16 << 20  # bytes
LONGEST = 131_000  # bytes of a variable, as the kernel passes it on
GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
NAME = rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):"


def seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def spaces(limit: int, last: bytes) -> bytes:
    return b"A:" + b" " * (limit - len(GET) - 8) + last


def test_a_header_of_spaces_keeps_no_processor_of_the_gateway() -> None:
    line = spaces(MAX_HEAD, b"\x7f")

    def attack() -> None:
        with suppress(BadRequestError):
            parse(GET + line)
            pytest.fail("DEL is in no header")

    assert seconds(attack) < WITHIN
    before = re.compile(NAME + rb"[ \t]*([\t -~]*)")
    assert seconds(lambda: before.fullmatch(line)) > 2 * WITHIN


def test_a_header_of_spaces_keeps_no_processor_of_the_credential_endpoint() -> None:
    line = spaces(answer.MAX_HEAD, b"\0")

    def attack() -> None:
        assert b" 400 " in answer.answer(GET + line, "/", None).content

    assert seconds(attack) < WITHIN
    before = re.compile(NAME + rb"[ \t]*([^\x00\r\n]*)")
    assert seconds(lambda: before.fullmatch(line)) > WITHIN


def as_before(glob: str) -> bool:
    """Expand braces without a bound beside that of what has been expanded."""
    spellings = [glob]
    while found := next(filter(None, map(re.compile(r"\{([^{}]*)\}").search, spellings)), None):
        whole, choices = found[0], found[1].split(",")
        spellings = [s.replace(whole, choice, 1) for s in spellings for choice in choices]
        if len(spellings) > 1000:
            return False
    return not any(re.search(r"\[[^\]]*\.", spelling) for spelling in spellings)


def peak(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_choices_in_paths_of_artifacts_take_no_memory_of_the_host() -> None:
    """With the longest variable it was 4 GiB, of the service that is root."""

    def paths(length: int) -> str:
        return "{" + "," * (length // 2) + "}" + "x" * (length // 2)

    assert peak(lambda: stays_inside(paths(LONGEST))) < MEMORY
    assert not stays_inside(paths(LONGEST))
    assert peak(lambda: as_before(paths(LONGEST // 8))) > 2 * MEMORY


@pytest.mark.parametrize(
    ("paths", "inside", "shorter"),
    [
        ("[" * LONGEST, True, "[" * (LONGEST // 4)),
        ("{a,b}" * 9 + "{a}" * (LONGEST // 4), False, "{a,b}" * 5 + "{a}" * 2000),
        ("{a}" * (LONGEST // 3), False, "{a}" * 20000),
    ],
    ids=["classes", "spellings", "braces"],
)
def test_paths_of_artifacts_keep_no_processor(paths: str, inside: bool, shorter: str) -> None:  # noqa: FBT001
    assert seconds(lambda: stays_inside(paths)) < WITHIN
    assert stays_inside(paths) is inside
    assert seconds(lambda: as_before(shorter)) > WITHIN


@pytest.mark.parametrize(
    "glob", ["logs/**/*.xml", "{a,b}/{c,d}/*.{log,txt}", "build/[ab]/*.log", "a;b"]
)
def test_ordinary_paths_are_as_before(glob: str) -> None:
    assert stays_inside(glob)


@pytest.mark.parametrize("glob", ["[[.]x/a", "[a[.]/b", "{.,x}./a", "a/{b,..}/c", "[.]", "{"])
def test_what_could_lead_out_still_counts_as_leading_out(glob: str) -> None:
    assert not stays_inside(glob)
