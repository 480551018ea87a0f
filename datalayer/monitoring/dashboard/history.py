"""The recent past of a service's figures, kept by the page itself."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from datalayer.monitoring.endpoint import Reading, checked_address, quantile, rate, read_endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

EVERY_S: Final = 10.0
_KEPT: Final = 360

_QUANTILES: Final = {
    "age 95 %": ("datalayer_ingestion_age_seconds", 0.95),
    "flush 95 %": ("datalayer_ingestion_flush_duration_seconds", 0.95),
    "query 95 %": ("datalayer_query_duration_seconds", 0.95),
    "cache 99 %": ("datalayer_cache_read_duration_seconds", 0.99),
}


class ServiceHistory:
    """Rates and latencies of a service, of the last hour.

    Args:
        address: of its metrics; None: there is none.

    Raises:
        InvalidInputError: the address is none of HTTP.
    """

    def __init__(self, address: str | None) -> None:
        self.address = None if address is None else checked_address(address)
        self.failure: str | None = None
        self._before: Reading | None = None
        self._rates: deque[tuple[datetime, float]] = deque(maxlen=_KEPT)
        self._latencies: dict[str, deque[tuple[datetime, float]]] = {
            name: deque(maxlen=_KEPT) for name in _QUANTILES
        }

    @property
    def rates(self) -> Sequence[tuple[datetime, float]]:
        """Events a second."""
        return tuple(self._rates)

    @property
    def latencies(self) -> Mapping[str, Sequence[tuple[datetime, float]]]:
        """Quantiles in seconds by name, of what was measured between two readings; those without any are left out."""
        return {name: tuple(points) for name, points in self._latencies.items() if points}

    async def run(self) -> None:
        """Read again and again, until cancelled."""
        while self.address is not None:
            await self.look(self.address)
            await asyncio.sleep(EVERY_S)

    async def look(self, address: str) -> None:
        """Read once."""
        try:
            after = await asyncio.to_thread(read_endpoint, address)
        except OSError as exc:
            self.failure, self._before = str(exc), None
            return
        before, self._before, self.failure = self._before, after, None
        if before is not None:
            now = datetime.now(UTC)
            self._rates.append((now, rate(before, after, "datalayer_ingestion_accepted_total")))
            for name, (metric, part) in _QUANTILES.items():
                found = quantile(before, after, metric, part)
                if not math.isnan(found):
                    self._latencies[name].append((now, found))
