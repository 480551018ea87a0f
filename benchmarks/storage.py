"""Bytes a row: TimescaleDB compressed beside Parquet with zstd, DuckDB and ArcticDB, of the same real rows.

    DATALAYER_TEST_URL=postgresql+asyncpg://… python -m benchmarks.storage [--copies N] [--quick]

Candles are the year 2024 of BTC/USDT 1m; trades and top-20 books are eleven recorded minutes, `--copies` times one after the other,
each copy with prices and sizes some steps higher, so that none repeats another. *Steps* are the columns as the table has them,
whole numbers; *floats* are what one keeps without a database: times, prices and sizes as float64, nothing derived. Sizes of the database are those
of its compressed chunks, with indexes and TOAST; *as written* is what the same chunks took before.

Predictions, written down before the first run. Saved: candles 84 %, trades 92 %, books 50 %. Bytes a row, and of Parquet's steps at
zstd level 3: candles 18.6 and 19, trades 8 and 11, books 400 and 150.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import text

from benchmarks.harness import SYMBOL, YEAR_2024, benchmark_engine, candles
from datalayer.domain.order_book import OrderBookColumns
from datalayer.ingestion import load_candles
from datalayer.repositories import OrderBookRepository, TradeRepository
from datalayer.timescale import compress_chunks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from numpy.typing import NDArray
    from sqlalchemy.ext.asyncio import AsyncEngine

SHARED = YEAR_2024.parents[1]
TRADES = SHARED / "trades/binance_spot_BTCUSDT_20240808-09.parquet"
BOOKS = SHARED / "orderbook/binance_spot_BTCUSDT_top20_500ms_20240808-09.parquet"
LEVELS = (1, 3, 9, 19)
PRICE_STEP, SIZE_STEP = 0.01, 0.000001  # of the instrument that the harness registers
SIDES = ("bid_prices", "bid_sizes", "ask_prices", "ask_sizes")
ROWS_PER_WRITE = 100_000


def shifted(times: NDArray[np.int64], copies: int) -> NDArray[np.int64]:
    """Return times in microseconds, so many times one after the other."""
    length = times[-1] - times[0] + 500_000
    return np.concatenate([times + n * length for n in range(copies)])


def real_trades(copies: int) -> pd.DataFrame:
    frame = pd.read_parquet(TRADES)
    times = frame["timestamp"].astype("datetime64[us, UTC]").astype("int64").to_numpy()
    parts = [
        frame.assign(
            trade_id=frame["trade_id"] + n * len(frame),
            price=(frame["price"] + n * 7 * PRICE_STEP).round(2),
            size=(frame["size"] + n * 30 * SIZE_STEP).round(6),
        )
        for n in range(copies)
    ]
    whole = pd.concat(parts)[["trade_id", "price", "size", "side"]]
    whole["side"] = whole["side"].map({"buy": 1, "sell": -1}).astype(np.int8)
    return whole.set_axis(pd.to_datetime(shifted(times, copies), unit="us", utc=True))


def real_books(copies: int) -> OrderBookColumns:
    frame = pd.read_parquet(BOOKS)
    times = frame["timestamp"].astype("datetime64[us, UTC]").astype("int64").to_numpy()
    sides = {name: np.stack(frame[name].to_list()) for name in SIDES}
    step = {name: 7 * PRICE_STEP if "price" in name else 30 * SIZE_STEP for name in SIDES}
    levels = {
        name: np.concatenate([values + n * step[name] for n in range(copies)]).round(
            2 if "price" in name else 6
        )
        for name, values in sides.items()
    }
    ids = frame["update_id"].to_numpy()
    updates = np.concatenate([ids + n * (ids[-1] - ids[0] + 1) for n in range(copies)])
    return OrderBookColumns(
        timestamps=shifted(times, copies).astype("datetime64[us]"), **levels, last_update_ids=updates
    )


def steps(values: Any, step: float) -> NDArray[np.int64]:
    return np.rint(np.asarray(values) / step).astype(np.int64)


def candle_columns(frame: pd.DataFrame) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the columns as steps, and as floats."""
    times = frame.index.tz_localize(None).to_numpy().astype("datetime64[us]")  # type: ignore[attr-defined]
    prices = ("open", "high", "low", "close")
    floats = {"ts": times, **{name: frame[name].to_numpy() for name in (*prices, "volume")}}
    exact = {name: steps(frame[name], PRICE_STEP) for name in prices}
    same = {"timeframe": np.full(len(frame), 60, np.int32), "instrument_id": np.ones(len(frame), np.int16)}
    return {"ts": times, **exact, "volume": steps(frame["volume"], SIZE_STEP), **same}, floats


def trade_columns(frame: pd.DataFrame) -> tuple[dict[str, Any], dict[str, Any]]:
    times = frame.index.tz_localize(None).to_numpy().astype("datetime64[us]")  # type: ignore[attr-defined]
    floats = {"ts": times, **{name: frame[name].to_numpy() for name in frame.columns}}
    exact = {"price": steps(frame["price"], PRICE_STEP), "size": steps(frame["size"], SIZE_STEP)}
    return floats | exact | {"instrument_id": np.ones(len(frame), np.int16)}, floats


