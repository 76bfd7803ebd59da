"""docs/features.md, made of features.py: `python -m tests.lab.feature_page` writes it."""

from collections.abc import Iterator
from pathlib import Path

from tests.lab.feature_cases import Feature
from tests.lab.features import FEATURES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/features.md"
HEAD = """# Features of the agent

What buildkite-agent offers to jobs, and what becomes of it in the sandbox. The page is made of the
tests (`python -m tests.lab.feature_page`), which run each row with the real agent. Settings of
`buildkite-agent.cfg` that do nothing for a job are named in its log, one line for all.

"by a grant": what a host lends to every job is given to those whose rule grants it.
"""


def text() -> str:
    """Return the page."""
    groups = dict.fromkeys(feature.group for feature in FEATURES)
    return HEAD + "".join(line for group in groups for line in _section(group))


def _section(group: str) -> Iterator[str]:
    yield f"\n## {group}\n\n| feature | in the sandbox | | shown by |\n|---|---|---|---|\n"
    for feature in FEATURES:
        if feature.group == group:
            yield f"| {feature.name} | {feature.verdict} | {feature.note} | {_shown(feature)} |\n"


def _shown(feature: Feature) -> str:
    if feature.case:
        return f"[{feature.case.name}](../tests/lab/feature_cases.py)"
    if (ROOT / feature.shown).is_file():
        return f"[{Path(feature.shown).name}](../{feature.shown})"
    return f"[contract: {feature.shown}](../tests/lab/contract_cases.py)"


if __name__ == "__main__":
    PAGE.write_text(text())
