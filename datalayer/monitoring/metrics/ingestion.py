"""Metrics of a pipeline: hooks for what happens once a batch, its statistics for all that it counts anyway."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from prometheus_client import Counter, Histogram

from datalayer.ingestion import EventKind, IngestionHooks
from datalayer.monitoring.metrics.ages import AgeHistogram
from datalayer.monitoring.metrics.families import LateCollector, counter, gauge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

    from datalayer.domain.write_counts import WriteCounts
    from datalayer.ingestion.statistics import IngestionStatistics
    from datalayer.repositories.reject_rows import RejectKey

_FLUSH_BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_MOST_RULES: Final = 100  # there are far fewer; what a record says must never become a label
_RETRY_CLASSES: Final = {
    "08": "connection",
    "57": "shutdown",
    "40": "conflict",
    "53": "resources",
    "25": "session",
    "42": "schema_or_rights",
}


class IngestionMetrics:
    """What is counted in the hooks of a pipeline.

    Args:
        registry: where it is registered.
        clock: seconds since 1970 UTC.
    """

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float] = time.time) -> None:
        self._ages = AgeHistogram(clock)
        registry.register(self._ages)
        self._flushes = Histogram(
            "datalayer_ingestion_flush_duration_seconds",
            "Time of writing a batch, retries included, by kind.",
            ["kind"],
            buckets=_FLUSH_BOUNDS_S,
            registry=registry,
        )
        self._rejects = Counter(
            "datalayer_ingestion_rejected",
            "Records in quarantine, by kind and rule.",
            ["kind", "rule"],
            registry=registry,
        )
        self._retries = Counter(
            "datalayer_ingestion_retries",
            "Attempts to write that failed and were tried again, by kind and class of the error.",
            ["kind", "reason"],
            registry=registry,
        )
        self._rules: set[str] = set()

    @property
    def hooks(self) -> IngestionHooks:
        """For a `DataIngestionPipeline`; `on_alarm` is left free."""
        return IngestionHooks(
            on_rejected=self._rejected,
            on_stored=self._stored,
            on_retry=self._retried,
            on_queryable=self._ages.take,
        )

    def _stored(self, kind: EventKind, counts: WriteCounts, duration_s: float) -> None:  # noqa: ARG002 (statistics have them)
        self._flushes.labels(kind.label).observe(duration_s)

    def _rejected(self, key: RejectKey, count: int) -> None:
        if len(self._rules) < _MOST_RULES:
            self._rules.add(key.rule)
        self._rejects.labels(key.kind, key.rule if key.rule in self._rules else "other").inc(count)

    def _retried(self, kind: EventKind, reason: str, sqlstate: str | None) -> None:  # noqa: ARG002 (texts are no labels)
        self._retries.labels(kind.label, retry_class(sqlstate)).inc()


def retry_class(sqlstate: str | None) -> str:
    """Return the class of an error, one of a few words; None: nobody answered."""
    return "no_answer" if sqlstate is None else _RETRY_CLASSES.get(sqlstate[:2], "other")


class PipelineCollector(LateCollector):
    """The statistics of a pipeline.

    Args:
        snapshot: returns them.
        outbox_max_bytes: how large the outbox may become.
    """

    def __init__(self, snapshot: Callable[[], IngestionStatistics], outbox_max_bytes: int) -> None:
        self._snapshot, self._max_bytes = snapshot, outbox_max_bytes

    def collect(self) -> Iterator[Metric]:
        """Return everything."""
        found = self._snapshot()
        lanes = {kind.label: lane for kind, lane in found.lanes.items()}
        name, by_kind = "datalayer_ingestion_", ("kind",)

        def each(attribute: str) -> list[tuple[tuple[str], float]]:
            return [((kind,), getattr(lane, attribute)) for kind, lane in lanes.items()]

        yield counter(f"{name}accepted", "Events accepted, by kind.", each("accepted"), by_kind)
        stored = [
            ((kind, outcome), getattr(lane.stored, outcome))
            for kind, lane in lanes.items()
            for outcome in ("inserted", "updated", "unchanged")
        ]
        yield counter(f"{name}stored", "Events that the database has.", stored, ("kind", "outcome"))
        yield counter(f"{name}refused", "Records refused before they were accepted.", found.rejected)
        yield counter(
            f"{name}quarantined", "Accepted events that the database refused.", each("quarantined"), by_kind
        )
        yield counter(f"{name}forming_candles", "Forming candles, which go to the cache only.", found.forming)
        yield counter(
            f"{name}flagged", "Notices of accepted records, as of prices that stand out.", found.flagged
        )
        yield gauge(
            f"{name}buffered_events",
            "Events in memory that the database does not have yet.",
            each("buffered"),
            by_kind,
        )
        yield gauge(f"{name}spilled_events", "Events on disk only.", each("spilled"), by_kind)
        yield gauge(
            f"{name}oldest_buffered_age_seconds",
            "How long the oldest event in memory has waited that nobody writes yet.",
            each("oldest_age_s"),
            by_kind,
        )
        yield gauge("datalayer_outbox_size_bytes", "Size of the outbox.", found.outbox_bytes)
        yield gauge("datalayer_outbox_limit_bytes", "How large the outbox may become.", self._max_bytes)
        yield gauge(
            "datalayer_outbox_full",
            "1 while callers wait since the outbox cannot grow.",
            found.outbox_is_full,
        )
        yield counter("datalayer_outbox_commits", "Commits to the outbox.", found.outbox_commits)
