"""The agent's deadlines in both dialects, and the sandbox's within them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.buildkite.grace import Grace, grace
from bootstrap.errors import AirlockError, WrongConfiguration
from bootstrap.sandbox.environment import sandbox_grace


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        ({}, Grace(until_kill=9, dialect=3)),
        ({"BUILDKITE_CANCEL_GRACE_PERIOD": "60"}, Grace(until_kill=59, dialect=3)),
        (
            {
                "BUILDKITE_CANCEL_GRACE_PERIOD": "60",
                "BUILDKITE_SIGNAL_GRACE_PERIOD_SECONDS": "20",
            },
            Grace(until_kill=20, dialect=3),
        ),
        (
            {"BUILDKITE_CANCEL_SIGNAL_TIMEOUT": "1m30s"},
            Grace(until_kill=90, dialect=4),
        ),
        (
            {
                "BUILDKITE_CANCEL_SIGNAL_TIMEOUT": "500ms",
                "BUILDKITE_CANCEL_CLEANUP_TIMEOUT": "1h",
            },
            Grace(until_kill=0.5, dialect=4),
        ),
    ],
)
def test_deadlines_of_both_dialects_are_read(agent: dict[str, str], expected: Grace) -> None:
    assert grace(agent) == expected


@pytest.mark.parametrize(
    "agent",
    [
        {"BUILDKITE_CANCEL_GRACE_PERIOD": "soon"},
        {"BUILDKITE_CANCEL_GRACE_PERIOD": "0"},
        {"BUILDKITE_CANCEL_GRACE_PERIOD": "٣"},
        {"BUILDKITE_SIGNAL_GRACE_PERIOD_SECONDS": "10"},
        {"BUILDKITE_SIGNAL_GRACE_PERIOD_SECONDS": "-11"},
        {"BUILDKITE_CANCEL_SIGNAL_TIMEOUT": "10"},
        {"BUILDKITE_CANCEL_SIGNAL_TIMEOUT": "10s and more"},
    ],
)
def test_invalid_deadlines_are_refused_with_what_is_expected(agent: dict[str, str]) -> None:
    with pytest.raises(WrongConfiguration, match="expected"):
        grace(agent)


@given(st.text())
def test_arbitrary_text_is_no_traceback(text: str) -> None:
    for name in ("BUILDKITE_CANCEL_GRACE_PERIOD", "BUILDKITE_CANCEL_SIGNAL_TIMEOUT"):
        try:
            assert grace({name: text}).until_kill >= 0
        except AirlockError as error:
            assert error.exit_code == 78


@given(st.floats(0, 100_000))
def test_inner_deadlines_end_before_outer_ones(until_kill: float) -> None:
    nested = sandbox_grace(Grace(until_kill=until_kill, dialect=4))
    assert 0 <= nested.inner <= nested.kill_after <= until_kill
