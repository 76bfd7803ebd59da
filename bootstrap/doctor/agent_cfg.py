"""buildkite-agent.cfg, as the agent reads it: one setting a line, quoted or not, with comments.

The agent's own parser: docs/agent-contract.md#who-sets-which-variable
"""

import re
from collections.abc import Mapping

_SETTING = re.compile(r"(?:export\s+)?([A-Za-z][\w-]*)\s*[=:]\s*(.*)", re.DOTALL)
_QUOTED = re.compile(r"""(["'])(.*?)(?<!\\)\1\s*(?:\#.*)?""", re.DOTALL)
TRUE = frozenset({"true", "1", "t", "yes", "on"})


def parse(text: str) -> dict[str, str]:
    """Return the settings by name; of several of one name the last. Other lines are left out.

    A value is what stands between its quotes, or up to a `#` after a space.
    """
    found = {}
    for line in text.splitlines():
        if (setting := _SETTING.fullmatch(line.strip())) and not line.lstrip().startswith("#"):
            found[setting[1].lower().replace("_", "-")] = _value(setting[2])
    return found


def _value(text: str) -> str:
    if quoted := _QUOTED.fullmatch(text):
        return quoted[2].replace(f"\\{quoted[1]}", quoted[1]).replace("\\n", "\n")
    return re.sub(r"(^|\s)#.*", "", text).strip()


def agents(settings: Mapping[str, str], processors: int) -> int:
    """Return how many agents one `buildkite-agent start` spawns; 1 for what is no number."""
    if each := _number(settings.get("spawn-per-cpu", "")):
        return each * processors
    return _number(settings.get("spawn", "")) or 1


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,6}", text) else 0


def is_on(value: str) -> bool:
    """Return whether a switch is on. Its name alone, without a value, does not switch it on."""
    return value.strip().lower() in TRUE
