"""nftables by its library and by its program: both do the same, and one replaces the other."""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bootstrap.errors import CannotStart
from bootstrap.sandbox.network import firewall, nftables
from bootstrap.sandbox.network.firewall import TABLE
from tests.sandbox.network.namespace import in_a_new_namespace, run

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root"),
    pytest.mark.skipif(nftables.library() is None, reason="this host has no libnftables"),
]

EXAMPLE = "create table inet airlock\ntable inet airlock {\n\tchain one {\n\t\tdrop\n\t}\n}\n"
LISTED = "table inet airlock {\n\tchain one {\n\t\tdrop\n\t}\n}\n"


@pytest.fixture
def without_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[bytes], None]]:
    """Replace the library's file by one with this content, or by none."""

    def replace(content: bytes) -> None:
        if content:
            (tmp_path / nftables.LIBRARY).write_bytes(content)
        monkeypatch.setattr(nftables, "DIRECTORIES", (tmp_path,))
        nftables.library.cache_clear()

    yield replace
    monkeypatch.undo()
    nftables.library.cache_clear()


def another_library(tmp_path: Path) -> bytes:
    """Return a library without the functions."""
    made = tmp_path / "other.so"
    subprocess.run(["cc", "-shared", "-o", made, "-x", "c", "/dev/null"], check=True)
    return made.read_bytes()


def test_library_and_program_print_the_whole_ruleset_alike() -> None:
    def work() -> tuple[str | None, str]:
        nftables.load(firewall.ruleset_text())
        element = "{ 10.0.0.7 : 169.254.170.2 . 40001 }"
        run(f"nft add element inet airlock credentials {element}")
        run("nft add element inet airlock refused { 10.0.0.7 }")
        return nftables.listed_by_library(TABLE), nftables.listed(TABLE)

    ours, theirs = in_a_new_namespace(work)
    assert ours == theirs
    assert "10.0.0.7" not in theirs


def test_absent_table_is_no_listing() -> None:
    def work() -> tuple[str | None, str]:
        return nftables.listed_by_library(TABLE), nftables.listed(TABLE)

    assert in_a_new_namespace(work) == (None, "")


def test_every_listing_reads_the_kernel_again() -> None:
    def work() -> list[str | None]:
        nftables.load(EXAMPLE)
        listings = [nftables.listed_by_library(TABLE)]
        run("nft flush chain inet airlock one")
        listings.append(nftables.listed_by_library(TABLE))
        run("nft delete table inet airlock")
        return [*listings, nftables.listed_by_library(TABLE)]

    changed = "table inet airlock {\n\tchain one {\n\t}\n}\n"
    assert in_a_new_namespace(work) == [LISTED, changed, None]


@pytest.mark.parametrize("content", [b"", b"no library", None])
def test_without_a_usable_library_the_program_does_the_same(
    without_library: Callable[[bytes], None], tmp_path: Path, content: bytes | None
) -> None:
    without_library(another_library(tmp_path) if content is None else content)

    def work() -> tuple[str | None, str]:
        nftables.load(EXAMPLE)
        return nftables.listed_by_library(TABLE), nftables.listed(TABLE)

    assert in_a_new_namespace(work) == (None, LISTED)


@pytest.mark.parametrize("content", [b"", None])
def test_rules_are_loaded_inside_the_namespace_of_a_process(
    without_library: Callable[[bytes], None], content: bytes | None
) -> None:
    if content is not None:
        without_library(content)
    with subprocess.Popen(["unshare", "--net", "sleep", "60"]) as process:
        try:
            inside = ("nsenter", "--target", str(process.pid), "--net")
            own = os.stat("/proc/self/ns/net").st_ino  # noqa: PTH116
            deadline = time.monotonic() + 10
            while Path(f"/proc/{process.pid}/ns/net").stat().st_ino == own:
                assert time.monotonic() < deadline

            def work() -> str:
                nftables.load(EXAMPLE, inside=process.pid)
                return nftables.listed(TABLE)

            assert in_a_new_namespace(work) == ""
            assert run(" ".join((*inside, "nft list table inet airlock"))) == LISTED
        finally:
            process.kill()


