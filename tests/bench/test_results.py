"""The numbers, tables and charts of `make bench`."""

from xml.etree import ElementTree as ET

import pytest

from tests.bench import plot
from tests.bench.results import Goal, Table, spread


def test_a_spread_has_half_of_the_measurements_between_its_quartiles() -> None:
    found = spread([5.0, 1.0, 2.0, 3.0, 4.0])
    assert (found.low, found.median, found.high, found.count) == (2.0, 3.0, 4.0, 5)


def test_a_spread_of_one_measurement_is_that() -> None:
    found = spread([2.0])
    assert (found.low, found.median, found.high) == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("goal", "met"),
    [
        (Goal(what="ratio", measured=1.1, most=1.1), True),
        (Goal(what="ratio", measured=1.2, most=1.1), False),
        (Goal(what="rate", measured=99.0, least=100, unit=" MB/s"), False),
        (Goal(what="rate", measured=100.0, least=100, unit=" MB/s"), True),
    ],
)
def test_a_goal_is_met_up_to_its_bound(goal: Goal, met: bool) -> None:  # noqa: FBT001
    assert goal.met is met
    assert str(goal).endswith(": met" if met else ": not met")


def test_a_table_has_its_columns_below_each_other() -> None:
    lines = str(Table(title="t", header=("", "ratio"), rows=[["docker run", 1.0]])).splitlines()
    assert lines == ["t", "", "              ratio", "  docker run   1.00"]


def test_a_chart_is_valid_and_keeps_the_names_of_its_bars() -> None:
    bars = [plot.Bar(name="a < b", parts=[("x", 1.0), ("y", 2.0)], low=2.0, high=4.0)]
    drawn = plot.bars("Title & more", bars, unit=" ms", goal=5)
    root = ET.fromstring(drawn)  # noqa: S314 - made above
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a < b", "Title & more", "3 ms", "goal 5 ms", "x", "y"} <= set(texts)
