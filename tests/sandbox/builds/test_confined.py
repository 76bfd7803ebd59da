"""A builder is mapped only if it is confined as it has to be."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bootstrap.errors import CannotStart
from bootstrap.sandbox import confinement
from bootstrap.sandbox.builds import builder


@contextmanager
def asking(pid: int) -> Iterator[int]:
    descriptor = os.open(f"/proc/{pid}", os.O_PATH | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_a_process_like_any_other_gets_no_users() -> None:
    with asking(os.getpid()) as process, pytest.raises(CannotStart) as raised:
        builder.confine(os.getpid(), os.getpid(), process, "runc")
    assert "NoNewPrivs: expected 1" in raised.value.problem
    assert "CapPrm: expected 0" in raised.value.problem


def test_expectations_of_builders_are_among_those_of_jobs() -> None:
    assert confinement.EXPECTED_OF_BUILDERS == {"NoNewPrivs": "1", "Seccomp": "2"}
    assert confinement.EXPECTED_OF_BUILDERS.items() <= confinement.EXPECTED.items()


@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")
def test_a_builder_in_another_network_is_not_started() -> None:
    builder.require_network(os.getpid(), os.getpid())
    command = ["unshare", "--net", "sh", "-c", "echo made; read line"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as other:
        assert other.stdout
        assert other.stdout.readline() == b"made\n"
        with pytest.raises(CannotStart, match="not in the job's network"):
            builder.require_network(other.pid, os.getpid())
        other.kill()
