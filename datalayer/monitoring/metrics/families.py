"""Metric families of collectors: made anew at each scrape from a snapshot, so that nothing is counted on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TypeAlias

    from prometheus_client.core import Metric

    Sample: TypeAlias = tuple[Sequence[str], float]
    """Values of the labels, and the value."""


class LateCollector(Collector):
    """A collector of a part that may not be open yet when it is registered."""

    def describe(self) -> list[Metric]:
        """Say nothing: a registry would ask for the values instead."""
        return []


def gauge(
    name: str, text: str, samples: Iterable[Sample] | float, labels: Sequence[str] = ()
) -> GaugeMetricFamily:
    """Return a family of values that go up and down; without labels `samples` is the one value."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in [((), samples)] if isinstance(samples, int | float) else samples:
        family.add_metric(values, value)
    return family


def counter(
    name: str, text: str, samples: Iterable[Sample] | float, labels: Sequence[str] = ()
) -> CounterMetricFamily:
    """Return a family of values that only grow; its name in the output ends in `_total`."""
    family = CounterMetricFamily(name, text, labels=labels)
    for values, value in [((), samples)] if isinstance(samples, int | float) else samples:
        family.add_metric(values, value)
    return family
