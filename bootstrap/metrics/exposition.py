"""Metrics as text for Prometheus: the only caller of prometheus_client."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.core import (
    Metric as Family,
)
from prometheus_client.registry import Collector

from bootstrap import __version__
from bootstrap.metrics.catalogue import ALL, Metric
from bootstrap.metrics.totals import Totals


def text(totals: Totals) -> bytes:
    """Return everything in the text format that node_exporter and Prometheus read."""
    registry = CollectorRegistry()
    registry.register(_Collected(totals))
    return generate_latest(registry)


class _Collected(Collector):
    def __init__(self, totals: Totals) -> None:
        self._totals = totals

    def collect(self) -> Iterator[Family]:
        """Yield every metric of the catalogue that has a value; counters without one are zero."""
        for metric in ALL:
            yield _family(metric, self._totals)
        build = GaugeMetricFamily("airlock_build_info", "Version.", labels=["version"])
        build.add_metric([__version__], 1.0)
        yield build


def _family(metric: Metric, totals: Totals) -> Family:
    labels = list(metric.labels)
    numbers = totals.numbers.get(metric.name, {})
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.family, metric.help, labels=labels)
        for key, found in totals.histograms.get(metric.name, {}).items():
            histogram.add_metric(list(key), list(found.cumulative()), sum_value=found.sum)
        return histogram
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.family, metric.help, labels=labels)
    # A series that appears with its first event would hide that event from rate() and increase().
    zero = dict.fromkeys(_keys(metric), 0.0) if metric.kind == "counter" else {}
    for key, value in {**zero, **numbers}.items():
        family.add_metric(list(key), value)
    return family


def _keys(metric: Metric) -> Iterator[tuple[str, ...]]:
    keys: list[tuple[str, ...]] = [()]
    for values in metric.labels.values():
        keys = [(*key, value) for key in keys for value in values]
    yield from keys
