"""History at once: straight into empty ranges, and never at the cost of what is stored."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from datalayer import UnitOfWork, WriteCounts
from datalayer.db import direct_write
from datalayer.db.staged_write import write_staged
from datalayer.errors import ConflictError, DatabaseError, InvalidInputError
from datalayer.ingestion.bulk import load_candles
from datalayer.repositories import batches

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

SYMBOL = "BTC/USDT"
START = datetime(2024, 3, 1, tzinfo=UTC)
ROWS = 2_500


def candles(rows: int = ROWS, close: float = 10.5, start: datetime = START) -> pd.DataFrame:
    values = {"open": 10.0, "high": 20.0, "low": 5.0, "close": close, "volume": 1.5, "trade_count": 3}
    return pd.DataFrame(values, index=pd.date_range(start, periods=rows, freq="1min", name="timestamp"))


@pytest.fixture
async def database(engine: AsyncEngine) -> AsyncEngine:
    async with UnitOfWork(engine) as uow:
        await uow.instruments.ensure(SYMBOL, 2, 5)
        await uow.instruments.ensure("ETH/USDT", 2, 5)
        await uow.commit()
    return engine


@pytest.fixture
def staged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of the writes that went through a staging table."""
    rows: list[int] = []

    async def noted(conn: Any, target: Any, columns: Any, constants: Any) -> WriteCounts:
        rows.append(len(columns[0].data))
        return await write_staged(conn, target, columns, constants)

    monkeypatch.setattr(batches, "write_staged", noted)
    return rows


async def stored(engine: AsyncEngine, symbol: str = SYMBOL) -> pd.DataFrame:
    async with UnitOfWork(engine) as uow:
        return await uow.candles.query_ohlcv_data(symbol, "1m")


async def test_an_empty_range_goes_straight_and_a_stored_one_by_the_staging_table(
    database: AsyncEngine, staged: list[int]
) -> None:
    frame = candles()
    assert await load_candles(database, SYMBOL, "1m", frame) == WriteCounts(inserted=ROWS)
    assert staged == []
    assert await load_candles(database, SYMBOL, "1m", frame) == WriteCounts(unchanged=ROWS)
    assert staged == [ROWS]
    # Other instruments and other ranges are empty all the same.
    assert (await load_candles(database, "ETH/USDT", "1m", frame)).inserted == ROWS
    later = candles(start=START + pd.Timedelta(minutes=ROWS))
    assert (await load_candles(database, SYMBOL, "1m", later)).inserted == ROWS
    assert staged == [ROWS]
    pd.testing.assert_frame_equal(
        (await stored(database))[list(frame.columns)],
        pd.concat([frame, later]),
        check_dtype=False,
        check_freq=False,
    )


