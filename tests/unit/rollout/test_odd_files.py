"""Files as somebody else writes them: other types of columns, other spellings of names."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from datalayer.rollout.discovery import discover
from datalayer.rollout.parquet_candles import VALUES, ParquetCandles
from tests.cache_folders import real_candles, spelled, write_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CANDLES = real_candles(0, 200)


def with_column(name: str, values: Callable[[pa.ChunkedArray], pa.Array]) -> pa.Table:
    table = spelled(CANDLES, "us")
    return table.set_column(table.schema.get_field_index(name), name, values(table[name]))


def in_all(values: Callable[[pa.ChunkedArray], pa.Array]) -> pa.Table:
    table = spelled(CANDLES, "us")
    return pa.table(
        {name: table[name] if name == "timestamp" else values(table[name]) for name in table.column_names}
    )


ODD = {
    "decimal128": in_all(lambda column: pa.array([Decimal(repr(value.as_py())) for value in column])),
    "dictionaries": in_all(lambda column: column.dictionary_encode()),
    "texts": in_all(lambda column: column.cast(pa.string())),
    "int32 since 1970": with_column(
        "timestamp", lambda _: pa.array(CANDLES.index.as_unit("s").asi8, pa.int32())
    ),  # type: ignore[attr-defined]
    "a timezone": with_column(
        "timestamp", lambda column: column.cast(pa.timestamp("ms", "America/New_York"))
    ),
    "a dictionary of times": with_column("timestamp", lambda column: column.dictionary_encode()),
    "more columns": spelled(CANDLES, "us").append_column("rsi_14", pa.array(np.full(200, 0.5))),
    "capitals": spelled(CANDLES, "us").rename_columns([name.title() for name in ("timestamp", *VALUES)]),
}


@pytest.mark.parametrize("kind", ODD)
def test_other_types_hold_the_same_values(tmp_path: Path, kind: str) -> None:
    write_file(tmp_path / "BTCUSDT_1m.PARQUET", ODD[kind])
    found = ParquetCandles(tmp_path).query_ohlcv_data("BTC/USDT", "1m")
    assert (found.index == CANDLES.index).all()
    assert np.array_equal(found[list(VALUES)], CANDLES)


def test_32_bit_floats_are_the_shortest_decimals_that_give_them(tmp_path: Path) -> None:
    write_file(tmp_path / "BTCUSDT_1m.parquet", in_all(lambda column: column.cast(pa.float32())))
    found = ParquetCandles(tmp_path).query_ohlcv_data("BTC/USDT", "1m")
    assert np.array_equal(found["close"], CANDLES["close"])  # of seven digits
    assert np.array_equal(found["volume"].astype(np.float32), CANDLES["volume"].astype(np.float32))
    assert discover(tmp_path).files[0].layout.narrow == VALUES


def test_dates_are_the_beginning_of_their_day(tmp_path: Path) -> None:
    days = pd.date_range("2024-01-01", periods=200)
    write_file(tmp_path / "BTCUSDT_1d.parquet", with_column("timestamp", lambda _: pa.array(days.date)))
    found = ParquetCandles(tmp_path).query_ohlcv_data("BTC/USDT", "1d")
    assert (found.index == days.tz_localize("UTC")).all()


def test_of_columns_that_differ_in_case_none_is_guessed(tmp_path: Path) -> None:
    twin = spelled(CANDLES, "us").append_column("Close", pa.array(np.full(200, 1.0)))
    write_file(tmp_path / "BTCUSDT_1m.parquet", twin)
    other = spelled(CANDLES, "us").append_column("RSI", pa.nulls(200)).append_column("rsi", pa.nulls(200))
    write_file(tmp_path / "ETHUSDT_1m.parquet", other)
    found = discover(tmp_path)
    assert [file.name for file in found.files] == ["ETHUSDT_1m.parquet"]
    assert "has columns close and Close" in found.not_understood[0].reason


def test_one_instrument_in_several_spellings_is_one_series(tmp_path: Path) -> None:
    for name, first in (("BTCUSDT", 0), ("btcusdt", 50), ("BTC-USDT", 100), ("btc_usdt", 150)):
        write_file(tmp_path / f"{name}_1m.parquet", CANDLES.iloc[first : first + 60])
    found = ParquetCandles(tmp_path).query_ohlcv_data("BTC/USDT", "1m")
    assert np.array_equal(found[list(VALUES)], CANDLES)
