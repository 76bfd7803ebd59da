"""docs/operations.md: its metrics, alerts and chores are those of the code."""

import re

from bootstrap.metrics import catalogue
from bootstrap.metrics.catalogue import ALL, OTHER, Metric
from tests.service.test_units import OPERATIONS

TEXT = OPERATIONS.read_text()
_SELECTOR = re.compile(r"\b(airlock_[a-z_]+)(?:\{(\w+)=~?\"([^\"]*)\"\})?")


def section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def row(metric: Metric) -> str:
    name = f"{metric.family}_total" if metric.kind == "counter" else metric.family
    labels = (
        f"`{label}`: {', '.join(value for value in values if value != OTHER)}"
        for label, values in metric.labels.items()
    )
    return f"| `{name}` ({metric.kind}) | {'; '.join(labels) or 'none'} | {metric.help} |"


def test_table_has_every_metric_with_its_labels_and_help() -> None:
    rows = [line for line in section("Metrics").splitlines() if line.startswith("| `airlock_")]
    assert rows[:-1] == [row(metric) for metric in ALL]
    assert rows[-1].startswith("| `airlock_build_info`")


def test_alerts_are_about_metrics_and_label_values_that_exist() -> None:
    names = {m.family + ("_total" if m.kind == "counter" else ""): m for m in ALL}
    names |= {f"{m.family}{end}": m for m in ALL if m.kind == "histogram"
              for end in ("_sum", "_count", "_bucket")}  # fmt: skip
    used = _SELECTOR.findall("".join(re.findall(r"expr: .*|`[a-z_]+\(.*`", TEXT)))
    assert len(used) >= 15
    for name, label, values in used:
        assert name in names, name
        for value in filter(None, values.split("|")):
            assert value in names[name].labels[label], (name, value)


def test_every_chore_has_a_row() -> None:
    chores = re.findall(r"^\| `(\w+)` \|", section("Chores"), re.MULTILINE)
    assert tuple(chores) == catalogue.CHORES
