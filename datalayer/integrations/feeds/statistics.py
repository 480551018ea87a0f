"""What a feed counts and tells of itself."""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConnectionStatistics:
    """How one connection is.

    Attributes:
        streams: number of its subscriptions.
        connected_since: UTC; None: it is not connected.
        last_message_age_s: seconds since its last message; None: there was none since it was connected.
        reconnects: how often it was lost and made again; planned replacements count as `handovers`.
        handovers: how often it was replaced by a successor before it ended.
        last_error: why it was lost the last time; None: it never was.
    """

    streams: int
    connected_since: datetime | None
    last_message_age_s: float | None
    reconnects: int
    handovers: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class FeedStatistics:
    """A snapshot.

    Attributes:
        exchange: its name.
        connections: one each.
        events: by kind: trades, candles, forming, order_books, quotes.
        faults: by kind: malformed, unknown, repeated, late, ahead, rejected, sequence_gap, crossed_book, failed.
        gaps: holes by what became of them: open, filled, lost.
        invalid_books: symbols whose local order book waits for a snapshot.
    """

    exchange: str
    connections: tuple[ConnectionStatistics, ...]
    events: Mapping[str, int]
    faults: Mapping[str, int]
    gaps: Mapping[str, int]
    invalid_books: tuple[str, ...]

    @property
    def is_healthy(self) -> bool:
        """Whether all connections are up and all order books valid."""
        return not self.invalid_books and all(one.connected_since is not None for one in self.connections)


class FaultLog:
    """Counts faults, and logs each kind at a bounded rate.

    Args:
        exchange: names it in the log.
        every_s: seconds between two lines about one kind.
    """

    def __init__(self, exchange: str, every_s: float) -> None:
        self.counts: Counter[str] = Counter()
        self._exchange, self._every_s = exchange, every_s
        self._logged: dict[str, tuple[float, int]] = {}

    def note(self, kind: str, detail: object) -> None:
        """Count a fault, and perhaps log it."""
        self.counts[kind] += 1
        logged_at, logged = self._logged.get(kind, (-self._every_s, 0))
        now = time.monotonic()
        if now - logged_at >= self._every_s:
            more = self.counts[kind] - logged - 1
            also = f" (and {more:,} others since the last such line)" if more else ""
            logger.warning("%s: %s: %.300s%s", self._exchange, kind.replace("_", " "), detail, also)
            self._logged[kind] = now, self.counts[kind]
