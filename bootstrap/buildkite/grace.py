"""How long the agent waits before it kills a job, as agent 3 and agent 4 pass it.

Both: docs/agent-contract.md#agent-3-and-agent-4
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bootstrap.errors import WrongConfiguration
from bootstrap.text import printable

_V3_CANCEL, _V3_SIGNAL = 10, -1  # the agent's defaults, in seconds
_INTEGER = re.compile(r"-?\d{1,6}", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


@dataclass(frozen=True, kw_only=True, slots=True)
class Grace:
    """How the agent ends a job, and in which of its two dialects it passes its deadlines.

    `until_kill` is the time in seconds from the cancel signal to the agent's SIGKILL of the script.
    """

    until_kill: float
    dialect: Literal[3, 4]  # which variables the in-container bootstrap reads


def grace(agent: Mapping[str, str]) -> Grace:
    """Return the agent's deadlines. Raises WrongConfiguration if they are invalid."""
    if "BUILDKITE_CANCEL_SIGNAL_TIMEOUT" in agent:
        until_kill = _duration(agent, "BUILDKITE_CANCEL_SIGNAL_TIMEOUT", "10s")
        return Grace(until_kill=until_kill, dialect=4)
    cancel = _integer(agent, "BUILDKITE_CANCEL_GRACE_PERIOD", _V3_CANCEL)
    signal = _integer(agent, "BUILDKITE_SIGNAL_GRACE_PERIOD_SECONDS", _V3_SIGNAL)
    until_kill = cancel + signal if signal < 0 else signal
    if until_kill < 0 or until_kill >= cancel:
        raise _invalid("BUILDKITE_SIGNAL_GRACE_PERIOD_SECONDS", str(signal), f"under {cancel}")
    return Grace(until_kill=until_kill, dialect=3)


def _integer(agent: Mapping[str, str], name: str, default: int) -> int:
    text = agent.get(name) or str(default)
    if not _INTEGER.fullmatch(text):
        raise _invalid(name, text, "a whole number of seconds")
    return int(text)


def _duration(agent: Mapping[str, str], name: str, default: str) -> float:
    """Read a Go duration such as 1m30s."""
    text = agent.get(name) or default
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise _invalid(name, text, "a duration such as 10s or 1m30s")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def _invalid(name: str, got: str, expected: str) -> WrongConfiguration:
    return WrongConfiguration(
        f"{name} is {printable(got)!r}, expected {expected}",
        hint="Correct the cancel settings in buildkite-agent.cfg.",
    )
