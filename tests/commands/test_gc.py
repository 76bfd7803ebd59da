"""`airlock gc`: a part that fails, for whatever reason, keeps no other from its turn."""

import pytest

from bootstrap.commands.gc import _part
from bootstrap.errors import CannotStart
from bootstrap.host.change import Change

FAILURES = [OSError("disk"), CannotStart("Docker", hint="wait"), RuntimeError("a bug")]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
def test_failure_of_one_change_or_part_is_a_line(failure: Exception) -> None:
    def fail() -> None:
        raise failure

    def broken() -> list[Change]:
        raise failure

    lines: list[str] = []
    bad = Change(what="one", why="old", apply=fail)
    good = Change(what="two", why="old", apply=lambda: True)
    outcomes = list(_part("things", lambda: [bad, good], dry_run=False, line=lines.append))
    assert outcomes == [False, True]
    assert lines[0].startswith("could not remove one: ")
    is_bug = isinstance(failure, RuntimeError)
    assert lines[0].endswith("RuntimeError: a bug") == is_bug
    assert any("please report it" in one for one in lines) == is_bug
    assert any(one.endswith(", in fail") for one in lines) == is_bug  # the traceback
    assert any(one == "  what to do: wait" for one in lines) == isinstance(failure, CannotStart)
    assert "removed two: old" in lines
    assert list(_part("others", broken, dry_run=False, line=lines.append)) == [False]
    assert any(one.startswith("could not look for others: ") for one in lines)
