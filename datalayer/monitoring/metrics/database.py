"""Metrics of a database, from its last known state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.registry import Collector

from datalayer.monitoring.metrics.families import counter, gauge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from prometheus_client.core import Metric

    from datalayer.monitoring.metrics.families import Sample
    from datalayer.monitoring.state import DatabaseState, JobState, RelationState, SeriesState
    from datalayer.monitoring.watch import DatabaseWatch

_RELATION = ("relation",)


class DatabaseCollector(Collector):
    """The last known state of a database. While it cannot be looked at there is `datalayer_database_up 0` and nothing else of it.

    Args:
        watch: looks at it.
    """

    def __init__(self, watch: DatabaseWatch) -> None:
        self._watch = watch

    def collect(self) -> Iterator[Metric]:
        """Return everything."""
        state = self._watch.state
        yield gauge("datalayer_database_up", "1 if the database could be looked at.", state is not None)
        yield gauge(
            "datalayer_database_look_duration_seconds",
            "How long the last look at the database took.",
            self._watch.duration_s,
        )
        if state is not None:
            yield from _of_database(state)
            yield from _of_relations(state.relations)
            yield from _of_retention(state.relations)
            yield from _of_jobs(state.jobs)
            yield from _of_series(state.series)


def _of_database(state: DatabaseState) -> Iterator[Metric]:
    versions = [((state.postgres, state.timescaledb or "", state.revision or "base"), 1.0)]
    labels = ("postgres", "timescaledb", "revision")
    yield gauge("datalayer_database_info", "Versions, as labels.", versions, labels)
    yield gauge("datalayer_database_read_only", "1 if the database refuses writes.", state.read_only)
    yield gauge("datalayer_schema_current", "1 if the schema is what this package wants.", state.is_current)
    yield gauge("datalayer_database_size_bytes", "Size of the whole database.", state.size_bytes)
    oldest = min((span.recorded_at for span in state.dirty), default=state.at)
    yield gauge("datalayer_dirty_ranges", "Ranges whose aggregates are to be refreshed.", len(state.dirty))
    yield gauge(
        "datalayer_dirty_oldest_age_seconds",
        "How long the oldest range has waited to be refreshed; 0: there is none.",
        (state.at - oldest).total_seconds(),
    )
    yield gauge(
        "datalayer_quarantine_open_records",
        "Records in quarantine that nobody has seen to.",
        sum(state.open_rejects.values()),
    )


def _of_relations(relations: Iterable[RelationState]) -> Iterator[Metric]:
    def each(name: str, text: str, value: Callable[[RelationState], float | None]) -> Metric:
        samples = [((one.name,), found) for one in relations if (found := value(one)) is not None]
        return gauge(f"datalayer_relation_{name}", text, samples, _RELATION)

    yield each("size_bytes", "Size of a hypertable or aggregate.", lambda one: one.size_bytes)
    yield each("growth_bytes_per_day", "How much a day of data takes.", lambda one: one.bytes_per_day)
    yield each("chunks", "Chunks of a relation.", lambda one: one.chunks)
    yield each("compressed_chunks", "Chunks that are compressed.", lambda one: one.compressed_chunks)
    yield each(
        "compression_before_bytes", "What compressed chunks took before.", lambda one: one.bytes_before
    )
    yield each("compression_after_bytes", "What compressed chunks take since.", lambda one: one.bytes_after)
    yield each(
        "compression_saved_ratio",
        "Share that compression saved; absent: nothing is compressed.",
        lambda one: one.saved,
    )
    yield each(
        "compression_due_chunks",
        "Chunks that should have been compressed by now.",
        lambda one: one.due_chunks,
    )


def _of_retention(relations: Iterable[RelationState]) -> Iterator[Metric]:
    oldest = [((one.name,), one.oldest.timestamp()) for one in relations if one.oldest]
    yield gauge(
        "datalayer_relation_oldest_timestamp_seconds", "Start of the oldest chunk.", oldest, _RELATION
    )
    kept = [one for one in relations if one.drop_after is not None]
    windows: list[Sample] = [((one.name,), one.drop_after.total_seconds()) for one in kept if one.drop_after]
    yield gauge(
        "datalayer_retention_window_seconds",
        "Age from which a retention policy drops chunks.",
        windows,
        _RELATION,
    )
    on = [((one.name,), float(one.retention_is_on)) for one in kept]
    yield gauge("datalayer_retention_on", "1 if a retention policy runs, 0: it is paused.", on, _RELATION)
    left = [((one.name,), one.droppable_chunks) for one in kept]
    yield gauge(
        "datalayer_retention_due_chunks",
        "Chunks that a retention policy that runs should have dropped by now.",
        left,
        _RELATION,
    )


def _of_jobs(jobs: Iterable[JobState]) -> Iterator[Metric]:
    labels = ("policy", "relation")

    def each(value: Callable[[JobState], float]) -> list[Sample]:
        return [((one.job.kind.name.lower(), one.job.relation), value(one)) for one in jobs]

    name = "datalayer_job_"
    yield gauge(
        f"{name}on",
        "1 if a policy runs by itself, 0: it is paused.",
        each(lambda one: one.job.scheduled),
        labels,
    )
    yield counter(f"{name}runs", "Runs of a policy.", each(lambda one: one.job.runs), labels)
    yield counter(
        f"{name}failures", "Runs of a policy that failed.", each(lambda one: one.job.failures), labels
    )
    yield gauge(
        f"{name}last_run_failed",
        "1 if the last run of a policy failed.",
        each(lambda one: one.has_failed),
        labels,
    )
    yield gauge(
        f"{name}lag_seconds",
        "How long ago a policy should have begun and has not.",
        each(lambda one: one.lag.total_seconds()),
        labels,
    )


def _of_series(series: Iterable[SeriesState]) -> Iterator[Metric]:
    labels = ("symbol", "kind", "timeframe")

    def names(one: SeriesState) -> tuple[str, str, str]:
        return (one.stored.symbol, one.stored.kind, "" if one.timeframe is None else one.timeframe.label)

    def each(moment: Callable[[SeriesState], datetime]) -> list[Sample]:
        return [(names(one), moment(one).timestamp()) for one in series]

    yield gauge(
        "datalayer_series_newest_timestamp_seconds",
        "Exchange time of the newest row; of candles, its close. `time()` minus it is the age.",
        each(lambda one: one.known_at),
        labels,
    )
    yield gauge(
        "datalayer_series_oldest_timestamp_seconds",
        "Exchange time of the oldest row.",
        each(lambda one: one.stored.first),
        labels,
    )
    lengths = [(names(one), float(one.timeframe or 0)) for one in series]
    yield gauge(
        "datalayer_series_interval_seconds",
        "Time between two rows: of candles their length, 0 of everything else.",
        lengths,
        labels,
    )
    missing = [(names(one), float(one.missing)) for one in series if one.missing is not None]
    yield gauge(
        "datalayer_series_missing_candles",
        "Candles that nobody has in the day before the newest one.",
        missing,
        labels,
    )
