"""Latencies of reads: the observer behind `datalayer.timings`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import Histogram

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from datalayer.timings import Stage

_QUERY_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_CACHE_BOUNDS_S: Final = (5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 0.01, 0.05)


class ReadMetrics:
    """Histograms of the reads of this process.

    Args:
        registry: where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._histograms: dict[Stage, Histogram] = {
            "cache": Histogram(
                "datalayer_cache_read_duration_seconds",
                "Time of a read of the cache, by kind.",
                ["kind"],
                buckets=_CACHE_BOUNDS_S,
                registry=registry,
            ),
            "query": Histogram(
                "datalayer_query_duration_seconds",
                "Time of a query of the database, the making of its frame included, by kind.",
                ["kind"],
                buckets=_QUERY_BOUNDS_S,
                registry=registry,
            ),
            "provider": Histogram(
                "datalayer_provider_duration_seconds",
                "Time of an answer of UnifiedDataProvider, from the cache or the database, by kind.",
                ["kind"],
                buckets=(2.5e-4, 5e-4, *_QUERY_BOUNDS_S),
                registry=registry,
            ),
        }
        self._children: dict[tuple[Stage, str], Histogram] = {}

    def take(self, stage: Stage, kind: str, duration_s: float) -> None:
        """Take how long a read took; see `datalayer.timings.OnRead`."""
        child = self._children.get((stage, kind))
        if child is None:  # `labels` takes a lock and builds a tuple each time
            child = self._children[stage, kind] = self._histograms[stage].labels(kind)
        child.observe(duration_s)
