"""Trades and imbalances as DataFrames, with the columns and dtypes of the repositories."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from datalayer.cache.trade_series import PRICE, SIDE, SIZE, TIME, TRADE_ID
from datalayer.domain.order_book_frame import IMBALANCES

if TYPE_CHECKING:
    from numpy.typing import NDArray


def trade_frame(ints: NDArray[np.int64], floats: NDArray[np.float64]) -> pd.DataFrame:
    """Return trades as `TradeRepository.query_trades` does."""
    data = {
        "trade_id": ints[TRADE_ID],
        "price": floats[PRICE],
        "size": floats[SIZE],
        "side": ints[SIDE].astype(np.int8),
    }
    return pd.DataFrame(data, index=_times(ints[TIME]))


def imbalance_frame(ints: NDArray[np.int64], floats: NDArray[np.float64]) -> pd.DataFrame:
    """Return imbalances as `ImbalanceRepository.query_orderbook_imbalances` does."""
    return pd.DataFrame(dict(zip(IMBALANCES, floats, strict=True)), index=_times(ints[0]))


def _times(times_us: NDArray[np.int64]) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(times_us.view("datetime64[us]"), tz="UTC", name="timestamp")
