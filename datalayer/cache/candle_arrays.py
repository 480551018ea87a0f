"""Candles as the cache gives them: as arrays, and as a DataFrame."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from datalayer.cache.rows import COUNT, ORIGIN, TIME, Origin
from datalayer.cache.times import AFTER_ALL_US, BEFORE_ALL_US, moment
from datalayer.domain.candle import UNKNOWN_COUNT
from datalayer.repositories.candle_reads import SOURCES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from datalayer.cache.candle_reads import Selection
    from datalayer.cache.candle_series import CandleSeries
    from datalayer.domain.timeframe import Timeframe

_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_NAMES: Final = ("open", "high", "low", "close", "volume")
_CATEGORIES: Final = pd.CategoricalDtype([*SOURCES])
# By `Origin`, the last one being that of -1.
_CODES: Final = np.array(
    [SOURCES.index(name) for name in ("generated", "aggregate", "generated", "stored", "stored", "forming")],
    np.int8,
)


@dataclass(frozen=True, slots=True, eq=False)
class CandleArrays:
    """Candles of one symbol and timeframe, ascending; immutable: read-only arrays, each `[n]`.

    Attributes:
        symbol: canonical, as in `BTC/USDT`.
        timeframe: of the candles.
        complete_from: open time, UTC, from which on the cache has every candle that exists, by what it was given; the first
            moment of the calendar: from the beginning. None: it cannot say; the database has to be asked.
        complete_until: open time, UTC, up to which (not included) it has. What lies between this and the moment that was
            asked for has not come in yet, or its feed is dead. None: it cannot say.
        timestamps: open times, datetime64[us], UTC.
        open: price of the first trade, float64, in the quote asset, as are high, low and close.
        high: highest price.
        low: lowest price.
        close: price of the last trade.
        volume: traded size, float64, in the base asset.
        trade_count: number of trades, int64; -1: unknown.
        origins: what `is_forming` and `sources` are made of, int64.
    """

    symbol: str
    timeframe: Timeframe
    complete_from: datetime | None
    complete_until: datetime | None
    timestamps: NDArray[np.datetime64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    trade_count: NDArray[np.int64]
    origins: NDArray[np.int64]
    _frames: dict[bool, pd.DataFrame | None] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.timestamps)

    @property
    def is_forming(self) -> NDArray[np.bool_]:
        """Whether each candle was taken before its close, or before it was sure to be whole, bool."""
        forming: NDArray[np.bool_] = self.origins == Origin.FORMING
        return forming

    @property
    def sources(self) -> NDArray[np.int8]:
        """Where each candle is from, int8, as places in `datalayer.repositories.candle_reads.SOURCES`.

        0 stored, 1 loaded as materialised by the database, 2 rolled up here, or by the database when it was asked, 3 forming.
        """
        codes: NDArray[np.int8] = _CODES[self.origins]
        return codes

    def to_frame(self, *, with_forming: bool = False) -> pd.DataFrame:
        """Return them as `CandleRepository.query_ohlcv_data` does.

        Args:
            with_forming: add the column is_forming.

        Returns:
            A frame indexed by open time `timestamp` (datetime64[us, UTC], ascending, unique) with float64 columns open, high,
            low, close, volume, and trade_count (Int64; NA: unknown) and source (category), perhaps is_forming (bool).
            `attrs` has symbol, timeframe, complete_from and complete_until.
        """
        # A copy takes a fifth of the time, and is worth keeping something for from the second time on.
        is_again, frame = with_forming in self._frames, self._frames.get(with_forming)
        if frame is None:
            frame = self._made_frame(with_forming=with_forming)
            self._frames[with_forming] = frame if is_again else None
        return frame.copy() if is_again else frame

    def _made_frame(self, *, with_forming: bool) -> pd.DataFrame:
        counts = self.trade_count
        data: dict[str, Any] = {name: getattr(self, name) for name in _NAMES} | {
            "trade_count": pd.arrays.IntegerArray(counts.copy(), counts == UNKNOWN_COUNT),
            "source": pd.Categorical.from_codes(self.sources, dtype=_CATEGORIES),
        }
        if with_forming:
            data["is_forming"] = self.is_forming
        index = pd.DatetimeIndex(self.timestamps, tz="UTC", name="timestamp")
        frame = pd.DataFrame(data, index=index)
        frame.attrs = {
            "symbol": self.symbol,
            "timeframe": self.timeframe.label,
            "complete_from": self.complete_from,
            "complete_until": self.complete_until,
        }
        return frame


def candle_arrays(
    symbol: str, timeframe: Timeframe, series: CandleSeries, selected: Selection
) -> CandleArrays:
    """Return the candles of a selection, as copies."""
    more = [(row._replace(origin=Origin.FORMING).ints, row.floats) for row in selected.not_closed]
    ints, floats = series.ring.copied(selected.begin, selected.end, more)
    opened, high, low, close, volume = floats
    return CandleArrays(
        symbol,
        timeframe,
        *_complete(selected),
        ints[TIME].view("datetime64[us]"),
        opened,
        high,
        low,
        close,
        volume,
        ints[COUNT],
        ints[ORIGIN],
    )


def _complete(selected: Selection) -> tuple[datetime | None, datetime | None]:
    start, end = selected.complete_from, selected.complete_until
    if AFTER_ALL_US in (start, end):
        return None, None
    return _FIRST if start == BEFORE_ALL_US else moment(start), moment(end)
