"""A network namespace for one piece of work: a thread's, with its loopback up. Needs root."""

import ctypes
import json
import subprocess
import threading
from collections.abc import Callable
from typing import Any, TypeVar

CLONE_NEWNET = 0x40000000

T = TypeVar("T")


def in_a_new_namespace(work: Callable[[], T]) -> T:
    """Run `work` in a thread with a network of its own. Raises what it raises."""
    results: list[T] = []
    failures: list[BaseException] = []

    def enter() -> None:
        try:
            if ctypes.CDLL(None).unshare(CLONE_NEWNET) != 0:
                raise OSError("unshare failed")
            run("ip link set lo up")
            results.append(work())
        except BaseException as failure:  # noqa: BLE001 - raised in the test's thread
            failures.append(failure)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def run(command: str, stdin: str = "") -> str:
    """Run a program in the thread's namespace and return what it prints."""
    argv = command.split(" ")
    return subprocess.run(argv, input=stdin, text=True, check=True, stdout=subprocess.PIPE).stdout


def shown(command: str) -> Any:
    """Return the JSON that a program prints."""
    return json.loads(run(command))
