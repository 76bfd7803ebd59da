"""The guard kills for a ruleset that differs or stays unreadable, and restores routing rules."""

import os
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bootstrap.errors import CannotStart
from bootstrap.sandbox.supervision import guard as guards
from bootstrap.sandbox.supervision.guard import CHANGED, HOLDER_ENDED, Guard, Protection
from tests.lab.engine import eventually

NEW_TABLE = struct.pack("=IHHII", 16, 10 << 8, 0, 0, 0)
DELETED_RULE = struct.pack("=IHHII", 16, 33, 0, 0, 0)


def unreadable() -> bool:
    raise CannotStart("`nft list` failed: exit status -15", hint="")


@dataclass(kw_only=True, slots=True)
class Guarded:
    """A process under guard, and the kernel's side of both sockets."""

    process: "subprocess.Popen[bytes]"
    guard: Guard
    nftables: socket.socket
    routing: socket.socket
    reported: list[str] = field(default_factory=list)


@contextmanager
def guarded(
    is_unchanged: Callable[[], bool] = lambda: True,
    restore_routing: Callable[[], bool] = lambda: False,
    holder: int | None = None,
) -> Iterator[Guarded]:
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2)]
    (nftables, changes), (routing, rule_changes) = pairs
    for listener in (changes, rule_changes):
        listener.setblocking(False)  # noqa: FBT003
    reported: list[str] = []
    protection = Protection(
        changes=changes,
        rule_changes=rule_changes,
        is_unchanged=is_unchanged,
        restore_routing=restore_routing,
        report=reported.append,
    )
    with ExitStack() as held:
        held.enter_context(nftables)
        held.enter_context(routing)
        process = held.enter_context(subprocess.Popen(["sleep", "60"]))
        held.callback(process.kill)
        guard = Guard(process.pid, protection, holder)
        held.callback(guard.close)
        yield Guarded(
            process=process, guard=guard, nftables=nftables, routing=routing, reported=reported
        )


def test_changed_ruleset_kills_and_says_so() -> None:
    with guarded(is_unchanged=lambda: False) as one:
        one.nftables.send(NEW_TABLE)
        assert os.read(one.guard.breach, 1) == b""
        assert one.guard.why == CHANGED
        assert one.process.wait() == -9


def test_a_breach_kills_services_with_the_job() -> None:
    """At once, also while the job's own processes take long to end."""
    with (
        subprocess.Popen(["sleep", "60"]) as service,
        guarded(is_unchanged=lambda: False) as one,
    ):
        one.guard.kill_with_it(os.pidfd_open(service.pid))
        one.nftables.send(NEW_TABLE)
        assert service.wait(10) == -9


def test_services_of_a_job_that_has_ended_are_not_the_guards_to_kill() -> None:
    with subprocess.Popen(["sleep", "60"]) as service:
        with guarded() as one:
            one.guard.kill_with_it(os.pidfd_open(service.pid))
        assert service.poll() is None
        service.kill()


def test_listing_that_fails_twice_is_no_breach() -> None:
    answers: Iterator[Callable[[], bool]] = iter([unreadable, unreadable, lambda: True])
    looks: list[bool] = []

    def look() -> bool:
        looks.append(True)
        return next(answers)()

    with guarded(is_unchanged=look) as one:
        one.nftables.send(NEW_TABLE)
        eventually(lambda: len(looks) == 3, "it is read again until it is readable")
        assert one.process.poll() is None
        assert one.guard.why == ""


def test_ruleset_that_stays_unreadable_kills_and_says_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guards, "UNREADABLE", 0.3)
    monkeypatch.setattr(guards, "RETRY", 0.05)
    with guarded(is_unchanged=unreadable) as one:
        one.nftables.send(NEW_TABLE)
        assert one.process.wait() == -9
        assert "could not be read for 0 s while the job ran" in one.guard.why
        assert "exit status -15" in one.guard.why


