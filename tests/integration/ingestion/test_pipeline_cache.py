"""The pipeline and `DataCacheManager`: there at once, and gone again when the database refuses it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from datalayer import DataCacheManager, Timeframe, UnitOfWork
from tests.integration.ingestion.market import (
    BTC,
    QUICK,
    START,
    book,
    candle,
    execute,
    pipeline,
    stored_closes,
    trade,
)

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

NOW = START + timedelta(minutes=3, seconds=10)


def cache_of_then() -> DataCacheManager:
    return DataCacheManager(clock=lambda: NOW)


def second(n: int, close: float = 11.0) -> dict[str, object]:
    values = {"open": 11.0, "high": 20.0, "low": 5.0, "close": close, "volume": 1.0}
    return {"symbol": BTC, "timeframe": "1s", "ts": START + timedelta(seconds=n), **values}


def closes(cache: DataCacheManager, timeframe: str) -> dict[datetime, float]:
    frame = cache.get_latest_ohlcv(BTC, timeframe, 1_000)
    return {moment.to_pydatetime(): close for moment, close in frame["close"].items()}


async def test_what_is_accepted_is_in_the_cache_at_once_as_the_database_will_have_it(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    cache = cache_of_then()
    cache.mark_complete(BTC, since=START)
    async with pipeline(engine, tmp_path / "o", cache=cache) as ingestion:
        for n in range(150):
            await ingestion.ingest_ohlcv_candle(second(n, 11.0 + n % 3))
        await ingestion.ingest_ohlcv_candle(candle(2, is_forming=True))
        await ingestion.ingest_trade(trade(1))
        await ingestion.ingest_orderbook_snapshot(book(0))
        assert list(closes(cache, "1s").values()) == [11.0 + n % 3 for n in range(150)]
        assert cache.get_latest_orderbook(BTC) == book(0)
        imbalances = cache.get_latest_imbalances(BTC)
        assert imbalances is not None
        assert imbalances.ts == book(0).ts
        assert list(cache.get_recent_trades(BTC)["trade_id"]) == [1]
        forming = cache.get_latest_ohlcv(
            BTC, "1m", 1, include_forming=True, as_of=START + timedelta(minutes=2, seconds=40)
        )
        assert forming["is_forming"].tolist() == [True]
        await ingestion.flush()
    async with UnitOfWork(engine) as uow:
        minutes = await uow.candles.query_ohlcv_data(BTC, "1m", as_of=NOW)
    assert closes(cache, "1m") == {
        moment.to_pydatetime(): close for moment, close in minutes["close"].items()
    }


async def test_what_the_server_refuses_gives_way_to_what_was_there_before(
    engine: AsyncEngine, tmp_path: Path
) -> None:
    cache = cache_of_then()
    poison = {"candles": "close <> 1300", "trades": "price <> 1300", "order_books": "best_bid <> 1300"}
    await execute(
        engine,
        *(f"ALTER TABLE {table} ADD CONSTRAINT poison CHECK ({rule})" for table, rule in poison.items()),
    )
    try:
        async with pipeline(
            engine, tmp_path / "o", replace(QUICK, flush_after_s=60), cache=cache
        ) as ingestion:
            await ingestion.ingest_ohlcv_candle(candle(0, 12.0))
            await ingestion.ingest_ohlcv_candle(candle(1, 12.0))
            await ingestion.ingest_trade(trade(1))
            await ingestion.ingest_orderbook_snapshot(book(1))
            await ingestion.flush()
            await ingestion.ingest_ohlcv_candle(candle(0, 13.0))
            await ingestion.ingest_trade(trade(2, 13.0))
            await ingestion.ingest_orderbook_snapshot(book(2, 13.0))
            assert closes(cache, "1m")[START] == 13.0
            assert cache.get_latest_orderbook(BTC) == book(2, 13.0)
            await ingestion.flush()
    finally:
        await execute(engine, *(f"ALTER TABLE {table} DROP CONSTRAINT poison" for table in poison))
    assert closes(cache, Timeframe.M1.label) == {START: 12.0, START + timedelta(minutes=1): 12.0}
    assert await stored_closes(engine) == {0: 12.0, 1: 12.0}
    assert cache.get_latest_orderbook(BTC) == book(1)
    assert list(cache.get_recent_trades(BTC)["trade_id"]) == [1]
