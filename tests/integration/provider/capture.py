"""The real recording as a feed into a pipeline, by its own clock."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from datalayer import Candle, Timeframe
from datalayer.integrations.binance import messages
from datalayer.integrations.binance.replay import StreamReplay
from datalayer.integrations.fields import E8
from tests.integration.ingestion.market import BTC
from tests.integration.ingestion.test_real_capture import EPOCH, book_of, lines, value_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from datalayer import DataIngestionPipeline
    from tests.integration.provider.conftest import Clock

# The receive clock is 1.27 s behind the exchange's; so the smallest delay becomes a plausible one.
CLOCK_AHEAD_US = 1_300_000


async def replayed(
    pipeline: DataIngestionPipeline, clock: Clock, every: timedelta, length: timedelta
) -> AsyncIterator[None]:
    """Feed trades, 1s candles made of them, and order books; come back whenever so much market time has passed.

    A 1s candle is handed in when the first trade of a later second comes, as a live tick aggregator does it.
    """
    state, second = StreamReplay(), list[messages.Trade]()
    due = end = None
    for line in lines("20240808", "20240809"):
        clock.now = EPOCH + timedelta(microseconds=line.receive_time_ns // 1_000 + CLOCK_AHEAD_US)
        due, end = due or clock.now + timedelta(seconds=2), end or clock.now + length
        if clock.now > end:
            return
        seen = len(state.books)
        state.feed(line.message)
        if isinstance(line.message, messages.Trade):
            if second and _second(second[0]) < _second(line.message):
                await pipeline.ingest_ohlcv_candle(_candle(second))
                second = []
            second.append(line.message)
            await pipeline.ingest_trade(value_of(line.message))
        for sample in state.books[seen:]:
            await pipeline.ingest_orderbook_snapshot(book_of(sample))
        if clock.now >= due:
            due = clock.now + every
            yield


def _second(trade: messages.Trade) -> int:
    return trade.trade_time_us // 1_000_000


def _candle(trades: list[messages.Trade]) -> Candle:
    prices = [trade.price_e8 / E8 for trade in trades]
    volume = sum(trade.size_e8 for trade in trades) / E8
    ts = EPOCH + timedelta(seconds=_second(trades[0]))
    return Candle(BTC, Timeframe.S1, ts, prices[0], max(prices), min(prices), prices[-1], volume, len(trades))
