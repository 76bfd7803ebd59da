"""What the service manager gets, on a real datagram socket."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootstrap.service.notify import Notify

PID = 4711


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The service manager's end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        yield manager


def fields(manager: socket.socket) -> dict[str, str]:
    lines = manager.recv(4096).decode().splitlines()
    return dict(line.split("=", 1) for line in lines)


def notify_of(manager: socket.socket, **more: str) -> Notify:
    return Notify.of({"NOTIFY_SOCKET": str(manager.getsockname()), **more}, PID)


def silent(manager: socket.socket) -> bool:
    manager.settimeout(0.0)
    try:
        manager.recv(4096)
    except BlockingIOError:
        return True
    return False


def test_start_reload_and_end(manager: socket.socket) -> None:
    notify = notify_of(manager)
    notify.ready("2 jobs\nrun")
    ready = fields(manager)
    assert (ready["READY"], ready["STATUS"]) == ("1", "2 jobs run")
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notify.reloading()
    reloading = fields(manager)
    assert reloading["RELOADING"] == "1"
    assert 0 <= int(reloading["MONOTONIC_USEC"]) - before < 5_000_000
    notify.status("3 jobs run")
    assert fields(manager) == {"STATUS": "3 jobs run"}
    notify.stopping("3 jobs go on")
    assert fields(manager) == {"STOPPING": "1", "STATUS": "3 jobs go on"}


def test_abstract_socket() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("")  # the kernel chooses an abstract name
        manager.settimeout(5)
        name = manager.getsockname()
        Notify(f"@{name[1:].decode()}").status("x")
        assert fields(manager) == {"STATUS": "x"}


def test_watchdog_is_fed_three_times_in_its_interval_however_often_the_loop_turns(
    manager: socket.socket,
) -> None:
    notify = notify_of(manager, WATCHDOG_USEC="30000000", WATCHDOG_PID=str(PID))
    assert notify.patience() == 10.0
    fed = 0
    for tenth in range(600):  # a minute
        notify.alive(tenth / 10)
        manager.settimeout(0.0)
        try:
            assert manager.recv(4096) == b"WATCHDOG=1"
            fed += 1
        except BlockingIOError:
            continue
    assert fed == 6


@pytest.mark.parametrize(
    "env",
    [{}, {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "-5"},
     {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "0"}],
)  # fmt: skip
def test_without_a_watchdog_of_its_own_nothing_is_fed(
    manager: socket.socket, env: dict[str, str]
) -> None:
    notify = notify_of(manager, **env)
    notify.alive(1.0)
    assert notify.patience() is None
    assert silent(manager)


@pytest.mark.parametrize("env", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/does/not/exist"}])
def test_without_a_service_manager_nothing_happens(env: dict[str, str]) -> None:
    notify = Notify.of({**env, "WATCHDOG_USEC": "3000000"}, PID)
    notify.ready("x")
    notify.reloading()
    notify.alive(0.0)
    notify.stopping("x")
    assert notify.patience() == 1.0


def test_service_manager_that_does_not_read_does_not_delay_the_loop(
    manager: socket.socket,
) -> None:
    notify = notify_of(manager)
    began = time.monotonic()
    for _ in range(10_000):
        notify.status("x")
    assert time.monotonic() - began < 5.0
    assert not silent(manager)
