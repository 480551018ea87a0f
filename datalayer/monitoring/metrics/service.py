"""The metrics of one process that takes data in or answers questions."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final, TypeVar

from prometheus_client import CollectorRegistry

from datalayer.domain.symbols import canonical_symbol
from datalayer.monitoring.metrics.cache import CacheCollector
from datalayer.monitoring.metrics.disks import DiskCollector
from datalayer.monitoring.metrics.feeds import FeedCollector
from datalayer.monitoring.metrics.ingestion import IngestionMetrics, PipelineCollector
from datalayer.monitoring.metrics.pool import PoolCollector
from datalayer.monitoring.metrics.reads import ReadMetrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from datalayer.cache import DataCacheManager
    from datalayer.db.connection import DatabaseConnectionManager
    from datalayer.ingestion import DataIngestionPipeline, IngestionHooks
    from datalayer.integrations.feeds import Feed

T = TypeVar("T")

_PATIENCE_S: Final = 5.0


class ServiceMetrics:
    """What a process tells Prometheus of itself: handed its parts by `watch`, served by `serve_metrics`.

    Only flushes, retries, rejects and reads are measured as they happen; everything else is read from statistics when
    somebody asks for the metrics.

    Args:
        registry: where everything is registered; further collectors may be. None: an own one.

    Attributes:
        registry: the same.
        hooks: for the pipeline; `dataclasses.replace(metrics.hooks, on_alarm=...)` adds an alarm.
        reads: takes latencies of reads; `serve_metrics` has it observe them.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        self.reads = ReadMetrics(self.registry)
        self.hooks: IngestionHooks = IngestionMetrics(self.registry).hooks

    def watch(
        self,
        *,
        database: DatabaseConnectionManager | None = None,
        cache: DataCacheManager | None = None,
        pipeline: DataIngestionPipeline | None = None,
        feed: Feed | None = None,
        symbols: Iterable[str] = (),
        folders: Mapping[str, Path] | None = None,
    ) -> None:
        """Tell the metrics of some parts; to be called in their event loop, once they are open.

        Args:
            database: its pool is told of.
            cache: hits and misses, size, and how old what it has is.
            pipeline: throughput, buffers, outbox.
            feed: connections, events, faults and holes, by exchange.
            symbols: of the cache, in any known spelling; others have no series of their own.
            folders: room on their disks is told, by the name given, such as `{"outbox": path.parent}`.

        Raises:
            InvalidInputError: a symbol cannot be read.
        """
        if cache is not None:
            self.registry.register(CacheCollector(cache, [canonical_symbol(symbol) for symbol in symbols]))
        if folders:
            self.registry.register(DiskCollector(folders))
        if database is not None:
            self.registry.register(PoolCollector(in_this_loop(lambda: database.statistics)))
        if pipeline is not None:
            snapshot = in_this_loop(lambda: pipeline.statistics)
            self.registry.register(PipelineCollector(snapshot, pipeline.settings.outbox_max_bytes))
        if feed is not None:
            self.registry.register(FeedCollector(in_this_loop(lambda: feed.statistics)))


def in_this_loop(take: Callable[[], T]) -> Callable[[], T]:
    """Return a function for other threads, which takes a snapshot in the running event loop.

    What belongs to a loop may change under the hands of another thread. A loop that does not get to it in five seconds
    fails the scrape: Prometheus then says `up == 0`, which is the truth.
    """
    loop = asyncio.get_running_loop()

    def taken() -> T:
        if _running_loop() is loop:
            return take()
        future: Future[T] = Future()
        loop.call_soon_threadsafe(_fulfil, future, take)
        return future.result(_PATIENCE_S)

    return taken


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _fulfil(future: Future[T], take: Callable[[], T]) -> None:
    try:
        future.set_result(take())
    except BaseException as exc:  # noqa: BLE001 (it is raised where it is waited for)
        future.set_exception(exc)
