"""nftables' language: by its library in this process, or by its program.

The library saves the start of a program. It is used only before the job begins, because it ends the
process where memory is short (its xmalloc), and that would be taken for the job's result. For the
same reason whoever watches a job, or clears up after one, calls the program or netlink itself.
"""

import ctypes
import json
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from bootstrap import process
from bootstrap.errors import CannotStart
from bootstrap.sandbox.network import netlink
from bootstrap.sandbox.network.namespaces import enter_network_of

TIMEOUT = 10.0  # seconds for one call
BUSY = 1.0  # seconds for another call of the library to end; then the program is used
LIBRARY = "libnftables.so.1"
# Where distributions have it. No search as ld.so(8) does it: that is steered by the environment.
DIRECTORIES = (
    Path(f"/usr/lib/{os.uname().machine}-linux-gnu"),
    Path("/usr/lib64"),
    Path("/usr/lib"),
)
_AS_LISTED = 1 << 2 | 1 << 11  # NFT_CTX_OUTPUT_STATELESS, NFT_CTX_OUTPUT_TERSE
_OPTIONS = ("--stateless", "--terse")


def load(commands: str, *, inside: int | None = None) -> None:
    """Run commands of nft(8) as one transaction. Raises CannotStart.

    `inside` is a process in whose network namespace they are run, instead of this one's.
    """
    if _by_library(commands, inside) is None:
        _by_program(["-f", "-"], stdin=commands, inside=inside)


def listed_by_library(table: Sequence[str]) -> str | None:
    """Return a table as `listed` does; None if the library cannot do it now."""
    try:
        return _by_library(" ".join(("list", "table", *table)), None)
    except CannotStart:
        return None


def listed(table: Sequence[str], timeout: float = TIMEOUT) -> str:
    """Return a table without counters and elements, "" if there is none. Raises CannotStart."""
    try:
        return _by_program([*_OPTIONS, "list", "table", *table], timeout=timeout)
    except CannotStart as absent:
        if "No such file or directory" in absent.problem:
            return ""
        raise


def every_table() -> str:
    """Return all tables of this host, without counters and elements. Raises CannotStart."""
    return _by_program([*_OPTIONS, "list", "ruleset"])


def counted(table: Sequence[str], name: str) -> dict[str, int]:
    """Return the packets that each element of a set has counted; none if there is no such set.

    Raises CannotStart.
    """
    try:
        shown = json.loads(_by_program(["-j", "list", "set", *table, name]))
    except CannotStart as absent:
        if "No such file or directory" in absent.problem:
            return {}
        raise
    found = (e["elem"] for item in shown["nftables"] for e in item.get("set", {}).get("elem", []))
    return {element["val"]: int(element["counter"]["packets"]) for element in found}


def _by_program(
    arguments: Sequence[str],
    *,
    stdin: str | None = None,
    inside: int | None = None,
    timeout: float = TIMEOUT,
) -> str:
    enter = [] if inside is None else ["nsenter", "--target", str(inside), "--net"]
    return process.run([*enter, "nft", *arguments], stdin=stdin, timeout=timeout)


def version() -> str:
    """Return what changes when the program is replaced by one that may print differently."""
    places = (Path(place) / "nft" for place in process.ENVIRONMENT["PATH"].split(":"))
    return next((str(nft.stat().st_mtime_ns) for nft in places if nft.is_file()), "")


@cache
def library() -> ctypes.CDLL | None:
    """Return the library, loaded once per process; None if this host has none that is usable."""
    path = next((d / LIBRARY for d in DIRECTORIES if (d / LIBRARY).is_file()), None)
    if path is None:
        return None
    try:
        found = ctypes.CDLL(str(path))
        found.nft_ctx_new.argtypes = [ctypes.c_uint32]
        found.nft_ctx_new.restype = ctypes.c_void_p
        found.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        found.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
        for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error", "nft_ctx_free"):
            getattr(found, name).argtypes = [ctypes.c_void_p]
        for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
            getattr(found, name).argtypes = [ctypes.c_void_p]
            getattr(found, name).restype = ctypes.c_char_p
    except (OSError, AttributeError):
        return None
    return found


# The library has variables that all of its contexts share. Whoever starts a call acquires this; the
# call's thread releases it, so that the next call waits for one whose caller was interrupted.
one_at_a_time = threading.Lock()


def _by_library(commands: str, inside: int | None) -> str | None:
    """Return what the library prints; None if it is not usable, or busy with an earlier call."""
    found = library()
    if found is None or not one_at_a_time.acquire(timeout=BUSY):
        return None
    call = _Call(found, commands, inside)
    try:
        # A thread, because nothing interrupts a call: its caller does not wait longer than allowed.
        threading.Thread(target=call.run, name="nftables", daemon=True).start()
    except BaseException:
        one_at_a_time.release()
        raise
    if not call.ended.wait(TIMEOUT):
        raise _failed(commands, f"it did not end within {TIMEOUT:.0f} s")
    if call.failure is not None:
        raise call.failure
    return call.output


@dataclass(kw_only=False, slots=True)
class _Call:
    """One call, with a context of its own: a context keeps what it has read of the kernel."""

    library: ctypes.CDLL
    commands: str
    inside: int | None
    output: str = ""
    failure: BaseException | None = None
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        context = None
        try:
            if self.inside is not None:
                enter_network_of(self.inside)
            # The library ends the process if it cannot open such a socket.
            netlink.connected(netlink.NETFILTER).close()
            context = self.library.nft_ctx_new(0)
            self.output = self._printed(context)
        except BaseException as failure:  # noqa: BLE001 - raised in the caller's thread
            self.failure = failure
        finally:
            self.ended.set()
            if context is not None:
                self.library.nft_ctx_free(context)  # may wait until what was deleted is freed
            one_at_a_time.release()

    def _printed(self, context: int) -> str:
        self.library.nft_ctx_buffer_output(context)
        self.library.nft_ctx_buffer_error(context)
        self.library.nft_ctx_output_set_flags(context, _AS_LISTED)
        if self.library.nft_run_cmd_from_buffer(context, self.commands.encode()) != 0:
            errors = self.library.nft_ctx_get_error_buffer(context) or b""
            raise _failed(self.commands, errors.decode(errors="replace").strip()[:500])
        return str((self.library.nft_ctx_get_output_buffer(context) or b"").decode())


def _failed(commands: str, why: str) -> CannotStart:
    return CannotStart(
        f"nftables did not run `{commands.strip().splitlines()[0][:200]}`: {why}",
        hint="Is Airlock running as root, and does nft work on this host when run by hand?",
    )
