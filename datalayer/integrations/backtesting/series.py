"""The candles of one symbol and timeframe, as far as the clock of a backtest has come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from datalayer.errors import InvalidInputError, LookAheadError

if TYPE_CHECKING:
    from datetime import datetime

    from numpy.typing import NDArray

    from datalayer.domain.timeframe import Timeframe


@dataclass(slots=True)
class Position:
    """Where a clock is.

    Attributes:
        moments: that it goes through before it has to read on.
        row: which of them it shows.
    """

    moments: list[datetime]
    row: int = 0

    @property
    def now(self) -> datetime:
        """The moment that it shows."""
        return self.moments[self.row]


@dataclass(slots=True)
class Shown:
    """What a series shows at each moment of the clock's: the rows `[begin, end)`.

    Attributes:
        opens: open times, datetime64[us] in UTC.
        rows: float64 `[n, columns]`.
        begins: for each moment.
        ends: likewise.
    """

    opens: NDArray[np.datetime64]
    rows: NDArray[np.float64]
    begins: list[int]
    ends: list[int]


class CandleSeries:
    """Candles of one symbol and timeframe that are closed at the clock of a `BacktestSource`, which makes and moves it.

    Args:
        symbol: canonical.
        timeframe: of the candles.
        length: the most candles of a window.
        columns: of a window.
        position: of the clock.
    """

    def __init__(
        self, symbol: str, timeframe: Timeframe, length: int, columns: tuple[str, ...], position: Position
    ) -> None:
        self.symbol, self.timeframe, self.length, self.columns = symbol, timeframe, length, columns
        self._position = position
        nothing = np.zeros((0, len(columns)))
        self._shown = Shown(np.zeros(0, "datetime64[us]"), nothing, [0], [0])

    def show(self, shown: Shown) -> None:
        """Show something else; for the clock."""
        self._shown = shown

    def window(self) -> NDArray[np.float64]:
        """Return the last candles, oldest first: float64 `[n, columns]`, n at most `length`, a read-only view.

        There are fewer at the beginning of the data, and with `on_gap="restart"` after a gap. NaN where a trade count is
        unknown. Copy what you keep: a kept view holds a whole batch in memory.
        """
        row, shown = self._position.row, self._shown
        return shown.rows[shown.begins[row] : shown.ends[row]]

    def opened(self) -> NDArray[np.datetime64]:
        """Return the open times of the candles of `window()`, datetime64[us] in UTC, `[n]`, a read-only view."""
        row, shown = self._position.row, self._shown
        return shown.opens[shown.begins[row] : shown.ends[row]]

    def frame(self, start: datetime | None = None, end: datetime | None = None) -> pd.DataFrame:
        """Return the candles of `window()` that open in `[start, end)` as a frame.

        Args:
            start: aware, included. None: from the first of the window.
            end: aware, excluded. None: to the last one that is closed.

        Returns:
            Indexed by open time `timestamp` (datetime64[us, UTC]), ascending, with `columns` as float64.

        Raises:
            LookAheadError: a candle that opens before `end` closes after the clock.
            InvalidInputError: a time is naive, or `start` is before what a window can hold.
        """
        now, length = self._position.now, self.timeframe.length
        first, last = self._on_grid(start), self._on_grid(end)
        if last is not None and last > now:
            asked = f"the {self.timeframe.label} candle of {self.symbol} that opens at {(last - length).isoformat()}"
            raise LookAheadError(asked, last, now)
        if first is not None and first + self.length * length < self.timeframe.floor(now):
            raise InvalidInputError(
                "start",
                start,
                f"a window holds {self.length} candles; make it longer when the source is made",
            )
        index = pd.DatetimeIndex(self.opened(), tz="UTC", name="timestamp")
        frame = pd.DataFrame(self.window(), index=index, columns=pd.Index(self.columns))
        begin, until = _place(index, first, 0), _place(index, last, len(index))
        return frame.iloc[begin:until]

    def _on_grid(self, moment: datetime | None) -> datetime | None:
        return None if moment is None else self.timeframe.ceil(moment)


def _place(index: Any, moment: datetime | None, default: int) -> int:
    return default if moment is None else int(index.searchsorted(pd.Timestamp(moment)))
