"""The protocol's messages, and what a request may be."""

from signal import Signals

import pytest

from bootstrap.errors import CannotStart, Refused, WrongConfiguration
from bootstrap.sandbox.supervision.exitstatus import DieBy, ExitWith
from bootstrap.service import protocol


def test_without_arguments_a_job_runs() -> None:
    assert protocol.command(b"") == "bootstrap"
    assert protocol.command(b"bootstrap\0") == "bootstrap"
    assert protocol.command(b"admit\0") == "admit"


def test_another_command_is_an_error_that_shows_it() -> None:
    with pytest.raises(WrongConfiguration, match="'bootstrap --config /tmp/x', expected"):
        protocol.command(b"bootstrap\0--config\0/tmp/x\0")


def test_environment_is_what_a_process_of_its_own_would_find() -> None:
    found = protocol.environment(b"A=1\0B=x=y\0A=2\0no value\0C=\xff\0D=\0")
    assert found == {"A": "1", "B": "x=y", "C": "\udcff", "D": ""}


def test_variable_without_a_name_is_refused() -> None:
    with pytest.raises(Refused, match="without a name"):
        protocol.environment(b"A=1\0=2\0")


def test_every_status_has_a_message() -> None:
    assert protocol.ended(ExitWith(code=255, whose="job")) == b"E\xff"
    assert protocol.ended(DieBy(signal=Signals.SIGTERM, whose="job")) == b"S\x0f"


def test_refusal_is_bounded() -> None:
    message = protocol.refused(78, "é" * 70_000)
    assert message[:2] == b"R\x4e"
    assert int.from_bytes(message[2:4], "little") == len(message) - 4 == 0xFFFF


def test_more_variables_than_a_program_can_have_are_refused() -> None:
    """In a worker each would take more than a hundred bytes of memory, for three of the request."""
    most = protocol.MOST_VARIABLES
    assert protocol.environment(b"A=\0" * most) == {"A": ""}
    with pytest.raises(CannotStart, match=f"has {most + 1} variables, expected at most {most}"):
        protocol.environment(b"A=\0" * (most + 1))
