"""Parquet caches as the existing system leaves them, made of real candles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

import datalayer

_MONTH = Path(datalayer.__file__).parent / "demo/data/binance_spot_BTCUSDT_1m_202408.parquet"


def real_candles(start: int = 0, stop: int = 5_000) -> pd.DataFrame:
    """Real BTC/USDT 1m candles of August 2024, indexed by open time in UTC."""
    frame = pd.read_parquet(_MONTH)
    if "timestamp" in frame.columns:
        frame = frame.set_index("timestamp")
    frame.index = frame.index.as_unit("us")  # type: ignore[attr-defined]  # as all that is stored
    return frame.iloc[start:stop][["open", "high", "low", "close", "volume"]]


def spelled(frame: pd.DataFrame, spelling: str) -> pa.Table:
    """Return candles with their times in another spelling: a unit, `naive UNIT`, `int UNIT`, `float UNIT`, `index`."""
    kind, _, unit = spelling.rpartition(" ")
    if spelling == "index":
        return pa.Table.from_pandas(frame)
    table = pa.Table.from_pandas(frame.reset_index(drop=True), preserve_index=False)
    counts = frame.index.as_unit(unit).asi8  # type: ignore[attr-defined]
    if kind in {"int", "float"}:
        times = pa.array(counts if kind == "int" else counts.astype(np.float64))
    else:
        times = pa.array(counts).cast(pa.timestamp(unit, None if kind == "naive" else "UTC"))
    return table.add_column(0, "timestamp", times)


def write_file(path: Path, table: pa.Table | pd.DataFrame, **options: Any) -> Path:
    """Write a Parquet file, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = spelled(table, "us") if isinstance(table, pd.DataFrame) else table
    pq.write_table(whole, path, **options)
    return path
