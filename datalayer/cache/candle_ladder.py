"""All candles of one symbol: each timeframe above 1s is rolled up, level by level, from the one below it.

As the database does, it leaves a candle whose 1s candles have a hole to longer stored ones that have none there: such a candle
is not known here.

A candle is rolled up when it is over and somebody asks, or at the latest before its parts are dropped; whatever changes a
part marks it for that. The candle that is not over is put together for each answer, from the parts that were over at its moment.

1s candles mostly come one after the other, and are asked for less often than they come: those that follow the newest wait, and
go in together as soon as somebody looks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from datalayer.cache.candle_loading import load_candles, unwritten_in
from datalayer.cache.candle_series import CandleSeries
from datalayer.cache.rows import MINUTES, ORIGIN, PACKED, TIME, Origin, continued, merged, unpacked
from datalayer.cache.times import AFTER_ALL_US, BEFORE_ALL_US, SECOND_US, ceil_us
from datalayer.domain.timeframe import Timeframe

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

    from datalayer.cache.candle_loading import LoadedCandles
    from datalayer.cache.rows import Row
    from datalayer.cache.settings import CacheSettings

    Formed: TypeAlias = tuple[bool, Row | None]
    """Whether all is known, and what there is."""

# An attribute of an enumeration takes as long as rolling up does, until Python 3.12.
_S1: Final = Timeframe.S1
_M1: Final = Timeframe.M1
_LADDER: Final = tuple(Timeframe)
_ROLLED: Final = _LADDER[1:]
_BELOW: Final = dict(zip(_ROLLED, _LADDER, strict=False))
_MINUTE_US: Final = _M1.value * SECOND_US
_PUT: Final = Origin.PUT
_MOST_PENDING: Final = 64 * PACKED.size


class CandleLadder:
    """See the module. Times are microseconds; not safe from several threads by itself.

    Args:
        settings: how much is kept.

    Attributes:
        losses: number of 1s candles that came, or were taken back, when they were too old to be kept.
    """

    __slots__ = (
        "_correction_us",
        "_dirty",
        "_due",
        "_forming",
        "_forming_at",
        "_marked_until",
        "_newest_pending",
        "_pending",
        "_series",
        "_unwritten",
        "losses",
    )

    def __init__(self, settings: CacheSettings) -> None:
        # 1s candles are dropped by age; their limit only bounds what a flood from the future could take.
        limits = {_S1: round(2 * settings.correction_s)}
        self._series = {
            timeframe: CandleSeries(timeframe, limits.get(timeframe, settings.candles_per_timeframe))
            for timeframe in _LADDER
        }
        self.losses = 0
        self._correction_us = round(settings.correction_s * SECOND_US)
        self._marked_until = BEFORE_ALL_US
        self._dirty: dict[Timeframe, set[int]] = {timeframe: set() for timeframe in _ROLLED}
        self._due = AFTER_ALL_US
        # Of the last second that was asked for; whatever changes a candle clears it.
        self._forming: dict[Timeframe, Formed] = {}
        self._forming_at = BEFORE_ALL_US
        self._unwritten: list[int] = []
        # Packed: of thousands of rows the collector would look at each, again and again.
        self._pending = bytearray()
        self._newest_pending = BEFORE_ALL_US

    @property
    def series(self) -> dict[Timeframe, CandleSeries]:
        """The candles of each timeframe, as of now."""
        if self._pending:
            self._take_pending()
        return self._series

    @property
    def known_until(self) -> int:
        """Up to when 1s candles are there: the close of the newest, or later if that was said."""
        newest = self.series[_S1].ring.newest
        return self._marked_until if newest is None else max(self._marked_until, newest + SECOND_US)

    def put(self, timeframe: Timeframe, row: Row, *, is_forming: bool, now: int) -> bool:
        """Take in a candle, closed or not, that was handed in or loaded as stored at its timeframe.

        Returns:
            Whether it says something new.
        """
        if is_forming:
            self.series[timeframe].forming.put(row, now)
            return True
        if timeframe == _S1:
            if self._follows(row, now):
                self._pending += PACKED.pack(*row)
                self._newest_pending = row.ts
                if len(self._pending) >= _MOST_PENDING:
                    self._take_pending()
                return True
            self._forming.clear()
            return self._put_second(row, now)
        self._forming.clear()
        is_new = self.series[timeframe].put_stored(row)
        if is_new:
            self._mark_longer(timeframe, row.ts)
        return is_new

    def discard(self, timeframe: Timeframe, row: Row, *, is_forming: bool, now: int) -> bool:
        """Take a candle out again; tell whether it was there."""
        series = self.series[timeframe]
        if is_forming:
            return series.forming.discard(row)
        self._forming.clear()
        if timeframe == _S1 and row.ts < now - self._correction_us:
            self._lose(row.ts, now)
            return False
        found = series.discard(row)
        if found:
            self._mark_longer(timeframe, row.ts)
        return found

    def mark_complete(self, since: int | None, until: int | None, now: int) -> None:
        """Take it for said that all 1s candles which open in `[since, until)` have been put in."""
        if until is not None:
            self._marked_until = max(self._marked_until, until)
        if since is not None:
            # After the clock was put back, some may be dropped already that are not too old.
            self.know_from(max(since, self.series[_S1].dropped_until), now)

    def know_from(self, since: int, now: int) -> None:
        """Take it for said that all 1s candles which open from a time on are here."""
        self._know_from(max(ceil_us(since, SECOND_US), now - self._correction_us))

    def load(self, timeframe: Timeframe, loaded: LoadedCandles, now: int) -> None:
        """Take in candles that were read from the database, timeframe by timeframe from 1m on."""
        self._forming.clear()
        self.settle(now)  # later it would take out again what is shown in the place of outdone ones
        series, before = self.series[timeframe], self.series[timeframe].known_from
        if timeframe == _M1:
            self._unwritten.clear()
        unwritten = unwritten_in(series, loaded)
        for ts in load_candles(series, loaded, self._unwritten):
            if (parent := timeframe.parent) is not None:
                self._mark(parent, ts)
        self._unwritten = sorted(self._unwritten + unwritten)
        if timeframe != _M1:
            # What filled a hole just now lacks what the database lacks.
            for ts in self._unwritten:
                self._mark(timeframe, ts)
        self._mark_unwritten(timeframe, before)
        newest = self.series[_BELOW[timeframe]].newest_rolled
        if newest is not None and not series.has_rolled(start := self._start(timeframe, newest)):
            self._mark(timeframe, start)  # it was not over when its parts were read

    def settle(self, horizon: int) -> None:
        """Roll up every candle that is over at a moment and had a part changed."""
        if self._pending:
            self._take_pending()
        if horizon < self._due:
            return
        self._forming.clear()
        for timeframe in _ROLLED:
            length = self.series[timeframe].length_us
            over = sorted(start for start in self._dirty[timeframe] if start + length <= horizon)
            self._dirty[timeframe].difference_update(over)
            for start in over:
                if self._roll_up(timeframe, start) and (parent := timeframe.parent) is not None:
                    self._mark(parent, start)
        ends = [self.series[t].length_us + min(starts) for t, starts in self._dirty.items() if starts]
        self._due = min(ends, default=AFTER_ALL_US)

    def maintain(self, now: int) -> None:
        """Roll up what is over, then drop the 1s candles that are too old."""
        self.settle(now)
        self._forming.clear()
        self.series[_S1].drop_before(now - self._correction_us)

    def forming(self, timeframe: Timeframe, as_of: int) -> Row | None:
        """Return the candle that a moment lies in, of what was visible then; None: nothing was, or not all is known.

        Of 1s candles if they are known from its open on, else the last revision that was handed in by then.
        """
        self.settle(as_of)
        start, at = self._start(timeframe, as_of), self._start(_S1, as_of)
        if at != self._forming_at:
            self._forming.clear()
            self._forming_at = at
        is_known, rolled = self._formed(timeframe, at)
        if rolled is None or not is_known or self._is_outdone(timeframe, start, at, rolled.minutes):
            return self.series[timeframe].forming.last(start, as_of)
        return rolled

    def _follows(self, row: Row, now: int) -> bool:
        """Tell whether a 1s candle that was handed in is later than all that are there, and nothing else is to be noted of it."""
        if row.origin != _PUT or row.ts < now - self._correction_us:
            return False
        if self._pending:
            return row.ts > self._newest_pending
        seconds = self._series[_S1]
        newest = seconds.ring.newest
        return newest is not None and row.ts > newest and seconds.known_from != AFTER_ALL_US

    def _take_pending(self) -> None:
        ints, floats = unpacked(self._pending)
        self._pending = bytearray()
        self._forming.clear()
        self._series[_S1].append(ints, floats)
        for start in set((ints[TIME] // _MINUTE_US * _MINUTE_US).tolist()):
            self._mark(_M1, start)

    def _put_second(self, row: Row, now: int) -> bool:
        seconds = self.series[_S1]
        if row.ts < now - self._correction_us:
            if row.origin == Origin.PUT:
                self._lose(row.ts, now)
            return row.origin == Origin.PUT
        if not seconds.put_stored(row):
            return False
        if seconds.known_from == AFTER_ALL_US and row.origin == Origin.PUT:
            self._know_from(row.ts)
        self._mark(_M1, row.ts)
        return True

    def _start(self, timeframe: Timeframe, ts: int) -> int:
        length: int = self.series[timeframe].length_us
        return ts - ts % length

    def _mark(self, timeframe: Timeframe, ts: int) -> None:
        start = self._start(timeframe, ts)
        self._dirty[timeframe].add(start)
        self._due = min(self._due, start + self.series[timeframe].length_us)

    def _mark_longer(self, timeframe: Timeframe, ts: int) -> None:
        for longer in _LADDER[_LADDER.index(timeframe) + 1 :]:
            self._mark(longer, ts)

    def _mark_unwritten(self, timeframe: Timeframe, before: int) -> None:
        """Mark the candles that were not known before and have parts which were put in: the database may lack these."""
        series, lower = self.series[timeframe], _BELOW[timeframe]
        ints = self.series[lower].rolled(series.known_from, before)[0]
        is_ours = ints[ORIGIN] == (Origin.PUT if lower == _S1 else Origin.ROLLED_UP)
        for start in np.unique(ints[TIME][is_ours] // series.length_us * series.length_us).tolist():
            self._mark(timeframe, start)

    def _know_from(self, since: int) -> None:
        """1s candles are known from a time on: so are the candles that are made of them."""
        start = since
        for timeframe, series in self.series.items():
            start = ceil_us(start, series.length_us)
            series.known_from = min(series.known_from, start)
            if timeframe != _S1:
                self._dirty[timeframe].update(self._starts(series.length_us, start))
        self._due = BEFORE_ALL_US

    def _starts(self, length: int, since: int) -> list[int]:
        ring = self.series[_S1].ring
        times = ring.columns(ring.find(since), len(ring))[0][TIME]
        starts: list[int] = np.unique(times // length * length).tolist()
        return starts

    def _lose(self, ts: int, now: int) -> None:
        """A 1s candle changed that is kept no more: no candle that it is a part of is known."""
        self.maintain(now)
        self.losses += 1
        self.series[_S1].dropped_until = max(self.series[_S1].dropped_until, ts + SECOND_US)
        for timeframe in _ROLLED:
            start = self._start(timeframe, ts)
            if start + self.series[timeframe].length_us <= now:
                self.series[timeframe].lose(start, self.losses)
            else:
                self._mark(timeframe, start)

    def _roll_up(self, timeframe: Timeframe, start: int) -> bool:
        series, parts = self.series[timeframe], self.series[_BELOW[timeframe]]
        end = start + series.length_us
        if start < series.known_from or not parts.knows(start, end):
            series.lose(start, self.losses)
            return True
        ints, floats = parts.rolled(start, end)
        minutes = _minutes(parts, ints)
        is_outdone = self._is_outdone(timeframe, start, end, minutes)
        if not ints.shape[1]:
            return series.forget_rolled(start, is_outdone=is_outdone)
        return series.put_rolled(merged(start, ints, floats, minutes), is_outdone=is_outdone)

    def _is_outdone(self, timeframe: Timeframe, start: int, end: int, minutes: int) -> bool:
        """Tell whether longer stored candles say, or may say, something of more minutes than 1s candles do."""
        if minutes * _MINUTE_US >= end - start:
            return False
        return any(
            self.series[lower].stored_from > start
            or self.series[lower].stored_between(start, end) * lower.value > minutes * _M1.value
            for lower in _LADDER[1 : _LADDER.index(timeframe)]
        )

    def _formed(self, timeframe: Timeframe, at: int) -> Formed:
        """Return what is rolled up of the candle that a second lies in: the parts that were over, and the part that forms."""
        if timeframe == _S1:
            return True, None
        if timeframe not in self._forming:
            self._forming[timeframe] = self._form(timeframe, at)
        return self._forming[timeframe]

    def _form(self, timeframe: Timeframe, at: int) -> Formed:
        lower = _BELOW[timeframe]
        begin, end, parts = self._start(timeframe, at), self._start(lower, at), self.series[lower]
        if end > begin and not parts.knows(begin, end):
            return False, None
        is_known, last = self._formed(lower, at)
        ints, floats = parts.rolled(begin, end)
        if not ints.shape[1]:
            return is_known, None if last is None else last._replace(ts=begin)
        row = merged(begin, ints, floats, _minutes(parts, ints))
        return is_known, row if last is None else continued(row, last)


def _minutes(parts: CandleSeries, ints: NDArray[np.int64]) -> int:
    """Return of how many minutes there is something; 1s candles are of one minute."""
    if parts.length_us == SECOND_US:
        return int(ints.size > 0)
    return int(ints[MINUTES].sum())