def test_change_within_retries_is_a_breach_at_once() -> None:
    answers: Iterator[Callable[[], bool]] = iter([unreadable, lambda: False])

    def look() -> bool:
        return next(answers)()

    with guarded(is_unchanged=look) as one:
        one.nftables.send(NEW_TABLE)
        assert one.process.wait() == -9
        assert one.guard.why == CHANGED


def test_end_of_the_holder_of_its_network_kills_and_says_so() -> None:
    with subprocess.Popen(["sleep", "60"]) as holder, guarded(holder=holder.pid) as one:
        holder.kill()
        assert os.read(one.guard.breach, 1) == b""
        assert one.guard.why == HOLDER_ENDED
        assert one.process.wait() == -9


def test_end_of_the_holder_after_the_container_is_no_breach() -> None:
    with subprocess.Popen(["sleep", "60"]) as holder, guarded(holder=holder.pid) as one:
        one.process.kill()
        one.process.wait()
        holder.kill()
        assert os.read(one.guard.breach, 1) == b""
        assert one.guard.why == ""


def test_container_is_not_guarded_with_a_holder_that_has_ended() -> None:
    with subprocess.Popen(["true"]) as holder:
        holder.wait()
        with (
            pytest.raises(CannotStart, match="has ended before the job"),
            guarded(holder=holder.pid),
        ):
            pytest.fail("it is not guarded")


def test_container_is_not_guarded_with_a_holder_of_another_network() -> None:
    with subprocess.Popen(["unshare", "--user", "--net", "sleep", "60"]) as holder:
        ours = Path("/proc/self/ns/net").stat()
        theirs = Path(f"/proc/{holder.pid}/ns/net")
        eventually(lambda: theirs.stat() != ours, "it has a network namespace of its own")
        with (
            pytest.raises(CannotStart, match="has ended before the job"),
            guarded(holder=holder.pid),
        ):
            pytest.fail("it is not guarded")
        holder.kill()


def test_bug_in_the_watch_ends_the_container() -> None:
    def bug() -> bool:
        raise ZeroDivisionError("a bug")

    with guarded(is_unchanged=bug) as one:
        one.nftables.send(NEW_TABLE)
        assert one.process.wait() == -9
        assert "the watch of table inet airlock failed: ZeroDivisionError" in one.guard.why


def test_change_after_the_end_is_no_breach() -> None:
    with guarded(is_unchanged=lambda: False) as one:
        one.process.kill()
        one.process.wait()
        one.nftables.send(NEW_TABLE)
        assert os.read(one.guard.breach, 1) == b""
        assert one.guard.why == ""


def test_removed_routing_rule_is_restored_and_reported_once() -> None:
    missing = iter([True, True, False])
    looks: list[bool] = []

    def restore() -> bool:
        looks.append(next(missing))
        return looks[-1]

    with guarded(restore_routing=restore) as one:
        for number in range(1, 4):
            one.routing.send(DELETED_RULE)
            eventually(lambda number=number: len(looks) == number, "it is checked")  # type: ignore[misc]
        assert [text.partition(";")[2] for text in one.reported] == [
            " Airlock put it back. The first one, table inet airlock, is checked on its own"
        ]
        assert one.process.poll() is None


def test_routing_rule_that_cannot_be_restored_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guards, "ROUTING_RETRY", 0.05)
    tries: list[bool] = []

    def restore() -> bool:
        tries.append(True)
        if len(tries) < 3:
            raise CannotStart("`ip rule add` failed: Operation not permitted", hint="")
        return True

    with guarded(restore_routing=restore) as one:
        one.routing.send(DELETED_RULE)
        eventually(lambda: len(one.reported) == 2, "it is restored")
        assert "cannot be put back: `ip rule add` failed" in one.reported[0]
        assert "Airlock put it back" in one.reported[1]
        assert one.process.poll() is None
        assert one.guard.why == ""
