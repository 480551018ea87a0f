"""Answers that are given again while nothing changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cachetools import LRUCache

from datalayer.cache.candle_arrays import candle_arrays

if TYPE_CHECKING:
    from datalayer.cache.candle_arrays import CandleArrays
    from datalayer.cache.candle_reads import Selection
    from datalayer.cache.candle_series import CandleSeries
    from datalayer.domain.timeframe import Timeframe

_KEPT: Final = 32
_ROW_BYTES: Final = 150
"""About what a candle takes as arrays and in a frame."""


class CandleAnswers:
    """The last answers of one symbol: most are asked for many times before anything in them changes.

    Args:
        symbol: canonical.
    """

    __slots__ = ("_kept", "_symbol")

    def __init__(self, symbol: str) -> None:
        self._symbol = symbol
        self._kept: LRUCache[tuple[Timeframe, int, bool], tuple[tuple[int, Selection], CandleArrays]]
        self._kept = LRUCache(_KEPT)

    @property
    def nbytes(self) -> int:
        """About the memory that they take, in bytes."""
        return _ROW_BYTES * sum(len(answer) for _, answer in self._kept.values())

    def get(self, timeframe: Timeframe, n: int, series: CandleSeries, selected: Selection) -> CandleArrays:
        """Return the answer to a question for `n` candles, of which these were selected; the last one if it is the same."""
        question, stamp = (timeframe, n, bool(selected.not_closed)), (series.ring.version, selected)
        kept = self._kept.get(question)
        if kept is None or kept[0] != stamp:
            answer = candle_arrays(self._symbol, timeframe, series, selected)
            kept = self._kept[question] = stamp, answer
        return kept[1]
