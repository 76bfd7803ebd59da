"""The catalogue of metrics: its labels have few values, and they are those that the code uses."""

import ast
import re
from pathlib import Path

import pytest

from bootstrap.metrics import catalogue
from bootstrap.metrics.catalogue import ALL, BY_NAME, OTHER, Metric
from bootstrap.policy.schema import When

PACKAGE = Path(catalogue.__file__).parents[1]


def series(metric: Metric) -> int:
    """How many lines a scrape can have of this metric."""
    keys = 1
    for values in metric.labels.values():
        keys *= len(values)
    return keys * (len(metric.buckets) + 3 if metric.kind == "histogram" else 1)


def test_all_metrics_together_have_few_series() -> None:
    assert sum(map(series, ALL)) <= 600
    assert max(map(series, ALL)) <= 200


def test_names_are_unique_and_have_the_form_of_prometheus() -> None:
    assert len(BY_NAME) == len(ALL)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", name) for name in BY_NAME)
    assert not [name for name in BY_NAME if name.endswith("_total")]


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.name)
def test_every_label_value_is_listed_once_and_what_is_not_counts_as_other(metric: Metric) -> None:
    for values in metric.labels.values():
        assert len(set(values)) == len(values)
        if metric.kind != "gauge":  # a gauge is set by the meter alone
            assert OTHER in values
    unknown = dict.fromkeys(metric.labels, "a value that a job chose")
    assert metric.key(unknown) == (OTHER,) * len(metric.labels)
    assert metric.key({}) == (OTHER,) * len(metric.labels)


def test_refusals_have_the_conditions_of_the_policy_schema() -> None:
    fields = {name.replace("_", "-") for name in When.model_fields}
    assert set(catalogue.CONDITIONS) == fields


def test_phases_are_those_that_a_job_times() -> None:
    timed = {
        node.args[0].value
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] == "timed"
        and isinstance(node.args[0], ast.Constant)
    }
    assert set(catalogue.PHASES) == timed


def test_every_metric_is_reported_or_set_by_some_code() -> None:
    names = {name for name, value in vars(catalogue).items() if isinstance(value, Metric)}
    others = (path for path in PACKAGE.rglob("*.py") if path.name != "catalogue.py")
    used = set(
        re.findall(r"\b(?:catalogue|metrics)\.([A-Z_]+)", "".join(p.read_text() for p in others))
    )
    assert names <= used
