"""Subscriptions: closed candles once each and not before, in order, over the seam to history; slow subscribers; the end."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from datalayer import Candle, OrderBookDataFrame, Timeframe, Trade, UnifiedDataProvider
from datalayer.errors import InvalidInputError, ProviderClosedError, SlowConsumerError
from datalayer.provider import UpdateGap
from tests.integration.provider.feeding import BTC, SECOND, START, book, feed, store, trade
from tests.integration.provider.test_seam import Market
from tests.market_truth import visible

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.provider import Subscription
    from tests.integration.provider.conftest import Clock


@pytest.fixture
async def live(engine: AsyncEngine, clock: Clock) -> AsyncIterator[UnifiedDataProvider]:
    await store(engine, range(0))
    async with UnifiedDataProvider(engine, cache=clock.cache(), symbols=[BTC]) as provider:
        yield provider


async def taken(subscription: Subscription) -> list[Any]:
    """Return everything that is there to take."""
    found = []
    with suppress(TimeoutError, StopAsyncIteration):
        while True:
            found.append(await asyncio.wait_for(anext(subscription), 0.05))
    return found


async def test_a_minute_comes_once_it_is_closed_and_whole(live: UnifiedDataProvider, clock: Clock) -> None:
    async with live.subscribe(BTC, "1m") as minutes:
        feed(live.cache, clock, range(59))
        assert await taken(minutes) == []
        clock.now = (
            START + 60 * SECOND + timedelta(milliseconds=10)
        )  # over, and its last second is on its way
        assert await taken(minutes) == []
        feed(live.cache, clock, range(59, 60))
        (first,) = await taken(minutes)
        assert (first.ts, first.closed_at, first.volume, first.trade_count) == (
            START,
            START + 60 * SECOND,
            30.0,
            60,
        )
        assert not first.is_forming
        live.cache.put_candle(Candle(BTC, Timeframe.S1, START + 30 * SECOND, 1.0, 99_999.0, 1.0, 1.0, 1.0))
        feed(live.cache, clock, range(60, 121))
        (second,) = await taken(minutes)
        assert second.ts == START + timedelta(minutes=1)


async def test_a_silent_end_of_a_minute_is_waited_for_and_no_longer(
    live: UnifiedDataProvider, clock: Clock
) -> None:
    """Nothing comes any more: a timer of the subscription notices that the minute is over."""
    feed(live.cache, clock, range(50))
    async with live.subscribe(BTC, "1m") as minutes:
        clock.now = START + timedelta(seconds=61.99)
        live.cache.mark_complete(
            BTC
        )  # says nothing new; the clock has jumped, and nobody would look until it had run
        assert await taken(minutes) == []
        reading = asyncio.ensure_future(anext(minutes))
        await asyncio.sleep(0.05)
        clock.now = START + timedelta(seconds=62.01)
        closed = await asyncio.wait_for(reading, 10)
        assert isinstance(closed, Candle)
        assert (closed.ts, closed.trade_count) == (START, 50)


async def test_the_candle_that_forms_is_given_in_its_last_state(
    live: UnifiedDataProvider, clock: Clock
) -> None:
    async with live.subscribe(BTC, "1m", include_forming=True) as minutes:
        feed(live.cache, clock, range(10))
        (forming,) = await taken(minutes)
        assert (forming.is_forming, forming.trade_count) == (True, 10)
        assert await taken(minutes) == []
        feed(live.cache, clock, range(10, 61))
        closed, forming = await taken(minutes)
        assert (closed.is_forming, closed.trade_count) == (False, 60)
        assert (forming.is_forming, forming.ts, forming.trade_count) == (
            True,
            START + timedelta(minutes=1),
            1,
        )


async def test_books_and_trades_come_as_they_come(live: UnifiedDataProvider, clock: Clock) -> None:
    async with live.subscribe(BTC, "book") as books, live.subscribe("btc-usdt", "trades") as trades:
        feed(live.cache, clock, range(3))
        live.cache.put_trade(trade(1))  # again
        live.cache.put_orderbook(book(2))
        found = await taken(books)
        assert [one.timestamp for one in found] == [START + number * SECOND for number in (1, 2, 3)]
        assert all(isinstance(one, OrderBookDataFrame) for one in found)
        assert {one.imbalances["book_imbalance_1s"] for one in found} == {0.5}
        assert await taken(trades) == [trade(0), trade(1), trade(2)]
        live.cache.put_orderbook(book(9, after_s=0.5))
        (last,) = await taken(books)
        assert np.isnan(last.imbalances["book_imbalance_1s"])


@pytest.mark.parametrize("stream", ["trades", "1s"])
async def test_a_slow_subscriber_is_told_or_loses_the_oldest(
    live: UnifiedDataProvider, clock: Clock, stream: str
) -> None:
    async with (
        live.subscribe(BTC, stream, max_lag=5) as strict,
        live.subscribe(BTC, stream, max_lag=5, when_slow="drop_oldest") as lenient,
    ):
        for number in range(12):
            feed(live.cache, clock, range(number, number + 1))
            await asyncio.sleep(0.01)
        assert lenient.waiting == 5
        gap, *rest = await taken(lenient)
        assert gap == UpdateGap(BTC, 7, START, START + 6 * SECOND)
        assert [one.ts for one in rest] == [START + number * SECOND for number in range(7, 12)]
        with pytest.raises(SlowConsumerError, match=r"5 updates of BTC/USDT .* wait, and nobody takes them"):
            await anext(strict)
        assert await taken(strict) == []
        assert (await live.get_health()).subscribers == 1


async def test_it_ends_with_the_provider(engine: AsyncEngine, clock: Clock) -> None:
    await store(engine, range(0))
    async with UnifiedDataProvider(engine, cache=clock.cache()) as provider:
        subscription = provider.subscribe(BTC, "trades")
        reading = asyncio.ensure_future(anext(subscription, None))
        await asyncio.sleep(0.01)
    assert await reading is None
    provider.cache.put_trade(trade(1))
    with pytest.raises(StopAsyncIteration):
        await anext(subscription)
    with pytest.raises(ProviderClosedError):
        provider.subscribe(BTC, "trades")


async def test_a_reader_that_is_cancelled_may_read_on(live: UnifiedDataProvider, clock: Clock) -> None:
    async with live.subscribe(BTC, "trades") as trades:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(trades), 0.02)
        feed(live.cache, clock, range(2))
        assert await taken(trades) == [trade(0), trade(1)]


async def test_nothing_is_lost_or_doubled_of_a_feed_in_another_thread(
    live: UnifiedDataProvider, clock: Clock
) -> None:
    count = 3_000
    async with live.subscribe(BTC, "trades", max_lag=count) as trades, live.subscribe(BTC, "1m") as minutes:
        feeding = threading.Thread(
            target=feed, args=(live.cache, clock, range(count)), kwargs={"with_books": False}
        )
        feeding.start()
        found = [await asyncio.wait_for(anext(trades), 30) for _ in range(count)]
        feeding.join()
        closed = await taken(minutes)
    assert [one.trade_id for one in found if isinstance(one, Trade)] == list(range(count))
    assert [(one.ts, one.trade_count) for one in closed] == [
        (START + timedelta(minutes=number), 60) for number in range(count // 60)
    ]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("label", ["1s", "1m", "15m"])
async def test_from_history_to_now_each_candle_comes_once(engine: AsyncEngine, seed: int, label: str) -> None:
    """The database is behind by a minute, and the feed goes on while history is read."""
    market = Market(engine, f"S{seed}{label.upper()}/USDT", seed, 60, 500)
    await market.begin()
    timeframe = Timeframe.parse(label)
    since = market.clock.now - 3 * timeframe.length - timedelta(seconds=100)
    async with UnifiedDataProvider(engine, cache=market.cache, symbols=[market.symbol]) as provider:
        await market.advance(100.5)
        async with provider.subscribe(market.symbol, label, since=since, max_lag=10_000) as candles:
            found = [await asyncio.wait_for(anext(candles), 10)]
            for _ in range(40):
                await market.advance(float(market.random.choice([0.4, 1, 17, 61])))
                if market.random.random() < 0.5:
                    found += await taken(candles)
            market.clock.now += timedelta(seconds=10)
            found += await taken(candles)
    expected = visible(market.seconds, timeframe, market.clock.now - timedelta(seconds=10))
    expected = expected[expected.index >= timeframe.ceil(since)]
    assert [one.ts for one in found] == list(expected.index.to_pydatetime())
    assert [(one.open, one.volume, one.trade_count) for one in found] == [
        (row.open, row.volume, row.trade_count) for row in expected.itertuples()
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stream": "books"}, "stream='books': use one of 1s, 1m, 5m, 15m, 1h, 4h, 1d, book, trades"),
        ({"stream": "book", "since": START}, "is for candles only, and this is 'book'"),
        ({"stream": "trades", "include_forming": True}, "is for candles only"),
        ({"stream": "1m", "since": datetime(2024, 8, 8)}, "naive"),  # noqa: DTZ001
        ({"stream": "1m", "max_lag": 0}, "give a whole number, 1 or more"),
        ({"stream": "1m", "when_slow": "wait"}, "use error or drop_oldest"),
        ({"stream": "1m", "symbol": "ETH/USDT"}, "is not known"),
    ],
)
async def test_a_wrong_subscription_is_refused_at_once(
    live: UnifiedDataProvider, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        live.subscribe(**({"symbol": BTC} | arguments))
