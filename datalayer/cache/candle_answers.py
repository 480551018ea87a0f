"""Answers that are given again while nothing changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cachetools import LRUCache

from datalayer.cache.candle_arrays import candle_arrays
from datalayer.domain.timeframe import Timeframe

if TYPE_CHECKING:
    from datalayer.cache.candle_arrays import CandleArrays
    from datalayer.cache.candle_reads import Selection
    from datalayer.cache.candle_series import CandleSeries

_KEPT: Final = 16
_S1: Final = Timeframe.S1


class CandleAnswers:
    """The last answers of one symbol: closed minutes and hours are asked for many times before one more has closed.

    Args:
        symbol: canonical.
    """

    __slots__ = ("_kept", "_symbol")

    def __init__(self, symbol: str) -> None:
        self._symbol = symbol
        self._kept: LRUCache[tuple[Timeframe, int], tuple[tuple[int, ...], CandleArrays]] = LRUCache(_KEPT)

    def get(self, timeframe: Timeframe, n: int, series: CandleSeries, selected: Selection) -> CandleArrays:
        """Return the answer to a question for `n` candles, of which these were selected; the last one if it is the same."""
        if selected.not_closed or timeframe == _S1:
            return candle_arrays(self._symbol, timeframe, series, selected)
        begin, end, _, *complete = selected
        stamp = (series.ring.version, begin, end, *complete)
        kept = self._kept.get((timeframe, n))
        if kept is None or kept[0] != stamp:
            kept = self._kept[timeframe, n] = stamp, candle_arrays(self._symbol, timeframe, series, selected)
        return kept[1]
