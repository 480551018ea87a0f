"""The cache against the real database: what it loads, what it makes of it live, and what the database says of the same moment."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from datalayer.cache import CacheSettings, DataCacheManager
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError
from datalayer.repositories import CandleRepository, InstrumentRepository
from tests.fake_clock import Clock
from tests.integration.test_cache_is_the_database import assert_same_candles

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

BTC = "BTC/USDT"
START = datetime(2024, 8, 7, 5, 20, tzinfo=UTC)
NOW = datetime(2024, 8, 8, 14, 7, 31, 400_000, tzinfo=UTC)
SECOND = timedelta(seconds=1)
SETTINGS = CacheSettings(candles_per_timeframe=200)


@pytest.fixture
async def candles(conn: AsyncConnection) -> CandleRepository:
    await InstrumentRepository(conn).ensure(BTC, 2, 5)
    return CandleRepository(conn)


def market(
    timeframe: Timeframe, start: datetime, end: datetime, seed: int, *, share: float = 1.0
) -> pd.DataFrame:
    """A walk; of `share` of the candles, so that minutes are silent now and then."""
    start = timeframe.floor(start)
    index = pd.date_range(start, end, freq=timeframe.offset, inclusive="left", unit="us", name="timestamp")
    random = np.random.default_rng(seed)
    index = index[random.random(len(index)) < share]
    opened = 60_000 + random.integers(-50, 51, len(index)).cumsum()
    close = opened + random.integers(-9, 10, len(index))
    return pd.DataFrame(
        {
            "open": opened / 100,
            "high": (np.maximum(opened, close) + random.integers(0, 9, len(index))) / 100,
            "low": (np.minimum(opened, close) - random.integers(0, 9, len(index))) / 100,
            "close": close / 100,
            "volume": random.integers(1, 10**6, len(index)) / 10**5,
            "trade_count": pd.array(random.integers(1, 90, len(index)), dtype="Int64"),
        },
        index=index,
    )


async def stored_answer(
    candles: CandleRepository, timeframe: Timeframe, n: int, as_of: datetime, *, include_forming: bool = False
) -> pd.DataFrame:
    if timeframe is Timeframe.S1:
        start = as_of - timedelta(minutes=5)
        found = await candles.query_ohlcv_data(
            BTC, timeframe, start=start, as_of=as_of, include_forming=include_forming
        )
        return found.iloc[max(len(found) - n, 0) :]
    return await candles.query_ohlcv_data(
        BTC, timeframe, limit=n, as_of=as_of, include_forming=include_forming
    )


async def check_all(
    cache: DataCacheManager, candles: CandleRepository, as_of: datetime, n: int = 200
) -> None:
    for timeframe in Timeframe:
        for include_forming in (False, True):
            ours = cache.get_latest_ohlcv(BTC, timeframe, n, include_forming=include_forming, as_of=as_of)
            theirs = await stored_answer(candles, timeframe, n, as_of, include_forming=include_forming)
            assert_same_candles(ours, theirs)


def put_all(cache: DataCacheManager, clock: Clock, seconds: pd.DataFrame) -> None:
    for ts in seconds.index:
        clock.now = ts.to_pydatetime() + SECOND
        cache.put_candles(BTC, "1s", seconds.loc[[ts]])


async def test_after_it_and_live_from_then_on_answers_are_those_of_the_database(
    candles: CandleRepository,
) -> None:
    await candles.upsert_candles(BTC, "1s", market(Timeframe.S1, START, NOW - SECOND, 1, share=0.05))
    clock = Clock(NOW)
    cache = DataCacheManager(SETTINGS, clock=clock)
    await cache.warm_up(candles._conn, [BTC])
    cache.mark_complete(BTC, until=NOW)
    await check_all(cache, candles, NOW)
    day = await candles.query_ohlcv_data(BTC, "1d", as_of=NOW, include_forming=True)
    assert day["source"].tolist() == ["aggregate", "forming"]

    until = NOW + timedelta(minutes=65)
    live = market(Timeframe.S1, NOW + SECOND, until, 2, share=0.3)
    put_all(cache, clock, live)
    await candles.upsert_candles(BTC, "1s", live)
    clock.now = until
    cache.mark_complete(BTC, until=until)
    for back_s in (0, 0.2, 7.4, 61, 299, 450, 3000):
        await check_all(cache, candles, until - timedelta(seconds=back_s), n=100)


async def test_official_candles_come_first_and_the_rest_is_right_or_absent(candles: CandleRepository) -> None:
    seconds = market(Timeframe.S1, START, NOW - SECOND, 3, share=0.04)
    await candles.upsert_candles(BTC, "1s", seconds)
    for timeframe, share in ((Timeframe.M1, 0.5), (Timeframe.M15, 0.7), (Timeframe.H1, 0.6)):
        stored = market(timeframe, START, timeframe.floor(NOW), 4, share=share)
        await candles.upsert_candles(BTC, timeframe, stored)
    clock = Clock(NOW)
    cache = DataCacheManager(SETTINGS, clock=clock)
    await cache.warm_up(candles._conn, [BTC])
    for timeframe in Timeframe:
        ours = cache.get_latest_ohlcv(BTC, timeframe, 200)
        theirs = await stored_answer(candles, timeframe, 200, NOW)
        assert_same_candles(ours, theirs)

    until = NOW + timedelta(minutes=70)
    live = market(Timeframe.S1, NOW + SECOND, until, 5, share=0.02)
    official = market(Timeframe.M1, NOW, until - timedelta(minutes=1), 6, share=0.9)
    put_all(cache, clock, live)
    clock.now = until
    cache.put_candles(BTC, "1m", official)
    await candles.upsert_candles(BTC, "1s", live)
    await candles.upsert_candles(BTC, "1m", official)
    cache.mark_complete(BTC, until=until)
    absent = 0
    for timeframe in Timeframe:
        ours = cache.get_latest_ohlcv(BTC, timeframe, 200)
        theirs = await stored_answer(candles, timeframe, 200, until)
        shared = theirs.loc[theirs.index.isin(ours.index)]
        complete = theirs.loc[theirs.index >= ours.attrs["complete_from"]]
        assert complete.index.isin(ours.index).all()
        ours = ours.loc[ours.index.isin(theirs.index)]
        assert_same_candles(ours, shared)
        absent += len(cache.get_unknown_candles(BTC).get(timeframe, ()))
    assert absent > 0
    await cache.warm_up(candles._conn, [BTC])
    assert cache.get_unknown_candles(BTC) == {}
    for timeframe in Timeframe:
        ours = cache.get_latest_ohlcv(BTC, timeframe, 200)
        theirs = await stored_answer(candles, timeframe, 200, until)
        assert_same_candles(ours, theirs)


async def test_what_came_live_is_not_overwritten_and_repeating_changes_nothing(
    candles: CandleRepository,
) -> None:
    old = market(Timeframe.S1, NOW - timedelta(minutes=10), NOW - SECOND, 7)
    await candles.upsert_candles(BTC, "1s", old)
    new = old.iloc[-30:] + 1
    new["trade_count"] = old["trade_count"].iloc[-30:]
    clock = Clock(NOW)
    cache = DataCacheManager(SETTINGS, clock=clock)
    cache.put_candles(BTC, "1s", new.iloc[:15])

    async def feed() -> None:
        for row in range(15, 30):
            cache.put_candles(BTC, "1s", new.iloc[[row]])
            await asyncio.sleep(0)

    await asyncio.gather(cache.warm_up(candles._conn, [BTC]), feed())
    expected = pd.concat([old.iloc[-60:-30], new])
    once = {t: cache.get_latest_ohlcv(BTC, t, 300, include_forming=True) for t in Timeframe}
    pd.testing.assert_frame_equal(
        once[Timeframe.S1].iloc[-60:][list(expected)], expected, check_exact=True, check_freq=False
    )
    minute = once[Timeframe.M1].iloc[-1]
    assert (minute["is_forming"], minute["high"]) == (True, new["high"].loc[minute.name :].max())
    await cache.warm_up(candles._conn, [BTC, "btc-usdt"])
    for timeframe, before in once.items():
        again = cache.get_latest_ohlcv(BTC, timeframe, 300, include_forming=True)
        pd.testing.assert_frame_equal(again, before, check_exact=True)


async def test_a_correction_of_yesterday_makes_a_hole_that_is_filled_once_it_is_written(
    candles: CandleRepository,
) -> None:
    seconds = market(Timeframe.S1, START, NOW - SECOND, 8, share=0.05)
    await candles.upsert_candles(BTC, "1s", seconds)
    clock = Clock(NOW)
    cache = DataCacheManager(SETTINGS, clock=clock)
    await cache.warm_up(candles._conn, [BTC])
    corrected = seconds.loc[[seconds.index[seconds.index.searchsorted(pd.Timestamp("2024-08-07 22:10Z"))]]]
    corrected = corrected.assign(high=corrected["high"] + 500)
    cache.put_candles(BTC, "1s", corrected)
    ts = corrected.index[0]
    for timeframe in (Timeframe.H1, Timeframe.D1):
        opened = timeframe.floor(ts.to_pydatetime())
        assert opened in cache.get_unknown_candles(BTC)[timeframe]
        found = cache.get_latest_ohlcv(BTC, timeframe, 200)
        assert opened not in found.index
        assert found.attrs["complete_from"] == opened + timeframe.length
    await candles.upsert_candles(BTC, "1s", corrected)
    await cache.warm_up(candles._conn, [BTC])
    assert cache.get_unknown_candles(BTC) == {}
    cache.mark_complete(BTC, until=NOW)
    await check_all(cache, candles, NOW)


async def test_a_symbol_that_is_not_registered_is_refused_by_name(candles: CandleRepository) -> None:
    cache = DataCacheManager(clock=Clock(NOW))
    with pytest.raises(InvalidInputError, match="ETH/USDT"):
        await cache.warm_up(candles._conn, ["eth-usdt"])
    assert cache.statistics.symbols == 0
