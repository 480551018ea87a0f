"""From a stream of candles to what a series shows, span by span."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from datalayer.domain.sliding_windows import candle_arrays
from datalayer.errors import MissingDataError
from datalayer.integrations.backtesting.series import Shown

if TYPE_CHECKING:
    from datetime import datetime

    import pandas as pd
    from numpy.typing import NDArray

    from datalayer.domain.sliding_windows import GapPolicy
    from datalayer.integrations.backtesting.series import CandleSeries
    from datalayer.repositories.history_stream import BatchStream

_NOTHING: Final = np.zeros(0, "datetime64[us]")
_ALWAYS: Final = np.datetime64("-0001-01-01", "us")  # before any time that a clock can begin at
_NEVER: Final = np.datetime64("9999-12-31", "us")


class SeriesFeed:
    """Reads one series, and holds what the clock has not come to yet.

    Args:
        series: what is fed.
        stream: its candles.
        on_gap: see `GapPolicy`.
    """

    def __init__(self, series: CandleSeries, stream: BatchStream[pd.DataFrame], on_gap: GapPolicy) -> None:
        self.series, self.stream, self._on_gap = series, stream, on_gap
        self.is_at_end = False
        self._step = np.timedelta64(series.timeframe.value, "s")
        self._opens: NDArray[np.datetime64] = _NOTHING
        self._rows: NDArray[np.float64] = np.zeros((0, len(series.columns)))
        self._given = 0  # rows that were shown
        self._missing: tuple[datetime, datetime] | None = None

    @property
    def closes(self) -> NDArray[np.datetime64]:
        """When the candles that are held close, ascending, datetime64[us] in UTC."""
        return self._opens + self._step

    @property
    def known_until(self) -> np.datetime64:
        """Up to here, included, all candles that close are held."""
        if self.is_at_end:
            return _NEVER
        return self.closes[-1] if len(self._opens) else _ALWAYS

    async def extend(self) -> None:
        """Read one more batch, or find the end.

        Raises:
            MissingDataError: candles are missing here, and the policy is "refuse".
            DatabaseError: the batch could not be read, after all tries.
        """
        if self._missing is not None:
            raise MissingDataError(self.series.symbol, self.series.timeframe.label, (self._missing,))
        try:
            batch = await anext(self.stream)
        except StopAsyncIteration:
            self.is_at_end = True
        else:
            self._append(*candle_arrays(batch, self.series.columns))

    def show(self, moments: NDArray[np.datetime64]) -> None:
        """Let the series show at each of these moments, ascending, what is closed by then."""
        ends = np.searchsorted(self.closes, moments, side="right")
        begins = np.maximum(ends - self.series.length, 0)
        if self._on_gap == "restart" and len(self._opens):
            begins = np.maximum(begins, self._run_starts()[np.maximum(ends - 1, 0)])
        self._given = int(ends[-1])
        self.series.show(Shown(self._opens, self._rows, begins.tolist(), ends.tolist()))

    def _append(self, opens: NDArray[np.datetime64], rows: NDArray[np.float64]) -> None:
        """Hold more rows, in new arrays: those that are shown stay as they are."""
        kept = max(self._given - self.series.length, 0)
        opens, rows = np.concatenate([self._opens[kept:], opens]), np.concatenate([self._rows[kept:], rows])
        gaps = self._gaps(opens)
        if self._on_gap == "refuse" and len(gaps):
            first = gaps[0]
            self._missing = _aware(opens[first - 1] + self._step), _aware(opens[first])
            opens, rows = opens[:first], rows[:first]
        opens.flags.writeable = rows.flags.writeable = False
        self._opens, self._rows, self._given = opens, rows, self._given - kept

    def _gaps(self, opens: NDArray[np.datetime64]) -> NDArray[np.intp]:
        return np.flatnonzero(np.diff(opens) != self._step) + 1

    def _run_starts(self) -> NDArray[np.intp]:
        """Return for each row the first one of those that follow on each other without a gap."""
        starts = np.zeros(len(self._opens), np.intp)
        gaps = self._gaps(self._opens)
        starts[gaps] = gaps
        return np.maximum.accumulate(starts)


def _aware(moment: Any) -> datetime:
    found: datetime = moment.item()
    return found.replace(tzinfo=UTC)
