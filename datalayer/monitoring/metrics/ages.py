"""A histogram that takes whole batches: one call for ten thousand events, not ten thousand calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from datalayer.ingestion import EventKind

BOUNDS_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
_NAME: Final = "datalayer_ingestion_age_seconds"
_TEXT: Final = (
    "Age of events when they can be queried: from exchange time (of a candle: its close) to the commit. "
    "Where the exchange's clock is ahead, 0."
)


class AgeHistogram(Collector):
    """Ages of events by kind.

    Args:
        clock: seconds since 1970 UTC.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._bounds = np.array(BOUNDS_S)
        self._counts: dict[str, NDArray[np.int64]] = {}
        self._sums: dict[str, float] = {}

    def take(self, kind: EventKind, known_at: NDArray[np.datetime64]) -> None:
        """Take events that can be queried from now on; see `OnQueryable`."""
        seconds = self._clock() - known_at.astype("datetime64[us]").astype(np.int64) / 1e6
        ages = np.maximum(seconds, 0.0)
        # A bucket holds what is at most its bound, as Prometheus has it.
        buckets = np.searchsorted(self._bounds, ages, side="left")
        counts = np.bincount(buckets, minlength=len(BOUNDS_S) + 1)
        self._counts[kind.label] = self._counts.get(kind.label, np.zeros_like(counts)) + counts
        self._sums[kind.label] = self._sums.get(kind.label, 0.0) + float(ages.sum())

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Return the histogram."""
        family = HistogramMetricFamily(_NAME, _TEXT, labels=("kind",))
        bounds = [str(bound) for bound in BOUNDS_S] + ["+Inf"]
        for kind, counts in list(self._counts.items()):
            cumulated = np.cumsum(counts).tolist()
            family.add_metric((kind,), list(zip(bounds, cumulated, strict=True)), self._sums[kind])
        yield family