async def test_one_stored_row_in_the_range_is_enough(database: AsyncEngine, staged: list[int]) -> None:
    for place in (0, ROWS // 2, ROWS - 1):
        async with UnitOfWork(database) as uow:
            await uow.candles.upsert_candles(SYMBOL, "1m", candles(close=11.0).iloc[[place]])
            counts = await uow.candles.upsert_candles(SYMBOL, "1m", candles())
            assert counts == WriteCounts(inserted=ROWS - 1, updated=1)
            counts = await uow.candles.upsert_candles(SYMBOL, "1m", candles(), on_conflict="error")
            assert counts == WriteCounts(unchanged=ROWS)
            with pytest.raises(ConflictError):
                await uow.candles.upsert_candles(SYMBOL, "1m", candles(close=12.0), on_conflict="error")
    assert len(staged) == 12


@pytest.mark.native
async def test_a_writer_of_the_same_moment_is_met_by_the_key(
    database: AsyncEngine, staged: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody commits a row of the range after it was found empty."""
    found_empty = direct_write._is_empty

    async def overtaken(*args: Any) -> bool:
        empty = await found_empty(*args)
        monkeypatch.undo()
        async with UnitOfWork(database) as uow:
            await uow.candles.upsert_candles(SYMBOL, "1m", candles(close=11.0).iloc[[77]])
            await uow.commit()
        return empty

    monkeypatch.setattr(direct_write, "_is_empty", overtaken)
    counts = await load_candles(database, SYMBOL, "1m", candles())
    assert counts == WriteCounts(inserted=ROWS - 1, updated=1)
    assert set((await stored(database))["close"]) == {10.5}
    del staged


@pytest.mark.native
async def test_two_loads_at_once_store_each_row_once(database: AsyncEngine) -> None:
    counts = await asyncio.gather(*(load_candles(database, SYMBOL, "1m", candles()) for _ in range(3)))
    assert sum(one.inserted for one in counts) == ROWS
    assert sum(one.unchanged for one in counts) == 2 * ROWS
    assert len(await stored(database)) == ROWS


async def test_a_gap_between_compressed_candles_has_no_limit(database: AsyncEngine) -> None:
    """The key is looked for in all compressed batches around it, which TimescaleDB limits unless it is told."""
    before, after = candles(2_000), candles(2_000, start=START + pd.Timedelta(minutes=2_000 + ROWS))
    async with UnitOfWork(database) as uow:
        await uow.candles.upsert_candles(SYMBOL, "1m", pd.concat([before, after]))
        await uow.connection.exec_driver_sql("SELECT compress_chunk(c) FROM show_chunks('candles') AS c")
        await uow.connection.exec_driver_sql(
            "SET LOCAL timescaledb.max_tuples_decompressed_per_dml_transaction = 10"
        )
        gap = candles(start=START + pd.Timedelta(minutes=2_000))
        assert (await uow.candles.upsert_candles(SYMBOL, "1m", gap)).inserted == ROWS
        await uow.commit()
    assert len(await stored(database)) == 4_000 + ROWS


async def test_a_row_that_the_server_refuses_refuses_the_piece(database: AsyncEngine) -> None:
    async with UnitOfWork(database) as uow:
        await uow.connection.exec_driver_sql("ALTER TABLE candles ADD CONSTRAINT odd CHECK (volume <> 777)")
        frame = candles()
        frame.loc[frame.index[2_000], "volume"] = 0.00777
        with pytest.raises(DatabaseError, match="odd"):
            await uow.candles.upsert_candles(SYMBOL, "1m", frame)


@pytest.mark.parametrize("indexed", [True, False])
async def test_a_parquet_file_is_read_in_pieces(database: AsyncEngine, tmp_path: Path, indexed: bool) -> None:
    path, frame = tmp_path / "candles.parquet", candles()
    (frame if indexed else frame.reset_index()).to_parquet(path)
    counts = await load_candles(database, SYMBOL, "1m", path, rows_per_transaction=2_100)
    assert counts == WriteCounts(inserted=ROWS)
    found = (await stored(database))[list(frame.columns)]
    pd.testing.assert_frame_equal(found, frame, check_dtype=False, check_freq=False)
    frame.reset_index(drop=True).to_parquet(path)
    with pytest.raises(InvalidInputError, match="no column timestamp or ts"):
        await load_candles(database, SYMBOL, "1m", path)


async def test_what_is_written_before_an_error_stays_and_a_repetition_does_the_rest(
    database: AsyncEngine, tmp_path: Path
) -> None:
    path, frame = tmp_path / "candles.parquet", candles()
    frame.iloc[2_250, frame.columns.get_loc("high")] = 1.0  # type: ignore[index]
    frame.to_parquet(path)
    with pytest.raises(InvalidInputError, match="high"):
        await load_candles(database, SYMBOL, "1m", path, rows_per_transaction=500)
    assert len(await stored(database)) == 2_000
    mended = candles()
    assert await load_candles(database, SYMBOL, "1m", mended) == WriteCounts(inserted=500, unchanged=2_000)
    assert np.array_equal((await stored(database)).index, mended.index)
