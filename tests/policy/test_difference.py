"""diff: what changes for whom between two sets of policies."""

import pytest

from bootstrap.policy.difference import Kind, difference
from tests.policy.given import policy
from tests.policy.samples import MAIN, OTHER, rule


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (rule("a", "branch: main"), rule("b", "branch: main"), []),
        (rule("a", "branch: main"), rule("a", "branch: main") + rule("b", "queue: x", OTHER),
         [(Kind.CHANGES, "a sandbox"), (Kind.GAINS, "role")]),
        (rule("a", "branch: main") + rule("b", "queue: x", OTHER), rule("a", "branch: main"),
         [(Kind.CHANGES, "a sandbox"), (Kind.LOSES, "role")]),
        (rule("a", "branch: main"), rule("a", "branch: [main, dev]"),
         [(Kind.CHANGES, "a sandbox"), (Kind.CHANGES, "role")]),
        (rule("a", "branch: main"), rule("a", "branch: main", OTHER),
         [(Kind.LOSES, "role"), (Kind.GAINS, "role")]),
    ],
)  # fmt: skip
def test_difference_reports_changed_access_alone(
    old: str, new: str, expected: list[tuple[Kind, str]]
) -> None:
    changes = difference([policy(old)], [policy(new)])
    assert [(change.kind, change.what) for change in changes] == expected


def test_difference_of_new_or_removed_pipeline_is_everything() -> None:
    assert {change.kind for change in difference([], [MAIN])} == {Kind.GAINS}
    assert {change.kind for change in difference([MAIN], [])} == {Kind.LOSES}
    assert difference([MAIN], [MAIN]) == ()