@pytest.mark.parametrize("content", [b"", None])
@pytest.mark.parametrize(
    ("text", "why"),
    [
        (EXAMPLE + "nonsense\n", "syntax error"),
        ("add rule inet absent one drop\n", "No such file or directory"),
        (EXAMPLE + EXAMPLE, "File exists"),
    ],
)
def test_refused_commands_cannot_start_and_say_why(
    without_library: Callable[[bytes], None], content: bytes | None, text: str, why: str
) -> None:
    if content is not None:
        without_library(content)

    def work() -> tuple[str, str]:
        with pytest.raises(CannotStart) as refused:
            nftables.load(text)
        return refused.value.problem, nftables.listed(TABLE)

    problem, left = in_a_new_namespace(work)
    assert why in problem
    assert left == ""


def test_process_that_has_ended_has_no_namespace_to_load_into() -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    with pytest.raises((FileNotFoundError, CannotStart)):
        nftables.load(EXAMPLE, inside=ended.pid)


def test_call_while_another_does_not_end_is_done_by_the_program() -> None:
    def work() -> tuple[str | None, str]:
        nftables.load(EXAMPLE)  # by the program: see below
        return nftables.listed_by_library(TABLE), nftables.listed(TABLE)

    with nftables.one_at_a_time:
        assert in_a_new_namespace(work) == (None, LISTED)


def test_calls_at_once_do_not_disturb_each_other() -> None:
    """Each in a namespace of its own, loading a ruleset of its own."""
    listings: dict[int, str | None] = {}

    def one(number: int) -> None:
        def work() -> str | None:
            nftables.load(EXAMPLE.replace("one", f"chain-{number}"))
            return nftables.listed_by_library(TABLE)

        listings[number] = in_a_new_namespace(work)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert listings == {n: LISTED.replace("one", f"chain-{n}") for n in range(20)}


def test_no_descriptor_stays_open() -> None:
    def work() -> tuple[int, int]:
        nftables.load(EXAMPLE)
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(20):
            nftables.listed_by_library(TABLE)
        with nftables.one_at_a_time:  # the last call has ended
            return before, len(list(Path("/proc/self/fd").iterdir()))

    before, after = in_a_new_namespace(work)
    assert after <= before


HANGS = """
#include <unistd.h>
void *nft_ctx_new(unsigned f) { return "context"; }
void nft_ctx_free(void *c) {}
int nft_ctx_buffer_output(void *c) { return 0; }
int nft_ctx_buffer_error(void *c) { return 0; }
void nft_ctx_output_set_flags(void *c, unsigned f) {}
const char *nft_ctx_get_output_buffer(void *c) { return ""; }
const char *nft_ctx_get_error_buffer(void *c) { return ""; }
int nft_run_cmd_from_buffer(void *c, const char *b) { sleep(8); return 0; }
"""


def test_library_that_hangs_is_not_waited_for_and_the_program_takes_over(
    without_library: Callable[[bytes], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, made = tmp_path / "hangs.c", tmp_path / "hangs.so"
    source.write_text(HANGS)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", made, source], check=True)
    without_library(made.read_bytes())
    monkeypatch.setattr(nftables, "TIMEOUT", 0.3)
    began = time.monotonic()
    with pytest.raises(CannotStart, match="it did not end within"):
        nftables.load(EXAMPLE)
    assert time.monotonic() - began < 2

    def work() -> tuple[str | None, str]:
        nftables.load(EXAMPLE)
        return nftables.listed_by_library(TABLE), nftables.listed(TABLE)

    assert in_a_new_namespace(work) == (None, LISTED)
    with nftables.one_at_a_time:  # the call has ended
        assert time.monotonic() - began < 60
