"""Metrics of a connection pool, from its statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datalayer.monitoring.metrics.families import LateCollector, counter, gauge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.core import Metric

    from datalayer.db.pool import PoolStatistics


class PoolCollector(LateCollector):
    """The statistics of a pool.

    Args:
        snapshot: returns them.
    """

    def __init__(self, snapshot: Callable[[], PoolStatistics]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Return everything."""
        found = self._snapshot()
        name = "datalayer_pool_"
        states = {"in_use": found.in_use, "idle": found.idle}
        yield gauge(
            f"{name}connections", "Connections, by state.", [((s,), n) for s, n in states.items()], ("state",)
        )
        yield gauge(f"{name}max_connections", "Most connections at a time.", found.max_size)
        yield gauge(f"{name}waiting_callers", "Callers that wait for a connection now.", found.waiting)
        yield counter(f"{name}waits", "Times that a caller had to wait for a connection.", found.waits)
        yield counter(f"{name}wait_seconds", "Seconds that callers waited for a connection.", found.wait_s)
        yield counter(f"{name}timeouts", "Waits that ended without a connection.", found.timeouts)
        yield counter(f"{name}opened_connections", "Connections made.", found.opened)
        yield counter(f"{name}reconnects", "Connections made that replaced an earlier one.", found.reconnects)
        yield counter(f"{name}invalidated_connections", "Connections thrown away.", found.invalidated)
