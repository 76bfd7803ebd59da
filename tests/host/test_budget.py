"""A budget is kept by number, age and bytes; what goes is the oldest, and nothing in use."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootstrap.host.budget import Budget, Entry, beyond, moment, span
from bootstrap.host.measure import Size, shown, tree_size

NOW = 1_800_000_000.0
KIND = ("tree", "trees")

entries = st.lists(
    st.builds(
        lambda age, size, complete: (NOW - age, Size(bytes=size, complete=complete)),
        st.integers(0, 100),
        st.integers(0, 50),
        st.booleans(),
    ),
    max_size=12,
).map(
    lambda found: [
        Entry(path=Path(f"/t/{number}"), used=used, size=size)
        for number, (used, size) in enumerate(found)
    ]
)
budgets = st.builds(
    Budget,
    kind=st.just(KIND),
    number=st.integers(0, 8),
    age=st.integers(0, 90),
    size=st.integers(0, 120),
    largest=st.integers(0, 40),
)


@given(entries, budgets, st.sets(st.integers(0, 11)))
def test_what_is_left_is_within_the_budget_or_in_use(
    kept: list[Entry], budget: Budget, used: set[int]
) -> None:
    in_use = {Path(f"/t/{number}") for number in used}
    gone = [entry for entry, why in beyond(budget, kept, NOW, in_use=in_use.__contains__) if why]
    assert len({entry.path for entry in gone}) == len(gone)
    assert not in_use & {entry.path for entry in gone}
    left = [entry for entry in kept if entry not in gone]
    free = [entry for entry in left if entry.path not in in_use]
    if free:
        assert not budget.number or len(left) <= budget.number
        sizes = [entry.size for entry in left if entry.size and entry.size.complete]
        assert not budget.size or sum(size.bytes for size in sizes) <= budget.size
    for entry in free:
        assert not budget.age or entry.used >= NOW - budget.age
        assert entry.size is not None
        assert not budget.largest or entry.size.bytes <= budget.largest
        assert not budget.size or entry.size.complete


@given(entries, st.integers(1, 8), st.integers(1, 120))
def test_nothing_is_removed_without_need(kept: list[Entry], number: int, size: int) -> None:
    """The most recently used that go were one too many: together with them it is too much."""
    budget = Budget(kind=KIND, number=number, size=size)
    kept = [e for e in kept if e.size and e.size.complete]
    gone = [entry for entry, _ in beyond(budget, kept, NOW, in_use=lambda _: False)]
    if gone:
        left = [entry for entry in kept if entry not in gone[:-1]]
        total = sum(entry.size.bytes for entry in left if entry.size)
        assert len(left) > number or total > size
        assert all(one.used <= other.used for one in gone for other in left if other not in gone)


def test_no_budget_removes_nothing() -> None:
    one = Entry(path=Path("/t/1"), used=0.0, size=Size(bytes=1 << 60))
    assert list(beyond(Budget(kind=KIND), [one], NOW, in_use=lambda _: False)) == []


def test_reasons_name_the_budget() -> None:
    one = Entry(path=Path("/t/1"), used=NOW - 3 * 86400, size=Size(bytes=1 << 30))
    for budget, why in (
        (Budget(kind=KIND, age=2 * 86400), f"unused since {moment(one.used)}, longer than 2 days"),
        (Budget(kind=KIND, size=1 << 20), "beyond the budget of 1.0 MiB for all trees"),
        (Budget(kind=KIND, size=1 << 40, largest=1024), "beyond the budget of 1.0 KiB for one"),
    ):
        assert [w for _, w in beyond(budget, [one], NOW, in_use=lambda _: False)] == [why]
    two = Budget(kind=KIND, number=1)
    assert [w for _, w in beyond(two, [one, one], NOW, in_use=lambda _: False)] == [
        "beyond the budget of 1 tree"
    ]


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB"),
     (3 << 40, "3072.0 GiB")],
)  # fmt: skip
def test_bytes_are_shown_in_a_fitting_unit(number: int, text: str) -> None:
    assert shown(number) == text


def test_spans_are_shown_in_days_or_minutes() -> None:
    assert [span(3660), span(86400), span(60)] == ["61 minutes", "1 day", "1 minute"]


def test_size_counts_links_once_and_holes_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * (1 << 20))
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(1 << 40)
    (tmp_path / "out").symlink_to("/usr")
    size = tree_size(tmp_path, 30)
    assert size.complete
    assert 1 << 20 <= size.bytes < (1 << 20) + (64 << 10)
    assert tree_size(tmp_path / "absent", 30) == Size(bytes=0)


def test_size_that_takes_too_long_is_reported_as_incomplete(tmp_path: Path) -> None:
    for number in range(2000):
        (tmp_path / f"d{number}").mkdir()
    size = tree_size(tmp_path, 0.001)
    assert not size.complete
    assert str(size).endswith(" or more")
