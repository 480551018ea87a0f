"""What came after a live answer had said that everything had come."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

from datalayer.domain.candle import Candle
from datalayer.domain.order_book import OrderBook

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class LateData:
    """Data of a symbol that live answers had not, and history has.

    Attributes:
        count: how many candles and order books came late, or were corrected.
        last_visible_from: when the latest of them was visible by its own time, UTC: live answers with an `as_of` from then on
            until `last_came_at` differ from history.
        last_came_at: when it came, UTC.
    """

    count: int
    last_visible_from: datetime
    last_came_at: datetime


class LatenessWatch:
    """Compares what comes with what was answered. Safe from several threads."""

    def __init__(self) -> None:
        self._answered: dict[str, datetime] = {}
        self._late: dict[str, LateData] = {}
        self._lock = Lock()

    @property
    def late(self) -> Mapping[str, LateData]:
        """By symbol; those without are absent."""
        with self._lock:
            return dict(self._late)

    def answered(self, symbol: str, as_of: datetime) -> None:
        """Take note of a live answer."""
        known = self._answered.get(symbol)
        if known is None or as_of > known:
            self._answered[symbol] = as_of

    def came(self, symbol: str, item: Any, now: datetime) -> None:
        """Take note of what came into the cache, in the thread that writes."""
        answered = self._answered.get(symbol)
        if answered is None:
            return
        if isinstance(item, Candle):
            if item.is_forming or item.closed_at > answered:
                return
            visible = item.closed_at
        elif isinstance(item, OrderBook) and item.ts <= answered:
            visible = item.ts
        else:
            return
        with self._lock:
            earlier = self._late.get(symbol)
            self._late[symbol] = LateData(1 + (earlier.count if earlier else 0), visible, now)