def book_columns(books: OrderBookColumns) -> tuple[dict[str, Any], dict[str, Any]]:
    values = {name: getattr(books, name) for name in SIDES}
    exact = {name: steps(side, PRICE_STEP if "price" in name else SIZE_STEP) for name, side in values.items()}
    best = {"best_bid": exact["bid_prices"][:, 0], "best_ask": exact["ask_prices"][:, 0]}
    sums = {"bid_volume": exact["bid_sizes"].sum(axis=1), "ask_volume": exact["ask_sizes"].sum(axis=1)}
    common = {"ts": books.timestamps, "last_update_id": books.last_update_ids}
    ids = {"instrument_id": np.ones(len(books.timestamps), np.int16)}
    return common | _lists(exact) | best | sums | ids, common | _lists(values)


def _lists(sides: dict[str, NDArray[Any]]) -> dict[str, pa.ListArray]:
    return {
        name: pa.ListArray.from_arrays(
            pa.array(np.arange(0, side.size + 1, side.shape[1], np.int32)), pa.array(side.ravel())
        )
        for name, side in sides.items()
    }


def parquet(columns: dict[str, Any], level: int) -> int:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, compression="zstd", compression_level=level)
    return int(sink.getvalue().size)


def duckdb_bytes(columns: dict[str, Any], folder: Path) -> int:
    import duckdb  # noqa: PLC0415 (of the group bench)

    file = folder / "rows.duckdb"
    with duckdb.connect(file) as connection:
        connection.register("given", pa.table(columns))
        connection.execute("CREATE TABLE stored AS SELECT * FROM given")
        connection.execute("CHECKPOINT")
    return file.stat().st_size


def arcticdb_bytes(columns: dict[str, Any], folder: Path) -> int | None:
    import arcticdb  # noqa: PLC0415 (of the group bench)

    if any(isinstance(column, pa.ListArray) for column in columns.values()):
        return None  # it has no lists
    store = folder / "arctic"
    library = arcticdb.Arctic(f"lmdb://{store}").get_library("bench", create_if_missing=True)
    frame = pd.DataFrame({name: column for name, column in columns.items() if name != "ts"})
    library.write("rows", frame.set_axis(pd.DatetimeIndex(columns["ts"]).as_unit("ns")))
    return sum(file.stat().st_blocks * 512 for file in store.rglob("*.mdb"))


def sizes(columns: tuple[dict[str, Any], dict[str, Any]]) -> Iterator[tuple[str, int | None]]:
    for name, values in zip(("steps", "floats"), columns, strict=True):
        for level in LEVELS:
            yield f"Parquet, {name}, zstd {level}", parquet(values, level)
        if importlib.util.find_spec("duckdb"):
            with tempfile.TemporaryDirectory() as folder:
                yield f"DuckDB, {name}", duckdb_bytes(values, Path(folder))
        if importlib.util.find_spec("arcticdb"):
            with tempfile.TemporaryDirectory() as folder:
                yield f"ArcticDB, {name}", arcticdb_bytes(values, Path(folder))


async def store(
    engine: AsyncEngine, year: pd.DataFrame, trades: pd.DataFrame, books: OrderBookColumns
) -> None:
    if os.environ.get("DATALAYER_TEST_URL"):  # policies would compress what is still being written
        async with engine.begin() as conn:
            await conn.execute(text("SELECT _timescaledb_functions.stop_background_workers()"))
    await load_candles(engine, SYMBOL, "1m", year)
    for start in range(0, len(trades), ROWS_PER_WRITE):
        async with engine.begin() as conn:
            await TradeRepository(conn).insert_trades(SYMBOL, trades.iloc[start : start + ROWS_PER_WRITE])
    async with engine.begin() as conn:
        await OrderBookRepository(conn).insert_order_books(SYMBOL, books)


@asynccontextmanager
async def stored_tables(
    copies: int, candle_rows: int
) -> AsyncIterator[tuple[AsyncEngine, dict[str, tuple[dict[str, Any], dict[str, Any]]]]]:
    """A database with real rows, and the same as columns of steps and of floats, by table."""
    year, trades, books = candles(candle_rows), real_trades(copies), real_books(copies)
    async with benchmark_engine() as engine:
        await store(engine, year, trades, books)
        yield (
            engine,
            {
                "candles": candle_columns(year),
                "trades": trade_columns(trades),
                "order_books": book_columns(books),
            },
        )


async def main(copies: int, candle_rows: int) -> None:
    found: dict[str, dict[str, float | None]] = {}
    async with stored_tables(copies, candle_rows) as (engine, columns):
        for table, of in columns.items():
            rows = len(of[0]["ts"])
            compressed = await compress_chunks(engine, table)
            ways: dict[str, int | None] = {
                "as written": compressed.bytes_before,
                "**compressed**": compressed.bytes_after,
                **dict(sizes(of)),
            }
            print(f"{table}: {rows:,} rows, {compressed.saved:.1%} saved")
            found[table] = {way: None if size is None else size / rows for way, size in ways.items()}
    print_table(found)


def print_table(found: dict[str, dict[str, float | None]]) -> None:
    print("\n| bytes a row (compressed = 1) | " + " | ".join(found) + " |\n|---|" + "---:|" * len(found))
    for way in next(iter(found.values())):
        cells = []
        for ways in found.values():
            size, ours = ways[way], ways["**compressed**"]
            cells.append("" if size is None or ours is None else f"{size:.1f} ({size / ours:.2f})")
        print(f"| {way} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--copies", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="a month of candles and one copy")
    chosen = parser.parse_args()
    asyncio.run(main(1 if chosen.quick else chosen.copies, 43_200 if chosen.quick else 527_040))
