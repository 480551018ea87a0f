"""The real market data that ships with the demo; see `data/SOURCES.md`."""

from __future__ import annotations

import io
import lzma
from decimal import Decimal
from importlib import resources
from typing import Final

import pandas as pd
import pyarrow.parquet as pq

SYMBOL: Final = "BTC/USDT"

_DATA: Final = resources.files("datalayer.demo") / "data"
_RECORDINGS: Final = ("spot_btcusdt_20240808.xz", "spot_btcusdt_20240809.xz")
_OFFICIAL_FIELDS: Final = {"open": 1, "high": 2, "low": 3, "close": 4, "volume": 5, "trade_count": 8}


def load_month() -> pd.DataFrame:
    """Return the 1m candles of August 2024.

    Returns:
        44,640 rows; index `timestamp` (UTC, ascending, unique); open, high, low, close, volume float64.
    """
    table = pq.read_table(io.BytesIO((_DATA / "binance_spot_BTCUSDT_1m_202408.parquet").read_bytes()))
    frame: pd.DataFrame = table.to_pandas()
    return frame.set_index("timestamp")


def load_official_minutes() -> pd.DataFrame:
    """Return the exchange's own candles of the ten full minutes of the recording.

    Returns:
        Index `timestamp` (UTC, ascending, unique); open, high, low, close, volume as `Decimal` objects with the digits
        as published; trade_count int.
    """
    lines = (_DATA / "binance_spot_BTCUSDT_1m_official_10_minutes.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines]
    index = pd.to_datetime([int(row[0]) for row in rows], unit="ms", utc=True).rename("timestamp")
    frame = pd.DataFrame(
        {name: [Decimal(row[place]) for row in rows] for name, place in _OFFICIAL_FIELDS.items()}, index=index
    )
    return frame.assign(trade_count=frame["trade_count"].astype(int))


def load_recording() -> list[bytes]:
    """Return the lines of the raw WebSocket recording, in order: `receive_time_ns json`."""
    parts = [lzma.decompress((_DATA / name).read_bytes()) for name in _RECORDINGS]
    return [line for part in parts for line in part.splitlines()]
