"""The candles of one symbol and timeframe.

Two kinds may exist of one open time: the candle that was handed in or loaded as stored at this timeframe, and the one that is
rolled up from 1s candles. Candles of longer timeframes are rolled up from rolled-up ones alone, as in the database; what is
shown is the stored one, if there is one, else the rolled-up one, unless that is outdone: unless the database makes another one,
of longer stored candles that have more minutes.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Final

import numpy as np

from datalayer.cache.column_ring import ColumnRing
from datalayer.cache.forming_revisions import FormingRevisions
from datalayer.cache.rows import FLOATS, INTS, ORIGIN, TIME, Origin, Row
from datalayer.cache.times import AFTER_ALL_US, BEFORE_ALL_US, SECOND_US
from datalayer.domain.candle import UNKNOWN_COUNT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from datalayer.domain.timeframe import Timeframe

_KEPT_REVISIONS: Final = 5
_MOST_UNKNOWN: Final = 128
_ROW_BYTES: Final = 250
"""About what a row takes that is kept as a tuple."""


class CandleSeries:
    """See the module.

    Args:
        timeframe: of the candles.
        limit: most candles.

    Attributes:
        length_us: of the timeframe.
        ring: the candles that are shown.
        forming: revisions of those that are not over.
        known_from: open time from which on rolled-up candles are complete, but for those in `unknown`; for 1s candles,
            from which on all that exist are there.
        stored_from: open time from which on all stored candles that exist are there.
        loaded_from: open time from which on all candles that existed were loaded.
        unknown: open times, from `known_from` on, of rolled-up candles that changed in a way that cannot be computed here,
            and the number of the loss that each is due to.
        dropped_until: open time up to which candles were dropped.
        outdone: open times of rolled-up candles that are not shown, though no stored one may be there.
        evicted: number of candles dropped for want of room or for their age.
    """

    __slots__ = (
        "_limit",
        "_revisions",
        "_rolled",
        "dropped_until",
        "evicted",
        "forming",
        "known_from",
        "length_us",
        "loaded_from",
        "outdone",
        "ring",
        "stored_from",
        "unknown",
    )

    def __init__(self, timeframe: Timeframe, limit: int) -> None:
        self.length_us = timeframe.value * SECOND_US
        self.ring = ColumnRing(INTS, FLOATS)
        self.forming = FormingRevisions()
        self.known_from = AFTER_ALL_US
        self.stored_from = BEFORE_ALL_US
        self.loaded_from = AFTER_ALL_US
        self.unknown: dict[int, int] = {}
        self.dropped_until = BEFORE_ALL_US
        self.outdone: set[int] = set()
        self.evicted = 0
        self._limit = limit
        # 1s candles are what is rolled up.
        self._rolled = self.ring if self.length_us == SECOND_US else ColumnRing(INTS, FLOATS)
        self._revisions: dict[int, list[Row]] = {}

    def put_stored(self, row: Row) -> bool:
        """Show a stored candle; a later one of a time replaces the earlier, but a loaded one none that was handed in.

        Returns:
            Whether anything changed.
        """
        newest = self.ring.newest
        is_new = newest is None or row.ts > newest  # as nearly all are: it need not be looked for
        shown = None if is_new else _find_row(self.ring, row.ts)
        if shown is not None and shown.origin >= Origin.PUT:
            if row.repeats(shown) or (row.origin == Origin.LOADED and shown.origin == Origin.PUT):
                return False
            if row.origin == Origin.PUT:
                row = self._revised(shown, row)
        self._write(self.ring, row)
        return True

    def append(self, ints: NDArray[np.int64], floats: NDArray[np.float64]) -> None:
        """Show stored candles that are all later than those that are there, ascending: `[INTS, n]` and `[FLOATS, n]`."""
        self.ring.extend(ints, floats)
        if len(self.ring) > self._limit:
            self.drop_before(self.ring.ints(len(self.ring) - self._limit)[TIME])

    def put_rolled(self, row: Row, *, is_outdone: bool = False) -> bool:
        """Take in a rolled-up candle. A loaded one replaces none that was made here.

        Returns:
            Whether anything changed.
        """
        old = _find_row(self._rolled, row.ts)
        if row.origin == Origin.AGGREGATE and old is not None and old.origin == Origin.ROLLED_UP:
            return False
        self.unknown.pop(row.ts, None)
        (self.outdone.add if is_outdone else self.outdone.discard)(row.ts)
        self._write(self._rolled, row)
        self._show_rolled(row.ts)
        return old is None or row._replace(origin=old.origin) != old

    def show_loaded(self, row: Row) -> None:
        """Show a candle that the database rolled up, of whatever, unless one was made here or handed in."""
        shown = _find_row(self.ring, row.ts)
        if shown is None or shown.origin in (Origin.AGGREGATE, Origin.GENERATED):
            self._write(self.ring, row)

    def rows_of(self, origin: Origin, since: int) -> list[Row]:
        """Return the candles of an origin, stored or rolled up, from an open time on."""
        ring = self.ring if origin >= Origin.PUT else self._rolled
        first = ring.find(since)
        places = np.flatnonzero(ring.columns(first, len(ring))[0][ORIGIN] == origin)
        return [row_at(ring, first + place) for place in places.tolist()]

    @property
    def newest_rolled(self) -> int | None:
        """Open time of the last rolled-up candle (of 1s: of any); None: there is none."""
        return self._rolled.newest

    def has_rolled(self, ts: int) -> bool:
        """Tell whether there is a rolled-up candle of a time, shown or not."""
        return self._rolled.has(self._rolled.find(ts), ts)

    def forget_rolled(self, ts: int, *, is_outdone: bool = False) -> bool:
        """Note that there is no rolled-up candle of a time; tell whether there was one, or it was not known."""
        was_unknown = self.unknown.pop(ts, None) is not None
        (self.outdone.add if is_outdone else self.outdone.discard)(ts)
        was_there = self.has_rolled(ts)
        if was_there:
            self._rolled.delete(self._rolled.find(ts))
        self._show_rolled(ts)
        return was_there or was_unknown

    def lose(self, ts: int, loss: int) -> None:
        """Note that the rolled-up candle of a time cannot be known here any more."""
        self.forget_rolled(ts)
        if ts >= min(self.known_from, self.loaded_from):
            self.unknown[ts] = loss
        if len(self.unknown) > _MOST_UNKNOWN:
            first = sorted(self.unknown)[_MOST_UNKNOWN // 2] + self.length_us
            self._raise_beginning(first)

    def rolled(self, begin: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return what longer candles are made of: the rolled-up candles (of 1s: all) that open in `[begin, end)`."""
        return self._rolled.columns(self._rolled.find(begin), self._rolled.find(end))

    def stored_between(self, begin: int, end: int) -> int:
        """Return how many stored candles lie in `[begin, end)` as a whole."""
        first, last = self.ring.find(begin), self.ring.find(end - self.length_us + 1)
        return int(np.count_nonzero(self.ring.columns(first, max(first, last))[0][ORIGIN] >= Origin.PUT))

    def discard(self, row: Row) -> bool:
        """Take a candle that was put in out again, and show what it had replaced, as far as that is kept.

        Returns:
            Whether it was there. One that the database has as well is not taken out.
        """
        shown = _find_row(self.ring, row.ts)
        revisions = self._revisions.get(row.ts) or ([] if shown is None else [shown])
        places = [
            place for place, one in enumerate(revisions) if one.origin == Origin.PUT and row.repeats(one)
        ]
        if not places:
            return False
        del revisions[places[-1]]
        if len(revisions) <= 1:
            self._revisions.pop(row.ts, None)
        if revisions:
            self._write(self.ring, reduce(_following, revisions))
        else:
            self.ring.delete(self.ring.find(row.ts))
            self._show_rolled(row.ts)
            if self.loaded_from <= row.ts < self.known_from:
                self.unknown[row.ts] = 0  # what was loaded before it is not kept
        return True

    def knows(self, begin: int, end: int) -> bool:
        """Tell whether all rolled-up candles (of 1s: all) that open in `[begin, end)` are there, if they exist."""
        if begin < self.known_from:
            return False
        return not self.unknown or not any(begin <= ts < end for ts in self.unknown)

    def complete_from(self) -> int:
        """Return the open time from which on no candle that exists is missing or wrong."""
        start = max(min(self.known_from, self.loaded_from), self.stored_from)
        holes = self.holes() if self.unknown or self.outdone else ()
        return max(start, holes[-1] + self.length_us) if holes else start

    def holes(self) -> list[int]:
        """Return the open times of candles that exist and are not shown."""
        absent = {*self.unknown, *self.outdone}
        return sorted(ts for ts in absent if not self.ring.has(self.ring.find(ts), ts))

    def drop_before(self, ts: int) -> None:
        """Drop the candles that open before a time; what is not known from then on is known no more."""
        count = self.ring.find(ts)
        ints = self.ring.columns(0, count)[0]
        if count:
            self.dropped_until = max(self.dropped_until, ints[TIME, -1].item() + self.length_us)
        stored = ints[TIME][ints[ORIGIN] >= Origin.PUT]
        if stored.size:
            self.stored_from = max(self.stored_from, stored[-1].item() + self.length_us)
        if self._rolled is not self.ring:
            self._rolled.drop_first(self._rolled.find(ts))
        self.ring.drop_first(count)
        self.evicted += count
        self._raise_beginning(ts)
        self.outdone = {start for start in self.outdone if start >= ts}
        self._revisions = {start: found for start, found in self._revisions.items() if start >= ts}

    @property
    def nbytes(self) -> int:
        """About the memory that it takes, in bytes."""
        rolled = 0 if self._rolled is self.ring else self._rolled.nbytes
        kept = len(self.forming) + sum(map(len, self._revisions.values()))
        return self.ring.nbytes + rolled + kept * _ROW_BYTES

    def _raise_beginning(self, ts: int) -> None:
        self.known_from = max(self.known_from, ts)
        self.loaded_from = max(self.loaded_from, ts)
        self.unknown = {lost: loss for lost, loss in self.unknown.items() if lost >= ts}

    def _show_rolled(self, ts: int) -> None:
        """Show the rolled-up candle of a time, or none, if there is no stored one."""
        shown, rolled = _find_row(self.ring, ts), _find_row(self._rolled, ts)
        if shown is not None and shown.origin >= Origin.PUT:
            return
        if rolled is not None and ts not in self.outdone:
            self._write(self.ring, rolled)
        elif shown is not None:
            self.ring.delete(self.ring.find(ts))

    def _write(self, ring: ColumnRing, row: Row) -> None:
        position = ring.find(row.ts)
        if ring.has(position, row.ts):
            ring.replace(position, row.ints, row.floats)
            return
        ring.insert(position, row.ints, row.floats)
        if len(ring) > self._limit:
            self.drop_before(ring.ints(0)[TIME] + self.length_us)

    def _revised(self, shown: Row, row: Row) -> Row:
        revisions = self._revisions.setdefault(row.ts, [shown])
        revisions.append(row)
        if len(revisions) > _KEPT_REVISIONS:
            revisions[:2] = [_following(*revisions[:2])]
        return _following(shown, row)


def row_at(ring: ColumnRing, position: int) -> Row:
    """Return the candle at a position."""
    ts, count, origin, minutes = ring.ints(position)
    opened, high, low, close, volume = ring.floats(position)
    return Row(ts, opened, high, low, close, volume, count, origin, minutes)


def _find_row(ring: ColumnRing, ts: int) -> Row | None:
    position = ring.find(ts)
    return row_at(ring, position) if ring.has(position, ts) else None


def _following(earlier: Row, later: Row) -> Row:
    """Return a candle as it is after another of the same time; a count that is not given anew stays, as in the database."""
    return later._replace(trade_count=earlier.trade_count) if later.trade_count == UNKNOWN_COUNT else later
