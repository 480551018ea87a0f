"""Candles in Parquet: read as the database reads them, written so that a file is whole at any moment."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from datalayer.domain.timeframe import Timeframe
from datalayer.rollout.parquet_candles import VALUES, ParquetCandles, same_rows
from tests.cache_folders import real_candles, spelled, write_file

if TYPE_CHECKING:
    from pathlib import Path


def test_ranges_limits_and_what_was_closed(tmp_path: Path) -> None:
    candles = real_candles(0, 500)
    write_file(tmp_path / "BTCUSDT_1m_a.parquet", spelled(candles.iloc[:300], "naive ms"))
    write_file(tmp_path / "BTCUSDT/1m.parquet", spelled(candles.iloc[250:], "int us"))
    write_file(tmp_path / "BTCUSDT_1h.parquet", candles.iloc[:1])
    parquet = ParquetCandles(tmp_path)
    whole = parquet.query_ohlcv_data("BTC-USDT", "1m")
    assert (whole.index == candles.index).all()
    assert np.array_equal(whole[list(VALUES)], candles)
    start, end = candles.index[100].to_pydatetime(), candles.index[200].to_pydatetime()
    assert len(parquet.query_ohlcv_data("BTC/USDT", "1m", start=start, end=end)) == 100
    assert (
        parquet.query_ohlcv_data("BTC/USDT", "1m", end=end, limit=7).index == candles.index[193:200]
    ).all()
    visible = parquet.query_ohlcv_data("BTC/USDT", "1m", as_of=end + timedelta(seconds=59))
    assert visible.index[-1] == candles.index[199]
    assert parquet.list_series() == [("BTC/USDT", Timeframe.M1), ("BTC/USDT", Timeframe.H1)]
    assert parquet.query_ohlcv_data("ETH/USDT", "1m").empty


def test_writing_replaces_by_time_in_files_by_month_and_leaves_the_others(tmp_path: Path) -> None:
    candles = real_candles(0, 100)
    old = write_file(tmp_path / "BTCUSDT_1m.parquet", candles.iloc[:50]).read_bytes()
    parquet = ParquetCandles(tmp_path)
    later = candles.iloc[40:].copy()
    later.index = later.index + pd.Timedelta(days=31) - pd.Timedelta(minutes=70)  # over the end of a month
    parquet.write("BTC/USDT", Timeframe.M1, later)
    parquet.write("BTC/USDT", Timeframe.M1, later.iloc[10:20].assign(volume=1.0))
    assert sorted(path.name for path in tmp_path.glob("*.parquet")) == [
        "BTCUSDT_1m.parquet",
        "BTCUSDT_1m_live_2024-08.parquet",
        "BTCUSDT_1m_live_2024-09.parquet",
    ]
    assert (tmp_path / "BTCUSDT_1m.parquet").read_bytes() == old
    live = parquet.query_ohlcv_data("BTC/USDT", "1m", live_only=True)
    expected = later.copy()
    expected.iloc[10:20, expected.columns.get_loc("volume")] = 1.0  # type: ignore[index]
    assert np.array_equal(live[list(VALUES)], expected)


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    candles = real_candles(0, 100)
    parquet = ParquetCandles(tmp_path)
    parquet.write("BTC/USDT", Timeframe.M1, candles.iloc[:50])
    (path,) = tmp_path.glob("*.parquet")
    before = path.read_bytes()
    whole = pq.write_table

    def half(table: object, file: object) -> None:
        whole(table, file)
        file.truncate(100)  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", half)
    with pytest.raises(OSError, match="No space"):
        parquet.write("BTC/USDT", Timeframe.M1, candles.iloc[50:])
    assert [
        (entry.name, entry.read_bytes()) for entry in tmp_path.iterdir() if entry.name != ".datalayer.lock"
    ] == [(path.name, before)]


def test_comparing_finds_values_rows_and_counts(tmp_path: Path) -> None:
    write_file(tmp_path / "BTCUSDT_1m.parquet", real_candles(0, 20))
    frame = ParquetCandles(tmp_path).query_ohlcv_data("BTC/USDT", "1m")
    assert same_rows(frame, frame) == (20, 0, None)
    assert same_rows(frame, frame.drop(frame.index[3]))[:2] == (20, 1)
    other = frame.copy()
    other.iloc[5, 3] += 0.01
    rows, different, detail = same_rows(frame, other)
    assert (rows, different) == (20, 1)
    assert str(frame.index[5]) in str(detail)
    known = frame.assign(trade_count=pd.array([1] * 20, dtype="Int64"))
    assert same_rows(frame, known)[1] == 0  # unknown contradicts nothing
    assert same_rows(known, known.assign(trade_count=pd.array([2] * 20, dtype="Int64")))[1] == 20


def test_writers_in_several_processes_lose_nothing_of_each_other(tmp_path: Path) -> None:
    candles = real_candles(0, 60)
    folders = [
        ParquetCandles(tmp_path) for _ in range(3)
    ]  # the lock of each is its own, as in another process

    def write(own: int) -> None:
        for row in range(own, 60, 3):
            folders[own].write("BTC/USDT", Timeframe.M1, candles.iloc[row : row + 1])

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))
    found = ParquetCandles(tmp_path).query_ohlcv_data("BTC/USDT", "1m")
    assert np.array_equal(found[list(VALUES)], candles)


def test_a_file_that_is_replaced_is_read_anew_and_one_that_is_damaged_is_no_hole(tmp_path: Path) -> None:
    parquet = ParquetCandles(tmp_path)
    path = write_file(tmp_path / "BTCUSDT_1m.parquet", real_candles(0, 100))
    assert len(parquet.query_ohlcv_data("BTC/USDT", "1m")) == 100
    found = parquet.query_ohlcv_data("BTC/USDT", "1m")
    found["open"] = 0.0  # an answer is the caller's own
    assert (parquet.query_ohlcv_data("BTC/USDT", "1m")["open"] > 0).all()
    write_file(path, real_candles(0, 200))
    assert len(parquet.query_ohlcv_data("BTC/USDT", "1m")) == 200
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(OSError, match=r"BTCUSDT_1m\.parquet is truncated"):
        parquet.query_ohlcv_data("BTC/USDT", "1m")
    assert parquet.query_ohlcv_data("ETH/USDT", "1m").empty
