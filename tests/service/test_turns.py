"""Few jobs start at a time, in the order of asking; one that takes long holds nobody up."""

import signal
import socket
import time
from collections.abc import Iterator

import pytest

from bootstrap.service.control import GO, LONGEST_TURN, TURN, Control
from bootstrap.service.turns import LONGEST, Turns


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def turns(*pids: int) -> tuple[Turns, Clock]:
    clock = Clock()
    made = Turns(limit=2, now=clock)
    for pid in pids:
        made.ask(pid)
    return made, clock


def test_as_many_as_the_limit_start_in_the_order_of_asking() -> None:
    made, _ = turns(1, 2, 3)
    assert list(made.next()) == [1, 2]
    assert list(made.next()) == []


def test_the_next_starts_when_one_has_begun() -> None:
    made, _ = turns(1, 2, 3)
    list(made.next())
    made.over(2)
    assert list(made.next()) == [3]


def test_one_that_gives_up_while_it_waits_gets_no_turn() -> None:
    made, _ = turns(1, 2, 3, 4)
    list(made.next())
    made.over(3)
    made.over(1)
    assert list(made.next()) == [4]


def test_a_start_that_takes_long_no_longer_counts() -> None:
    made, clock = turns(1, 2, 3)
    list(made.next())
    assert made.patience() == LONGEST
    clock.now += LONGEST
    assert made.patience() == 0
    assert list(made.next()) == [3]


def test_users_have_turns_in_proportion_however_many_wait() -> None:
    """Starts of one of them that never end delay another by those that start, not by all."""
    made, clock = turns()
    for pid in range(1, 21):
        made.ask(pid, 2000)
    assert list(made.next()) == [1, 2]
    made.ask(50, 2001)
    made.ask(51, 2001)
    clock.now += LONGEST
    assert list(made.next()) == [3, 50]
    made.over(50)
    assert list(made.next()) == [51]
    made.over(51)
    assert list(made.next()) == [4]


def test_nobody_waits_without_a_reason() -> None:
    made, _ = turns(1)
    list(made.next())
    assert made.patience() is None


@pytest.fixture
def pairs() -> Iterator[tuple[socket.socket, ...]]:
    """Both ends of a worker's channel to the service, and of its connection to the launcher."""
    made = (
        *socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET),
        *socket.socketpair(),
    )
    yield made
    for end in made:
        end.close()


def seconds_of_turn(channel: socket.socket, interrupted: socket.socket) -> float:
    began = time.monotonic()
    Control(channel).turn(interrupted.fileno())
    return time.monotonic() - began


def test_a_worker_waits_until_it_may_go(pairs: tuple[socket.socket, ...]) -> None:
    service, worker, _, connection = pairs
    service.send(GO)
    assert seconds_of_turn(worker, connection) < LONGEST_TURN / 2
    assert service.recv(1) == TURN


def test_a_worker_whose_job_is_cancelled_does_not_wait(pairs: tuple[socket.socket, ...]) -> None:
    _, worker, launcher, connection = pairs
    launcher.send(bytes([signal.SIGTERM]))
    assert seconds_of_turn(worker, connection) < LONGEST_TURN / 2
    assert connection.recv(1) == bytes([signal.SIGTERM])  # it is still there for the job


def test_a_worker_without_a_service_does_not_wait(pairs: tuple[socket.socket, ...]) -> None:
    service, worker, _, connection = pairs
    service.close()
    assert seconds_of_turn(worker, connection) < LONGEST_TURN / 2
