"""The order books and trades that were rebuilt from the real captures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from datalayer.domain.order_book import OrderBookColumns
from tests.market_files import market_frame

if TYPE_CHECKING:
    import pandas as pd

SIDES = {"buy": 1, "sell": -1}


def capture_books(pair: str) -> OrderBookColumns:
    """Return the 1,301 top-20 books of a pair, 500 ms apart."""
    frame = market_frame(f"orderbook/binance_spot_{pair}_top20_500ms_20240808-09.parquet")
    levels = {name: np.stack(frame[name].to_list()) for name in OrderBookColumns.__slots__[1:5]}
    times = frame.index.tz_localize(None).to_numpy()  # type: ignore[attr-defined]
    return OrderBookColumns(timestamps=times, **levels, last_update_ids=frame["update_id"].to_numpy())


def capture_trades(pair: str) -> pd.DataFrame:
    """Return the trades of a pair, as `insert_trades` takes them."""
    frame = market_frame(f"trades/binance_spot_{pair}_20240808-09.parquet")
    frame["side"] = frame["side"].map(SIDES).astype(np.int8)
    return frame[["trade_id", "price", "size", "side"]]
