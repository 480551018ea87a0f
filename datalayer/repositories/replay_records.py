"""Rows of a batch as records, some at a time: few objects are alive at once, which keeps the collector of garbage quiet."""

from __future__ import annotations

from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import numpy as np
import pandas as pd

from datalayer.domain.candle import Candle
from datalayer.domain.order_book import UNKNOWN_UPDATE_ID, OrderBook
from datalayer.domain.replay_event import ReplayEvent
from datalayer.domain.trade import Side, Trade

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from numpy.typing import NDArray

    from datalayer.domain.order_book import OrderBookColumns
    from datalayer.domain.replay_event import ReplayKind
    from datalayer.domain.timeframe import Timeframe

Batch_contra = TypeVar("Batch_contra", contravariant=True)

_UNKNOWN: Final = -1
_SIDES: Final = {side.value: side for side in Side}
_event: Final = partial(tuple.__new__, ReplayEvent)


class Records(Protocol[Batch_contra]):
    """How the batches of one stream become events."""

    def visible_us(self, batch: Batch_contra) -> NDArray[np.int64]:
        """Return when each row becomes visible, in microseconds since 1970."""

    def events(self, batch: Batch_contra, rows: slice) -> list[ReplayEvent]:
        """Return some of the rows as events."""


class CandleRecords:
    """Candles of one symbol and timeframe, from frames of `query_ohlcv_data`."""

    def __init__(self, symbol: str, timeframe: Timeframe) -> None:
        self._symbol, self._timeframe = symbol, timeframe

    def visible_us(self, batch: pd.DataFrame) -> NDArray[np.int64]:
        """Return when each candle closes."""
        return _us(batch.index) + self._timeframe.value * 1_000_000

    def events(self, batch: pd.DataFrame, rows: slice) -> list[ReplayEvent]:
        """Return some of the candles as events."""
        frame = batch.iloc[rows]
        counts = frame["trade_count"].to_numpy(dtype=np.int64, na_value=_UNKNOWN).tolist()
        candles = map(
            Candle,
            repeat(self._symbol),
            repeat(self._timeframe),
            _datetimes(frame.index),
            *(frame[name].tolist() for name in ("open", "high", "low", "close", "volume")),
            (None if count == _UNKNOWN else count for count in counts),
        )
        return _events(_datetimes(frame.index + self._timeframe.length), self._symbol, "candle", candles)


class TradeRecords:
    """Trades of one symbol, from frames of `query_trades`."""

    def __init__(self, symbol: str) -> None:
        self._symbol = symbol

    def visible_us(self, batch: pd.DataFrame) -> NDArray[np.int64]:
        """Return the time of each trade."""
        return _us(batch.index)

    def events(self, batch: pd.DataFrame, rows: slice) -> list[ReplayEvent]:
        """Return some of the trades as events."""
        frame = batch.iloc[rows]
        times = _datetimes(frame.index)
        values = (frame[name].tolist() for name in ("trade_id", "price", "size"))
        sides = map(_SIDES.__getitem__, frame["side"].tolist())
        return _events(times, self._symbol, "trade", map(Trade, repeat(self._symbol), times, *values, sides))


class BookRecords:
    """Order books of one symbol."""

    def __init__(self, symbol: str) -> None:
        self._symbol = symbol

    def visible_us(self, batch: OrderBookColumns) -> NDArray[np.int64]:
        """Return the time of each snapshot."""
        return batch.timestamps.view(np.int64)

    def events(self, batch: OrderBookColumns, rows: slice) -> list[ReplayEvent]:
        """Return some of the snapshots as events."""
        times = _datetimes(pd.DatetimeIndex(batch.timestamps[rows], tz="UTC"))
        update_ids = [None if n == UNKNOWN_UPDATE_ID else n for n in batch.last_update_ids[rows].tolist()]
        levels = [
            _levels(getattr(batch, f"{side}_{what}")[rows], getattr(batch, f"{side}_prices")[rows])
            for side in ("bid", "ask")
            for what in ("prices", "sizes")
        ]
        books = map(OrderBook, repeat(self._symbol), times, *levels, update_ids)
        return _events(times, self._symbol, "order_book", books)


def _levels(values: NDArray[np.float64], prices: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return the levels of each row without the padding at its end."""
    counts = (~np.isnan(prices)).sum(axis=1).tolist()
    return [row[:count] for row, count in zip(values, counts, strict=True)]


def _us(index: pd.Index[Any]) -> NDArray[np.int64]:
    return pd.DatetimeIndex(index).as_unit("us").asi8


def _datetimes(index: pd.Index[Any]) -> list[datetime]:
    times: list[datetime] = pd.DatetimeIndex(index).to_pydatetime().tolist()
    return times


def _events(
    times: list[datetime], symbol: str, kind: ReplayKind, records: Iterable[Any]
) -> list[ReplayEvent]:
    return list(map(_event, zip(times, repeat(symbol), repeat(kind), records, strict=False)))
