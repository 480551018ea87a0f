"""Rows that go straight into the table, and rows of the pipeline, leave the same dirty ranges as any other write."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pandas as pd

from datalayer import Timeframe, UnitOfWork
from datalayer.db import direct_write
from datalayer.ingestion import load_candles
from tests.integration.ingestion.market import BTC, ETH, QUICK, book, candle, pipeline
from tests.refreshing import assert_right_and_clean, dirty, refresh

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from sqlalchemy.ext.asyncio import AsyncEngine

INSTANT = timedelta(microseconds=1)
DAY = datetime(2024, 8, 8, tzinfo=UTC)


def history() -> pd.DataFrame:
    """Two stretches hours apart, and one up to now."""
    now = pd.Timestamp.now(tz="UTC").floor("1s")
    parts = [pd.date_range(DAY + timedelta(hours=5 * n), periods=1_000, freq="1s") for n in range(2)]
    times = parts[0].append([parts[1], pd.date_range(now - pd.Timedelta(seconds=900), now, freq="1s")])
    values = {"open": 10.0, "high": 20.0, "low": 5.0, "close": 11.0, "volume": 1.5}
    return pd.DataFrame(values, index=times)


async def spans(engine: AsyncEngine) -> list[tuple[str, datetime, datetime]]:
    return [(span.family, span.start, span.end) for span in await dirty(engine)]


async def loaded(
    engine: AsyncEngine, frame: pd.DataFrame, timeframe: str
) -> list[tuple[str, datetime, datetime]]:
    async with UnitOfWork(engine) as uow:
        await uow.connection.exec_driver_sql("DELETE FROM candles")
        await uow.connection.exec_driver_sql("DELETE FROM dirty_ranges")
        await uow.instruments.ensure(BTC, 2, 5)
        await uow.commit()
    counts = await load_candles(engine, BTC, timeframe, frame)
    assert counts.inserted == len(frame)
    return await spans(engine)


async def test_a_load_into_an_empty_range_records_what_an_upsert_does(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = history()
    direct = await loaded(engine, frame, "1s")
    monkeypatch.setattr(direct_write, "FEWEST_ROWS", 10**9)
    staged = await loaded(engine, frame, "1s")
    assert direct[:2] == staged[:2]
    assert direct[:2] == [
        ("candles", start, start + timedelta(seconds=999) + INSTANT)
        for start in (DAY, DAY + timedelta(hours=5))
    ]
    # The third ends where the feed is live, by the clock at the moment of the write.
    assert len(direct) == len(staged) == 3
    assert direct[2][1] == staged[2][1] == frame.index[2_000]
    assert abs(direct[2][2] - staged[2][2]) < timedelta(minutes=1)


async def test_a_load_of_minutes_records_nothing(engine: AsyncEngine) -> None:
    frame = history().resample("1min").first().dropna().iloc[:30]
    times = pd.date_range(DAY, periods=3_000, freq="1min")
    minutes = pd.DataFrame([frame.iloc[0].to_dict()] * len(times), index=times)
    assert await loaded(engine, minutes, "1m") == []


async def test_late_records_of_the_pipeline_are_dirty_until_they_are_refreshed(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    """Several instruments and timeframes in one batch, newest first; only seconds and books are rolled up."""
    async with pipeline(engine, tmp_path / "o", replace(QUICK, flush_after_s=60)) as ingestion:
        for n in reversed(range(100)):
            for symbol in (ETH, BTC):
                second = candle(symbol=symbol, timeframe=Timeframe.S1, ts=DAY + timedelta(seconds=n))
                await ingestion.ingest_ohlcv_candle(second)
                await ingestion.ingest_ohlcv_candle(replace(second, ts=DAY + timedelta(hours=5, seconds=n)))
            await ingestion.ingest_ohlcv_candle(candle(n, ts=DAY + timedelta(days=2, minutes=n)))
            await ingestion.ingest_orderbook_snapshot(book(ts=DAY + timedelta(seconds=n)))
    length = timedelta(seconds=99) + INSTANT
    assert await spans(engine) == [
        ("candles", DAY, DAY + length),
        ("candles", DAY + timedelta(hours=5), DAY + timedelta(hours=5) + length),
        ("order_books", DAY, DAY + length),
    ]
    await refresh(engine)
    await assert_right_and_clean(engine)
