"""The recent imbalances of one symbol."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from datalayer.cache.column_ring import ColumnRing
from datalayer.cache.times import microseconds
from datalayer.domain.imbalances import OrderBookImbalances
from datalayer.domain.moments import from_microseconds
from datalayer.domain.order_book_frame import IMBALANCES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_KEPT_REVISIONS: Final = 5


class ImbalanceSeries:
    """Imbalances ascending by time; of those of one time the later replace the earlier, but what is NaN replaces nothing.

    So it is in the database too: after a restart, windows are not full, and must not replace those that were.

    Args:
        limit: most rows.

    Attributes:
        ring: the rows.
        evicted: number of rows dropped for want of room or for their age.
    """

    __slots__ = ("_limit", "_revisions", "evicted", "ring")

    def __init__(self, limit: int) -> None:
        self.ring = ColumnRing(1, len(IMBALANCES))
        self.evicted = 0
        self._limit = limit
        self._revisions: dict[int, list[list[float]]] = {}

    def put(self, since: int, time: int, values: list[float]) -> bool:
        """Take in the imbalances of a time, unless it is before `since`; tell whether anything changed."""
        if time < since:
            self.evicted += 1
            return False
        position = self.ring.find(time)
        if not self.ring.has(position, time):
            self.load(time, values)
            return True
        shown = self.ring.floats(position)
        completed = _following(shown, values)
        if _same(completed, shown):
            return False
        revisions = self._revisions.setdefault(time, [shown])
        revisions.append(values)
        if len(revisions) > _KEPT_REVISIONS:
            revisions[:2] = [_following(*revisions[:2])]
        self.ring.replace(position, (time,), completed)
        return True

    def load(self, time: int, values: list[float]) -> None:
        """Take in stored imbalances, unless there are some of that time."""
        position = self.ring.find(time)
        if not self.ring.has(position, time):
            self.ring.insert(position, (time,), values)
            self._drop(len(self.ring) - self._limit)

    def discard(self, imbalances: OrderBookImbalances) -> bool:
        """Take the imbalances of a time out again, and restore what they had replaced; tell whether they were there."""
        time, values = microseconds(imbalances.ts, "ts"), list(imbalances.values().values())
        position = self.ring.find(time)
        if not self.ring.has(position, time):
            return False
        revisions: list[list[float]] = self._revisions.get(time) or [self.ring.floats(position)]
        matching = [place for place, one in enumerate(revisions) if _same(one, values)]
        if not matching:
            return False
        del revisions[matching[-1]]
        if len(revisions) <= 1:
            self._revisions.pop(time, None)
        if revisions:
            self.ring.replace(position, (time,), _folded(revisions))
        else:
            self.ring.delete(position)
        return True

    def drop_before(self, time: int) -> None:
        """Drop the rows before a time."""
        self._drop(self.ring.find(time))

    def last(self, symbol: str, begin: int, end: int) -> OrderBookImbalances | None:
        """Return the last imbalances with a time in `[begin, end)`; None: there are none."""
        position = self.ring.find(end) - 1
        if position < 0 or self.ring.ints(position)[0] < begin:
            return None
        return OrderBookImbalances(
            symbol, from_microseconds(self.ring.ints(position)[0]), *self.ring.floats(position)
        )

    def between(self, begin: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return copies of the columns of the rows with times in `[begin, end)`."""
        return self.ring.copied(self.ring.find(begin), self.ring.find(end))

    def _drop(self, count: int) -> None:
        if count <= 0:
            return
        if self._revisions:
            for time in self.ring.columns(0, count)[0][0].tolist():
                self._revisions.pop(time, None)
        self.ring.drop_first(count)
        self.evicted += count


def _following(earlier: list[float], later: list[float]) -> list[float]:
    return [old if math.isnan(new) else new for old, new in zip(earlier, later, strict=True)]


def _folded(revisions: list[list[float]]) -> list[float]:
    folded = revisions[0]
    for values in revisions[1:]:
        folded = _following(folded, values)
    return folded


def _same(ours: list[float], theirs: list[float]) -> bool:
    return all(
        one == two or (math.isnan(one) and math.isnan(two)) for one, two in zip(ours, theirs, strict=True)
    )
