"""A builder is mapped only if it is confined as it has to be."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from bootstrap.errors import CannotStart
from bootstrap.sandbox import confinement
from bootstrap.sandbox.builds import builder
from tests.sandbox.confined import process

IN_ANOTHER = ("unshare", "--pid", "--fork", "--kill-child")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="drops capabilities")


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


@needs_root
def test_a_confined_process_in_a_user_namespace_of_its_own_gets_users() -> None:
    with process("filter") as first, process("filter", "user") as peer, asking(peer) as opened:
        assert confinement.wrong_status(peer), "in its namespace it has every capability"
        builder.confine(first, peer, opened, "runc")


@needs_root
@pytest.mark.parametrize(
    ("first", "peer", "prefix", "why"),
    [
        ((), ("filter", "user"), (), "Seccomp: expected 2, got 0"),
        (("filter",), ("user",), (), "Seccomp: expected 2, got 0"),
        (("filter",), ("filter",), (), "it has no user namespace of its own"),
        (("filter",), ("filter", "user"), IN_ANOTHER, "another container asks for its users"),
    ],
)
def test_each_thing_that_is_wrong_is_found(
    first: tuple[str, ...], peer: tuple[str, ...], prefix: tuple[str, ...], why: str
) -> None:
    with process(*first) as one, process(*peer, prefix=prefix) as other, asking(other) as opened:
        with pytest.raises(CannotStart) as raised:
            builder.confine(one, other, opened, "runc")
        assert raised.value.problem == f"the container is not confined: {why}"


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
