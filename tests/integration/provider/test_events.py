"""Order books and trades, by moments and ranges, from cache and database as one."""

from __future__ import annotations

from datetime import timedelta
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from datalayer import UnifiedDataProvider
from datalayer.errors import InvalidInputError, NoDataError
from tests.integration.provider.feeding import BTC, SECOND, START, book, feed, store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.integration.provider.conftest import Clock

LATE = range(600, 700)


@pytest.fixture
async def live(engine: AsyncEngine, clock: Clock) -> AsyncIterator[UnifiedDataProvider]:
    """700 seconds: the cache has the last 300 of them, the database has all but the last 100."""
    await store(engine, range(600))
    async with UnifiedDataProvider(engine, cache=clock.cache(), symbols=[BTC]) as provider:
        feed(provider.cache, clock, range(700))
        yield provider


@pytest.fixture
async def stored(
    engine: AsyncEngine, live: UnifiedDataProvider, clock: Clock
) -> AsyncIterator[UnifiedDataProvider]:
    """The same from the database alone, when it has everything."""
    del live
    await store(engine, LATE)
    async with UnifiedDataProvider(engine, cache=clock.cache()) as provider:
        yield provider


@pytest.mark.parametrize("aggregation", ["raw", "1s", "1m"])
async def test_books_are_the_same_from_cache_and_database(
    live: UnifiedDataProvider, stored: UnifiedDataProvider, clock: Clock, aggregation: Any
) -> None:
    now = clock.now
    for ago_s, limit in product([None, 1.0, 90.0, 250.5, 450.0], [1, 3, 400]):
        moment = None if ago_s is None else now - timedelta(seconds=ago_s)
        clock.now = now
        found = await live.get_order_book_data(BTC, moment, aggregation, limit=limit)
        last = await live.get_order_book_data(BTC, moment, aggregation)
        clock.now += timedelta(seconds=2)  # what another process wrote is waited for
        assert found == await stored.get_order_book_data(BTC, moment, aggregation, limit=limit)
        assert found[-1] == last
        assert len(found) == limit or (limit == 400 and len(found) > (200 if aggregation != "1m" else 3))


async def test_an_aggregation_has_the_last_book_of_each_bucket_that_is_over(
    live: UnifiedDataProvider,
) -> None:
    minutes = await live.get_order_book_data(BTC, aggregation="1m", limit=20)
    assert [one.timestamp for one in minutes] == [START + timedelta(minutes=n) for n in range(11)]
    assert [one.best_bid for one in minutes] == [60_000.0 + 60 * n + 59 for n in range(11)]
    assert {one.aggregation for one in minutes} == {"1m"}
    assert all(one.imbalances["book_imbalance_1s"] == 0.5 for one in minutes)
    assert np.isnan(minutes[0].imbalances["volume_imbalance_1s"])


async def test_books_that_there_are_none_of(live: UnifiedDataProvider) -> None:
    assert await live.get_order_book_data(BTC, limit=0) == []
    with pytest.raises(
        NoDataError, match=r"no order book as of 2024-08-08T09:00.*order books 2024-08-08T10:00:01"
    ):
        await live.get_order_book_data(BTC, START - timedelta(hours=1))
    with pytest.raises(InvalidInputError, match="use raw, 1s, 1m"):
        await live.get_order_book_data(BTC, aggregation="5m")  # type: ignore[call-overload]


async def test_a_book_without_imbalances_has_none(live: UnifiedDataProvider, clock: Clock) -> None:
    clock.now = START + timedelta(seconds=700.6)
    live.cache.put_orderbook(book(700, after_s=0.5))
    found = await live.get_order_book_data(BTC)
    assert found.timestamp == START + timedelta(seconds=700.5)
    assert np.isnan(list(found.imbalances.values())).all()


async def test_trades_are_one_series(live: UnifiedDataProvider, stored: UnifiedDataProvider) -> None:
    queries: list[dict[str, Any]] = [
        {"limit": 1},
        {"limit": 350},
        {"start": START},
        {"start": START + timedelta(seconds=390.5)},
        {"start": START + 10 * SECOND, "end": START + 620 * SECOND},
        {"start": START + 390 * SECOND, "limit": 120},
        {"end": START + 650 * SECOND, "limit": 500},
    ]
    for query in queries:
        found, expected = await live.get_trades(BTC, **query), await stored.get_trades(BTC, **query)
        assert found.equals(expected)
        assert list(found.dtypes) == list(expected.dtypes)
        assert found["trade_id"].is_unique
        assert len(found) == len(expected) > 0


async def test_trades_that_there_are_none_of(live: UnifiedDataProvider) -> None:
    with pytest.raises(InvalidInputError, match="give start, or limit"):
        await live.get_trades(BTC)
    with pytest.raises(NoDataError, match="no trades from 2024-08-07"):
        await live.get_trades(BTC, START - timedelta(days=1), START)


async def test_coverage_is_at_hand(stored: UnifiedDataProvider) -> None:
    report = await stored.get_coverage(BTC, "1s", START, START + 600 * SECOND, as_of=START + 700 * SECOND)
    assert (report.traded, report.missing) == (600, 0)
    gaps = await stored.get_missing_intervals(
        BTC, "1s", START - 5 * SECOND, START + 9 * SECOND, as_of=START + 700 * SECOND
    )
    assert gaps["candles"].tolist() == [5]
    kinds = {found.kind for found in await stored.list_stored_ranges(as_of=START + 700 * SECOND)}
    assert kinds == {"candles", "trades", "order_books", "order_book_imbalances"}


async def test_health_tells_of_database_cache_and_feeds(live: UnifiedDataProvider, clock: Clock) -> None:
    health = await live.get_health()
    assert health.is_healthy
    assert (health.at, health.subscribers, health.late) == (clock.now, 0, {})
    assert health.ages_s[BTC]["order_book"] == pytest.approx(0.1)
    clock.now += timedelta(seconds=60)
    health = await live.get_health()
    assert not health.is_healthy
    assert {"order_book", "candles.1s"} <= health.stale[BTC]
