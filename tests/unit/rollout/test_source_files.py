"""Files of a cache: found or told apart, and read in any spelling, order and size of pieces."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from datalayer.errors import InvalidInputError
from datalayer.rollout.discovery import discover
from datalayer.rollout.source_file import read_pieces, scan_file
from datalayer.rollout.source_times import utc_times
from tests.cache_folders import real_candles, spelled, write_file

if TYPE_CHECKING:
    from pathlib import Path

SPELLINGS = [
    *("s", "ms", "us", "ns", "naive ms", "naive us", "naive ns", "int s", "int ms", "int us", "int ns"),
    *("float s", "float ms", "index"),
]


def read_back(folder: Path, rows_per_piece: int) -> tuple[list[int], pd.DataFrame]:
    (found,) = discover(folder).files
    scan = scan_file(found, UTC, rows_per_piece)
    pieces = list(read_pieces(found, scan, set(range(scan.pieces)), UTC, rows_per_piece))
    frames = [pd.DataFrame(raw).set_index("ts") for _, raw in pieces]
    return [number for number, _ in pieces], pd.concat(frames)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_time_is_the_same_moment(tmp_path: Path, spelling: str) -> None:
    candles = real_candles(0, 300)
    write_file(tmp_path / "BTCUSDT_1m.parquet", spelled(candles, spelling))
    numbers, frame = read_back(tmp_path, 100)
    assert numbers == [0, 1, 2]
    assert (frame.index == candles.index).all()
    assert np.array_equal(frame["close"], candles["close"])


def test_a_column_that_changes_from_milliseconds_to_microseconds(tmp_path: Path) -> None:
    candles = real_candles(0, 300)
    counts = candles.index.as_unit("us").asi8.copy()
    counts[:150] //= 1_000
    table = spelled(candles, "int us").set_column(0, "open_time", pa.array(counts))
    write_file(tmp_path / "BTCUSDT_1m.parquet", table)
    (found,) = discover(tmp_path).files
    assert scan_file(found, UTC).spelling == "numbers: ms, us"
    assert (read_back(tmp_path, 100)[1].index == candles.index).all()


def test_naive_times_are_in_the_timezone_that_is_said() -> None:
    naive = pa.array([pd.Timestamp("2024-08-01 02:00")], pa.timestamp("ms"))
    assert utc_times(naive, ZoneInfo("Europe/Berlin"))[0] == pd.Timestamp("2024-08-01 00:00", tz="UTC")
    twice = pa.array([pd.Timestamp("2024-10-27 02:30")], pa.timestamp("ms"))
    with pytest.raises(InvalidInputError, match="not one of this timezone"):
        utc_times(twice, ZoneInfo("Europe/Berlin"))


@pytest.mark.parametrize("seed", range(5))
def test_pieces_of_a_file_in_any_order_hold_every_row_once_and_ascend(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    candles = real_candles(0, 1_000)
    rows = random.permutation(np.r_[0:1_000, random.integers(0, 1_000, 200)])
    write_file(tmp_path / "BTCUSDT_1m.parquet", candles.iloc[rows], row_group_size=170)
    (found,) = discover(tmp_path).files
    scan = scan_file(found, UTC, 128)
    assert (scan.rows, scan.repeats, scan.is_ordered) == (1_200, 200, False)
    last, total = -1, 0
    for _, raw in read_pieces(found, scan, set(range(scan.pieces)), UTC, 128):
        assert raw["ts"].asi8.min() > last
        last, total = raw["ts"].asi8.max(), total + len(raw["ts"])
    assert total == 1_200


def test_rows_of_one_time_are_in_one_piece(tmp_path: Path) -> None:
    times = np.repeat(real_candles(0, 4).index, [90, 50, 120, 40])
    repeated = real_candles(0, 300).set_axis(times)
    write_file(tmp_path / "BTCUSDT_1m.parquet", repeated)
    (found,) = discover(tmp_path).files
    scan = scan_file(found, UTC, 100)
    sizes = [len(raw["ts"]) for _, raw in read_pieces(found, scan, {0, 1, 2, 3}, UTC, 100)]
    assert sizes == [90, 50, 160]


def test_gaps_and_ends_are_told(tmp_path: Path) -> None:
    candles = real_candles(0, 100)
    write_file(tmp_path / "BTCUSDT_1m.parquet", candles.drop(candles.index[10:40]).drop(candles.index[50]))
    (found,) = discover(tmp_path).files
    scan = scan_file(found, UTC)
    assert (scan.first, scan.last, scan.missing) == (candles.index[0], candles.index[-1], 31)
    assert scan.longest_gaps[0] == (candles.index[9], candles.index[40])


def test_what_cannot_be_migrated_is_listed_with_the_reason(tmp_path: Path) -> None:
    whole = write_file(tmp_path / "BTCUSDT_1m.parquet", real_candles(0, 50)).read_bytes()
    (tmp_path / "BTCUSDT_5m.parquet").write_bytes(b"")
    (tmp_path / "BTCUSDT_1h.parquet").write_bytes(whole[:-100])
    (tmp_path / "BTCUSDT_4h.parquet").write_bytes(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    )
    (tmp_path / "BTCUSDT_1d.parquet").write_bytes(b"hello" * 10)
    (tmp_path / "BTCUSDT_15m.parquet").write_bytes(whole[:4] + b"\0" * 200 + whole[-8:])
    (tmp_path / "ETHUSDT_1m.parquet.tmp").write_bytes(whole)
    (tmp_path / "ETHUSDT_1m.csv").write_text("1,2,3")
    (tmp_path / ".hidden.parquet").write_bytes(b"")
    write_file(tmp_path / "ETHUSDT_5m.parquet", real_candles(0, 0))
    write_file(
        tmp_path / "ETHUSDT_1h.parquet", spelled(real_candles(0, 5), "us").drop(["close", "timestamp"])
    )
    write_file(
        tmp_path / "ETHUSDT_trades.parquet",
        pa.table({"ts": [1], "price": [1.0], "size": [1.0], "side": ["buy"], "trade_id": pa.nulls(1)}),
    )
    found = discover(tmp_path)
    assert [file.name for file in found.files] == ["BTCUSDT_1m.parquet"]
    reasons = {refused.name: refused.reason for refused in found.not_understood}
    wanted = {
        "BTCUSDT_5m.parquet": "empty",
        "BTCUSDT_1h.parquet": "truncated",
        "BTCUSDT_4h.parquet": "git lfs pull",
        "BTCUSDT_1d.parquet": "does not begin",
        "BTCUSDT_15m.parquet": "",
        "ETHUSDT_1m.parquet.tmp": "unfinished",
        "ETHUSDT_1m.csv": "no Parquet file by its name",
        "ETHUSDT_5m.parquet": "no rows",
        "ETHUSDT_1h.parquet": "no column timestamp, close",
        "ETHUSDT_trades.parquet": "no trade ids",
    }
    assert reasons.keys() == wanted.keys()
    assert {name for name, text in wanted.items() if text not in reasons[name]} == set()


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="is no folder"):
        discover(tmp_path / "absent")
