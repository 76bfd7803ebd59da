"""The settings that doctor names are those of the real agent."""

import pytest

from bootstrap.doctor.checks import agent as checks
from tests.lab.agent import binary, known_flags

pytestmark = pytest.mark.lab


def test_every_setting_that_is_named_is_a_flag_of_the_agent() -> None:
    named = {
        *checks.IGNORED, *checks.SWITCHES, "bootstrap-script", "hooks-path", "experiment",
        "job-log-path", "redacted-vars", "spawn", "spawn-per-cpu", "cancel-grace-period",
        "signal-grace-period-seconds", "endpoint",
    }  # fmt: skip
    assert {f"--{name}" for name in named} <= known_flags(binary())
