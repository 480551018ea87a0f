"""The recent trades of one symbol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from datalayer.cache.column_ring import ColumnRing
from datalayer.cache.times import microseconds

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    from datalayer.domain.trade import Trade

    Ints: TypeAlias = tuple[int, int, int]
    Floats: TypeAlias = tuple[float, float]

TIME, TRADE_ID, SIDE = range(3)
PRICE, SIZE = range(2)
_INTS: Final = 3
_FLOATS: Final = 2


class TradeSeries:
    """Trades ascending by time and id; of those of one time and id the first is kept, as in the database.

    Args:
        limit: most trades.

    Attributes:
        ring: the trades.
        evicted: number of trades dropped for want of room or for their age.
    """

    __slots__ = ("_limit", "evicted", "ring")

    def __init__(self, limit: int) -> None:
        self.ring = ColumnRing(_INTS, _FLOATS)
        self.evicted = 0
        self._limit = limit

    def put(self, since: int, ints: Ints, floats: Floats) -> bool:
        """Take in a trade, unless it is of before `since`; tell whether it is a new one."""
        if ints[TIME] < since:
            self.evicted += 1
            return False
        position, is_there = self._find(ints[TIME], ints[TRADE_ID])
        if not is_there:
            self.ring.insert(position, ints, floats)
            self._drop(len(self.ring) - self._limit)
        return not is_there

    def discard(self, trade: Trade) -> bool:
        """Take a trade out again; tell whether it was there."""
        time = microseconds(trade.ts, "ts")
        position, is_there = self._find(time, trade.trade_id)
        if not is_there or self.ring.floats(position) != [float(trade.price), float(trade.size)]:
            return False
        self.ring.delete(position)
        return True

    def drop_before(self, time: int) -> None:
        """Drop the trades before a time."""
        self._drop(self.ring.find(time))

    def between(self, begin: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return copies of the columns of the trades with times in `[begin, end)`."""
        return self.ring.copied(self.ring.find(begin), self.ring.find(end))

    def _find(self, time: int, trade_id: int) -> tuple[int, bool]:
        """Return where a trade is, or belongs, and whether it is there."""
        newest = self.ring.newest
        if newest is None or time > newest:
            return len(self.ring), False
        first, behind = self.ring.find(time), self.ring.find(time + 1)
        ids = self.ring.columns(first, behind)[0][TRADE_ID]
        position = first + int(np.searchsorted(ids, trade_id))
        return position, position < behind and self.ring.ints(position)[TRADE_ID] == trade_id

    def _drop(self, count: int) -> None:
        if count > 0:
            self.ring.drop_first(count)
            self.evicted += count
