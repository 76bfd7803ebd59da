"""What reports add up to, as Prometheus's own parser reads it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from bootstrap import __version__
from bootstrap.metrics import catalogue
from bootstrap.metrics.catalogue import ALL
from bootstrap.metrics.exposition import text
from bootstrap.metrics.totals import Growth, Totals

Series = tuple[str, tuple[tuple[str, str], ...]]


def parsed(totals: Totals) -> dict[Series, float]:
    families = text_string_to_metric_families(text(totals).decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_counter_has_all_its_series_from_the_start() -> None:
    """rate() and increase() see the first event of a series only if there was a zero before."""
    found = parsed(Totals())
    for outcome in catalogue.OUTCOMES:
        assert found[("airlock_jobs_total", (("outcome", outcome),))] == 0.0
    assert found[("airlock_internal_errors_total", ())] == 0.0
    assert found[("airlock_build_info", (("version", __version__),))] == 1.0


def test_numbers_add_up_and_gauges_are_replaced() -> None:
    totals = Totals()
    for _ in range(3):
        totals.add(catalogue.JOBS, {"outcome": "passed"})
    totals.set(catalogue.SLOTS, 5, state="taken")
    totals.set(catalogue.SLOTS, 4, state="taken")
    found = parsed(totals)
    assert found[("airlock_jobs_total", (("outcome", "passed"),))] == 3.0
    assert found[("airlock_slots", (("state", "taken"),))] == 4.0


@given(st.lists(st.floats(min_value=0, max_value=1e6)))
def test_histogram_counts_every_observation_in_all_buckets_that_include_it(
    observed: list[float],
) -> None:
    totals = Totals()
    for value in observed:
        totals.add(catalogue.START_SECONDS, {}, value)
    found = parsed(totals)
    if not observed:
        assert ("airlock_start_seconds_count", ()) not in found
        return
    for bound in (*catalogue.START_SECONDS.buckets, math.inf):
        label = (("le", "+Inf" if bound == math.inf else str(bound)),)
        expected = sum(value <= bound for value in observed)
        assert found[("airlock_start_seconds_bucket", label)] == expected
    assert found[("airlock_start_seconds_count", ())] == len(observed)
    assert found[("airlock_start_seconds_sum", ())] == pytest.approx(sum(observed))


@given(st.lists(st.tuples(st.sampled_from(ALL), st.text()), max_size=50))
def test_no_label_of_a_report_makes_a_series_that_is_not_listed(
    reports: list[tuple[catalogue.Metric, str]],
) -> None:
    totals = Totals()
    for metric, value in reports:
        totals.add(metric, dict.fromkeys(metric.labels, value))
    for name, labels in parsed(totals):
        found = next((m for m in ALL if name.startswith(m.family)), None)
        for label, value in labels:
            if found and label in found.labels:
                assert value in {*found.labels[label], catalogue.OTHER}


def test_growth_of_counters_that_come_and_go() -> None:
    growth = Growth()
    assert growth.since({"10.0.0.2": 10}) == 10
    assert growth.since({"10.0.0.2": 12, "10.0.0.3": 5}) == 7
    assert growth.since({"10.0.0.3": 5}) == 0
    assert growth.since({"10.0.0.2": 3, "10.0.0.3": 1}) == 4
