"""Candles of one second from trades.

Trades of one second become a candle: open is the first and close the last by (time, trade id), since many trades share a
millisecond and only the id orders them; volume is the sum in integer steps, so it is exact. The order of the input has
no influence, and a trade that comes twice (same time and id) counts once: trades that came late are aggregated together
with all others of their second and correct its candle.

A second without a trade has no candle. The market was silent then, and a made-up candle would look like one that was
observed; whoever needs a gapless grid fills it knowingly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from datalayer.errors import InvalidInputError, ScaleError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_INT64_MAX: Final = float(np.iinfo(np.int64).max)
_SECOND_US: Final = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class TradeColumns:
    """Trades of one instrument by columns, in any order.

    Attributes:
        timestamps: datetime64[us], UTC.
        trade_ids: int64.
        prices: int64, in the instrument's price steps (or any other fixed step).
        sizes: int64, in size steps.
        sides: int8, who took liquidity: 1 buyer, -1 seller, 0 unknown.
    """

    timestamps: NDArray[np.datetime64]
    trade_ids: NDArray[np.int64]
    prices: NDArray[np.int64]
    sizes: NDArray[np.int64]
    sides: NDArray[np.int8]

    def __post_init__(self) -> None:
        """Refuse columns of different lengths."""
        rows = len(self.timestamps)
        for field in ("trade_ids", "prices", "sizes", "sides"):
            if len(getattr(self, field)) != rows:
                raise InvalidInputError(
                    field, len(getattr(self, field)), f"must have {rows} rows, as timestamps has"
                )

    def __len__(self) -> int:
        return len(self.timestamps)


@dataclass(frozen=True, slots=True, eq=False)
class CandleColumns:
    """Candles of one second by columns, ascending; prices and volumes in the steps of the trades.

    Attributes:
        timestamps: open times, datetime64[us], UTC, on whole seconds; seconds without a trade are absent.
        open: int64, as are high, low, close, volume and trade_count.
    """

    timestamps: NDArray[np.datetime64]
    open: NDArray[np.int64]
    high: NDArray[np.int64]
    low: NDArray[np.int64]
    close: NDArray[np.int64]
    volume: NDArray[np.int64]
    trade_count: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.timestamps)


def aggregate_trades(trades: TradeColumns) -> CandleColumns:
    """Build the 1s candles of some trades.

    Args:
        trades: all known trades of each second in question; in any order, repetitions are counted once.

    Returns:
        One candle for each second that has a trade, covering `[second, second + 1s)`.

    Raises:
        InvalidInputError: two trades of the same time and id differ, so one of them must be wrong.
        ScaleError: the volume of a second does not fit into 64 bits at this step.
    """
    order = _unique_order(trades)
    times_us = trades.timestamps[order].astype("datetime64[us]").astype(np.int64)
    seconds = times_us // _SECOND_US
    first = np.flatnonzero(np.diff(seconds, prepend=seconds[:1] - 1))
    if not len(first):
        empty = np.empty(0, np.int64)
        return CandleColumns(empty.astype("datetime64[us]"), *[empty] * 6)
    last = np.append(first[1:], len(order)) - 1
    prices, sizes = trades.prices[order], trades.sizes[order]
    return CandleColumns(
        timestamps=(seconds[first] * _SECOND_US).astype("datetime64[us]"),
        open=prices[first],
        high=np.maximum.reduceat(prices, first),
        low=np.minimum.reduceat(prices, first),
        close=prices[last],
        volume=_exact_sums(sizes, first),
        trade_count=last - first + 1,
    )


def candle_frame(candles: CandleColumns, *, price_step: int, size_step: int) -> pd.DataFrame:
    """Return candles as a frame of float64, each value the double nearest to the exact decimal.

    Args:
        candles: in integer steps.
        price_step: steps in a price of 1, such as 10**8 for counts of 1e-8.
        size_step: steps in a size of 1.

    Returns:
        Index `timestamp` (UTC, microseconds, ascending, unique); open, high, low, close, volume float64;
        trade_count Int64.
    """
    return pd.DataFrame(
        {name: getattr(candles, name) / price_step for name in ("open", "high", "low", "close")}
        | {"volume": candles.volume / size_step, "trade_count": pd.array(candles.trade_count, dtype="Int64")},
        index=pd.DatetimeIndex(candles.timestamps, name="timestamp").tz_localize("UTC"),
    )


def trade_frame(trades: TradeColumns, *, price_step: int, size_step: int) -> pd.DataFrame:
    """Return trades as a frame, in the order given; prices and sizes are the doubles nearest to the exact decimals.

    Args:
        trades: in integer steps.
        price_step: steps in a price of 1.
        size_step: steps in a size of 1.

    Returns:
        Index `timestamp` (UTC, microseconds, may repeat); trade_id int64, price and size float64, side int8.
    """
    return pd.DataFrame(
        {
            "trade_id": trades.trade_ids,
            "price": trades.prices / price_step,
            "size": trades.sizes / size_step,
            "side": trades.sides,
        },
        index=pd.DatetimeIndex(trades.timestamps, name="timestamp").tz_localize("UTC"),
    )


def _unique_order(trades: TradeColumns) -> NDArray[np.intp]:
    order = np.lexsort((trades.trade_ids, trades.timestamps))
    times, ids = trades.timestamps[order], trades.trade_ids[order]
    repeated = (times[1:] == times[:-1]) & (ids[1:] == ids[:-1])
    for field in ("prices", "sizes", "sides"):
        values = getattr(trades, field)[order]
        differs = repeated & (values[1:] != values[:-1])
        if differs.any():
            row = int(np.argmax(differs))
            pair = values[row : row + 2].tolist()
            raise InvalidInputError(
                field, pair, f"two trades of {times[row]} with id {ids[row]} differ; keep the right one"
            )
    return order[np.append(True, ~repeated)] if len(order) else order


def _exact_sums(sizes: NDArray[np.int64], first: NDArray[np.intp]) -> NDArray[np.int64]:
    # int64 wraps around in silence; a sum in doubles is off by far too little to miss that.
    if np.add.reduceat(sizes.astype(np.float64), first).max() >= _INT64_MAX:
        raise ScaleError("volume", float(sizes.sum(dtype=np.float64)), "give the sizes in larger steps")
    return np.add.reduceat(sizes, first)
