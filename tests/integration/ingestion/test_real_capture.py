"""The real recording through the pipeline, message by message; what the database has then is what the recording says."""

from __future__ import annotations

import asyncio
import gzip
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from datalayer import Candle, DataIngestionPipeline, OrderBook, Timeframe, Trade, UnitOfWork
from datalayer.domain.imbalances_by_columns import imbalances_at_books
from datalayer.domain.scales import Scales
from datalayer.domain.trade import Side
from datalayer.ingestion import IngestionSettings
from datalayer.integrations.binance import messages
from datalayer.integrations.binance.replay import StreamReplay, book_columns
from datalayer.integrations.fields import E8
from datalayer.integrations.tick_aggregation import aggregate_trades, candle_frame, trade_frame
from tests.integration.ingestion.market import BTC
from tests.market_files import market_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.integrations.binance.replay import BookSample

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WALL_CLOCK_S = float(os.environ.get("DATALAYER_TEST_WALL_CLOCK_S", "3"))
"""How much of the recording is replayed at its own speed; all of it takes eleven minutes."""
SETTINGS = IngestionSettings(unknown_instruments="register", scales={BTC: Scales(2, 5)})


def lines(*days: str) -> Iterator[messages.CaptureLine]:
    for day in days:
        packed = market_file(f"captures/spot_btcusdt_{day}.gz").read_bytes()
        yield from map(messages.parse_capture_line, gzip.decompress(packed).splitlines())


def value_of(trade: messages.Trade) -> Trade:
    ts = EPOCH + timedelta(microseconds=trade.trade_time_us)
    return Trade(BTC, ts, trade.trade_id, trade.price_e8 / E8, trade.size_e8 / E8, Side(trade.side))


def book_of(sample: BookSample) -> OrderBook:
    sides = [np.array(side, dtype=np.float64) / E8 for side in (sample.levels.bids, sample.levels.asks)]
    bids, asks = sides
    ts = EPOCH + timedelta(microseconds=sample.event_time_us)
    return OrderBook(BTC, ts, bids[:, 0], bids[:, 1], asks[:, 0], asks[:, 1], sample.last_update_id)


async def replay(
    pipeline: DataIngestionPipeline, source: Iterator[messages.CaptureLine], speed: float | None = None
) -> StreamReplay:
    """Hand over what each message amounts to; `speed` is that of the recording, None is at once."""
    state, loop = StreamReplay(), asyncio.get_running_loop()
    begun: tuple[float, int] | None = None
    for line in source:
        if speed is not None:
            begun = begun or (loop.time(), line.receive_time_ns)
            due = begun[0] + (line.receive_time_ns - begun[1]) / 1e9 / speed
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
        seen = len(state.books)
        state.feed(line.message)
        if isinstance(line.message, messages.Trade):
            await pipeline.ingest_trade(value_of(line.message))
        for sample in state.books[seen:]:
            await pipeline.ingest_orderbook_snapshot(book_of(sample))
    return state


async def seconds_of(pipeline: DataIngestionPipeline, state: StreamReplay) -> pd.DataFrame:
    frame = candle_frame(aggregate_trades(state.trades()), price_step=E8, size_step=E8)
    await pipeline.ingest_ohlcv_candles(
        Candle(BTC, Timeframe.S1, row.Index.to_pydatetime().replace(tzinfo=UTC), *row[1:7])  # type: ignore[attr-defined]
        for row in frame.itertuples()
    )
    return frame


async def check(engine: AsyncEngine, state: StreamReplay, candles: pd.DataFrame) -> None:
    async with UnitOfWork(engine) as uow:
        stored = await uow.candles.query_ohlcv_data(BTC, "1s")
        trades = await uow.trades.query_trades(BTC)
        books = await uow.order_books.query_orderbook_snapshots(BTC)
        imbalances = await uow.imbalances.query_orderbook_imbalances(BTC)
        rejected = await uow.rejects.list_rejects()
    expected = trade_frame(state.trades(), price_step=E8, size_step=E8)
    pd.testing.assert_frame_equal(trades, expected, check_exact=True, check_dtype=False, check_freq=False)
    pd.testing.assert_frame_equal(
        stored[list(candles.columns)], candles, check_exact=True, check_dtype=False, check_freq=False
    )
    sampled = book_columns(state.books)
    for name in sampled.__slots__:
        assert np.array_equal(getattr(books, name), getattr(sampled, name), equal_nan=name != "timestamps")
    first = min(trades.index[0], pd.Timestamp(sampled.timestamps[0], tz="UTC"))
    since = first.to_pydatetime() - timedelta(microseconds=1)
    # Each was computed when its book came: a trade that came later, but happened before, is not in it.
    computed = imbalances_at_books(sampled, expected, size_scale=5, since=since)
    assert list(imbalances.index) == list(computed.index)
    names = [name for name in computed.columns if name.startswith("book")]
    pd.testing.assert_frame_equal(imbalances[names], computed[names], check_exact=True, check_freq=False)
    near = np.isclose(imbalances.to_numpy(), computed.to_numpy(), atol=0.05, equal_nan=True)
    assert near.mean() > 0.95
    assert rejected == []


async def test_at_full_speed(engine: AsyncEngine, tmp_path: Path) -> None:
    async with DataIngestionPipeline(engine, outbox=tmp_path / "o", settings=SETTINGS) as pipeline:
        state = await replay(pipeline, lines("20240808", "20240809"))
        candles = await seconds_of(pipeline, state)
    assert len(state.trades().trade_ids) == 19_904
    assert len(state.books) == 1_301
    await check(engine, state, candles)


async def test_at_the_speed_of_the_recording(engine: AsyncEngine, tmp_path: Path) -> None:
    """Batches go by age while messages come."""

    def slice_of(source: Iterator[messages.CaptureLine]) -> Iterator[messages.CaptureLine]:
        first = None
        for line in source:
            first = line.receive_time_ns if first is None else first
            if line.receive_time_ns - first > WALL_CLOCK_S * 1e9:
                return
            yield line

    async with DataIngestionPipeline(engine, outbox=tmp_path / "o", settings=SETTINGS) as pipeline:
        state = await replay(pipeline, slice_of(lines("20240808", "20240809")), speed=1.0)
        assert sum(lane.stored.inserted for lane in pipeline.statistics.lanes.values()) > 0
        candles = await seconds_of(pipeline, state)
    assert len(state.trades().trade_ids) > 10
    await check(engine, state, candles)
