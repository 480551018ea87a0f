"""Infer each second while market data come in: a real Binance recording, played at its own speed as if it were now.

    python examples/live_inference.py [SECONDS]

It runs on an embedded database that is gone when it ends; nothing else is needed but the extra `indicators`. The clock of pipeline,
cache and provider is set back to the recording's time; all else is as it is live, with a feed in the place of `play`.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

from datalayer import (
    Candle,
    DataCacheManager,
    DataIngestionPipeline,
    OrderBook,
    Settings,
    Timeframe,
    Trade,
    UnifiedDataProvider,
    UnitOfWork,
)
from datalayer.demo.samples import load_recording
from datalayer.domain.indicators import Ema
from datalayer.domain.trade import Side
from datalayer.errors import NoDataError, StaleDataError
from datalayer.integrations.binance.messages import parse_capture_line
from datalayer.integrations.binance.replay import StreamReplay, book_columns
from datalayer.integrations.fields import E8
from datalayer.integrations.tick_aggregation import aggregate_trades, candle_frame, trade_frame

SYMBOL = "BTC/USDT"
FEATURES = ["1s.close", "1m.close", "1m.ema_3", "order_book.spread", "book_imbalance_5s"]
BEFORE = timedelta(minutes=5)  # of the recording are history already
SECOND = timedelta(seconds=1)

Event: TypeAlias = tuple[datetime, Candle | Trade | OrderBook]


def recorded() -> list[Event]:
    """Return trades, 1s candles made of them, and order books, each at the time when it came."""
    replay = StreamReplay()
    for line in load_recording():
        replay.feed(parse_capture_line(line).message)
    trades = trade_frame(replay.trades(), price_step=E8, size_step=E8)
    seconds = candle_frame(aggregate_trades(replay.trades()), price_step=E8, size_step=E8)
    columns = book_columns(replay.books)
    books = [columns.book(row, SYMBOL) for row in range(len(columns))]
    events: list[Event] = [
        (at, Trade(SYMBOL, at, *values, Side(side)))
        for at, (*values, side) in zip(
            trades.index.to_pydatetime(), trades.itertuples(index=False), strict=True
        )
    ]
    events += [(book.ts, book) for book in books]
    events += [
        (at + SECOND, Candle(SYMBOL, Timeframe.S1, at, *values))
        for at, values in zip(seconds.index.to_pydatetime(), seconds.itertuples(index=False), strict=True)
    ]
    return sorted(events, key=lambda event: event[0])


class Clock:
    """Shows the recording's time, which goes on as fast as ours once it is started."""

    def __init__(self, starts_at: datetime) -> None:
        self._starts_at = starts_at
        self._started: datetime | None = None

    def start(self) -> None:
        self._started = datetime.now(UTC)

    def __call__(self) -> datetime:
        return (
            self._starts_at
            if self._started is None
            else self._starts_at + (datetime.now(UTC) - self._started)
        )


async def play(events: list[Event], pipeline: DataIngestionPipeline, clock: Clock) -> None:
    for at, record in events:
        if at > clock():
            await asyncio.sleep((at - clock()).total_seconds())
        if isinstance(record, Trade):
            await pipeline.ingest_trade(record)
        elif isinstance(record, Candle):
            await pipeline.ingest_ohlcv_candle(record)
        else:
            await pipeline.ingest_orderbook_snapshot(record)


async def infer(market: UnifiedDataProvider, seconds: int) -> None:
    print("as of       ", *(f"{name:>18}" for name in FEATURES))
    async with market.subscribe(SYMBOL, "1s") as closed:
        async for _ in closed:
            try:
                frame = await market.get_inference_data(SYMBOL, max_age_s={"order_book": 10})
            except (NoDataError, StaleDataError) as error:  # as live: without data there is no decision
                print(error, flush=True)
                continue
            values = frame.to_numpy(FEATURES, include_forming=True)
            print(f"{frame.as_of:%H:%M:%S.%f}"[:12], *(f"{value:18.4f}" for value in values), flush=True)
            if (seconds := seconds - 1) <= 0:
                return


async def main(seconds: int) -> None:
    events = recorded()
    clock = Clock(events[0][0] + BEFORE)
    with tempfile.TemporaryDirectory() as folder:
        market = UnifiedDataProvider.from_settings(
            Settings.load(database_url="embedded:///:memory:"),
            cache=DataCacheManager(clock=clock),
            clock=clock,
            symbols=[SYMBOL],
            indicators=[Ema(3)],
        )
        async with market:
            async with UnitOfWork(market.database) as uow:
                await uow.instruments.ensure(SYMBOL, price_scale=2, size_scale=5)
                await uow.commit()
            outbox = Path(folder) / "market.outbox"
            async with DataIngestionPipeline(
                market.database, outbox=outbox, cache=market.cache, clock=lambda: clock().timestamp()
            ) as pipeline:
                past = [event for event in events if event[0] <= clock()]
                await play(past, pipeline, clock)
                clock.start()
                feed = asyncio.create_task(play(events[len(past) :], pipeline, clock))
                try:
                    await infer(market, seconds)
                finally:
                    feed.cancel()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10))
