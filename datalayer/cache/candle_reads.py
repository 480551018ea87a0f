"""Which candles were visible at a moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from datalayer.cache.candle_series import row_at
from datalayer.cache.rows import ORIGIN, Origin
from datalayer.cache.times import AFTER_ALL_US, BEFORE_ALL_US
from datalayer.domain.timeframe import Timeframe

if TYPE_CHECKING:
    from datalayer.cache.candle_ladder import CandleLadder
    from datalayer.cache.candle_series import CandleSeries
    from datalayer.cache.rows import Row

_S1: Final = Timeframe.S1


class Visibility(NamedTuple):
    """Times in microseconds that decide what is visible.

    Attributes:
        as_of: the moment in question.
        now: the clock.
        window: how far back 1s candles and events are given.
        settle: how long a rolled-up candle which is over waits for its last 1s candles.
    """

    as_of: int
    now: int
    window: int
    settle: int

    @property
    def events(self) -> tuple[int, int]:
        """The half-open range of times in which events are given."""
        return max(self.now, self.as_of) - self.window, self.as_of + 1


class Selection(NamedTuple):
    """Which candles of a series an answer has.

    Attributes:
        begin: position of the first closed one.
        end: position behind the last closed one.
        not_closed: those that come after them.
        complete_from: open time from which on nothing is missing; `BEFORE_ALL_US`: from the beginning.
        complete_until: open time up to which nothing is missing. `AFTER_ALL_US` in either: not known.
    """

    begin: int
    end: int
    not_closed: tuple[Row, ...]
    complete_from: int
    complete_until: int


def visible_candles(
    ladder: CandleLadder, timeframe: Timeframe, n: int, at: Visibility, *, include_forming: bool
) -> Selection:
    """Select the last `n` candles that were closed, and perhaps those that were not, which come last and count for `n`."""
    ladder.settle(at.as_of)
    series = ladder.series[timeframe]
    end = series.ring.find(at.as_of - series.length_us + 1)
    not_closed: tuple[Row, ...] = ()
    if end and _is_unsettled(ladder, series, end - 1, at):
        end -= 1
        not_closed = (row_at(series.ring, end),)
    if include_forming:
        forming = ladder.forming(timeframe, at.as_of)
        not_closed = not_closed if forming is None else (*not_closed, forming)
        not_closed = not_closed[max(len(not_closed) - n, 0) :]
    else:
        not_closed = ()
    first = series.ring.find(at.as_of - at.window) if timeframe == _S1 else 0
    begin = min(max(end - n + len(not_closed), first), end)
    return Selection(begin, end, not_closed, series.complete_from(), _complete_until(ladder, series, end, at))


def _is_unsettled(ladder: CandleLadder, series: CandleSeries, position: int, at: Visibility) -> bool:
    """Tell whether a rolled-up candle which is over may still lack its last 1s candles, being on their way."""
    ints = series.ring.ints(position)
    over_since = max(ladder.known_until, max(at.now, at.as_of) - at.settle)
    return ints[ORIGIN] < Origin.PUT and ints[0] + series.length_us > over_since


def _complete_until(ladder: CandleLadder, series: CandleSeries, end: int, at: Visibility) -> int:
    until = ladder.known_until if series.known_from < AFTER_ALL_US else BEFORE_ALL_US
    if end and series.ring.ints(end - 1)[ORIGIN] >= Origin.PUT:
        until = max(until, series.ring.ints(end - 1)[0] + series.length_us)
    if until == BEFORE_ALL_US:
        return AFTER_ALL_US
    until = min(until, at.as_of)
    return until - until % series.length_us
