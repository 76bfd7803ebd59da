"""What all reports add up to."""

import json
import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from bootstrap.metrics import catalogue
from bootstrap.metrics.catalogue import Metric

Key = tuple[str, ...]


class Histogram:
    """Observations by bucket: the last one has no upper bound."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """Count one observation."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def cumulative(self) -> Iterator[tuple[str, float]]:
        """Yield each bucket's upper bound and how many observations are not above it."""
        count = 0
        for bound, found in zip((*self._bounds, math.inf), self._counts, strict=True):
            count += found
            yield ("+Inf" if bound == math.inf else str(bound)), float(count)


class Totals:
    """Counters and histograms by metric and label values; gauges are set, not added up."""

    def __init__(self) -> None:
        self.numbers: dict[str, dict[Key, float]] = defaultdict(dict)
        self.histograms: dict[str, dict[Key, Histogram]] = defaultdict(dict)

    def add(self, metric: Metric, labels: Mapping[str, str], amount: float = 1.0) -> None:
        """Add to one series; labels that the catalogue does not list count as other."""
        key = metric.key(labels)
        if metric.kind == "histogram":
            fresh = Histogram(metric.buckets)
            self.histograms[metric.name].setdefault(key, fresh).add(amount)
        else:
            numbers = self.numbers[metric.name]
            numbers[key] = numbers.get(key, 0.0) + amount

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        """Set one series of a gauge."""
        self.numbers[metric.name][metric.key(labels)] = value

    def add_line(self, line: bytes) -> None:
        """Add one line of a report; one that is not whole counts as lost."""
        try:
            rows = [_row(row) for row in json.loads(line)]
        except (ValueError, TypeError, KeyError, RecursionError):
            self.add(catalogue.REPORTS_LOST, {})
            return
        for metric, labels, amount in rows:
            self.add(metric, labels, amount)


def _row(row: Any) -> tuple[Metric, dict[str, str], float]:  # noqa: ANN401 - is JSON
    """Raises ValueError, TypeError or KeyError for what no report of this version has."""
    name, values, amount = row
    metric = catalogue.BY_NAME[name]
    if metric.kind == "gauge" or not 0 <= float(amount) < math.inf:
        raise ValueError(name)
    return metric, dict(zip(metric.labels, values, strict=True)), float(amount)


class Growth:
    """The sum of counters that come and go, from each one's readings: what it has grown by."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def since(self, readings: Mapping[str, int]) -> int:
        """Return how much all have grown since the last readings; a smaller one began anew."""
        grown = 0
        for name, value in readings.items():
            before = self._last.get(name, 0)
            grown += value - before if value >= before else value
        self._last = dict(readings)
        return grown
