"""Whatever comes in whatever order: what the cache gives is what the database gives for the same moment, or it says that it lacks it."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from datalayer.cache import CacheSettings, DataCacheManager
from datalayer.domain.candle import Candle
from datalayer.domain.timeframe import Timeframe
from datalayer.repositories import CandleRepository, InstrumentRepository

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

BTC = "BTC/USDT"
EXAMPLES = int(os.environ.get("CACHE_EXAMPLES", "15"))
START = datetime(2024, 8, 8, 21, 52, 7, tzinfo=UTC)
SECOND = timedelta(seconds=1)
CORRECTION = timedelta(minutes=20)
VALUES = ("open", "high", "low", "close", "volume")
# Each step is what happens, how many seconds it is about, and what the candle says.
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [*("second",) * 6, "late", "late", "old", "official", "refused", "written", "loaded", "pause"]
        ),
        st.integers(1, 70) | st.integers(1, 4000),
        st.integers(0, 10**6),
    ),
    min_size=5,
    max_size=40,
)


def candle(timeframe: Timeframe, at: datetime, seed: int) -> Candle:
    low, opened, close, over = 100 + seed % 50, seed // 50 % 7, seed // 350 % 7, seed // 2450 % 5
    high = low + max(opened, close) + over
    prices = (low + opened) / 10, high / 10, low / 10, (low + close) / 10
    count = None if seed % 9 == 0 else seed % 11
    return Candle(BTC, timeframe, timeframe.floor(at), *prices, seed % 400 / 100, count)


class Feed:
    """A cache that is fed, and a database to which what it was fed is written later."""

    def __init__(self, conn: AsyncConnection) -> None:
        self.conn = conn
        self.now = START
        self.cache = DataCacheManager(
            CacheSettings(correction_s=CORRECTION.total_seconds()), clock=lambda: self.now
        )
        self.to_write: list[Candle] = []
        self.put_in: list[Candle] = []
        self.is_exact = True
        self.is_hole_unwritten = False

    def put(self, one: Candle) -> None:
        self.cache.put_candle(one)
        self.to_write.append(one)
        self.put_in.append(one)

    async def write(self) -> None:
        for one in self.to_write:
            values = {name: [getattr(one, name)] for name in VALUES}
            frame = pd.DataFrame(values, index=pd.DatetimeIndex([one.ts]))
            frame["trade_count"] = pd.array([one.trade_count], dtype="Int64")
            await CandleRepository(self.conn).upsert_candles(BTC, one.timeframe, frame)
        self.to_write.clear()
        self.is_hole_unwritten = False

    async def step(self, what: str, seconds: int, seed: int) -> None:
        if what == "second":
            self.now += SECOND * (1 if seed % 3 else seconds)
            self.put(candle(Timeframe.S1, self.now - SECOND, seed))
        elif what == "late":
            self.put(candle(Timeframe.S1, self.now - SECOND * (1 + seconds % 1150), seed))
        elif what == "old":
            self.is_exact, self.is_hole_unwritten = False, True
            self.put(candle(Timeframe.S1, self.now - SECOND * (1200 + seconds), seed))
        elif what == "official":
            self.is_exact = False
            timeframe = list(Timeframe)[1 + seed % 6]
            self.put(candle(timeframe, self.now - timeframe.length * (1 + seconds % 3), seed))
        elif what == "refused" and self.to_write:
            self.is_exact, self.is_hole_unwritten = False, True
            refused = self.to_write.pop(seed % len(self.to_write))
            self.cache.discard(refused)
        elif what == "written":
            await self.write()
        elif what == "loaded":
            is_late = any(one.ts < self.now - CORRECTION for one in self.to_write)
            if self.is_hole_unwritten or is_late:
                await self.write()
            await self.cache.warm_up(self.conn, [BTC])
        elif what == "pause":
            self.now += SECOND * seconds


async def stored(
    conn: AsyncConnection, timeframe: Timeframe, now: datetime, *, as_of: datetime, include_forming: bool
) -> pd.DataFrame:
    start = max(now, as_of) - timedelta(days=9) if timeframe != Timeframe.S1 else as_of - timedelta(minutes=5)
    return await CandleRepository(conn).query_ohlcv_data(
        BTC, timeframe, start=start, as_of=as_of, include_forming=include_forming
    )


def assert_same_candles(ours: pd.DataFrame, theirs: pd.DataFrame) -> None:
    ours.attrs = theirs.attrs
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True, check_freq=False)


def compare(ours: pd.DataFrame, theirs: pd.DataFrame, *, is_exact: bool) -> None:
    assert ours.index.isin(theirs.index).all()
    shared = theirs.loc[theirs.index.isin(ours.index)]
    facts = dict(ours.attrs)
    assert_same_candles(ours, shared)
    since, until = facts["complete_from"], facts["complete_until"]
    if since is None:
        return
    closed = theirs.loc[~theirs["is_forming"]] if "is_forming" in theirs else theirs
    promised = closed.loc[(closed.index >= since) & (closed.index < until)]
    assert promised.index.isin(ours.index).all()
    if is_exact:
        assert_same_candles(ours, theirs.loc[theirs.index >= since])


# Not shrunk: an example takes a second.
@settings(
    max_examples=EXAMPLES,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# A late candle that the database lacks, in a hole that is filled; and an hour that was not over when its parts were read.
@example(
    before=[(230, 11492), (577, 5838), (4712, 36982), (584, 633)],
    is_loaded=True,
    steps=[
        ("second", 10, 2338),
        ("second", 16, 291),
        ("old", 17, 20451),
        ("refused", 21, 676110),
        ("written", 60, 8964),
        ("second", 257, 15339),
        ("late", 1128, 999999),
        ("loaded", 159, 13717),
        ("second", 107, 64),
    ],
    back_ms=1024,
)
@example(
    before=[(2146, 676), (5000, 17247)],
    is_loaded=True,
    steps=[("pause", 1432, 0), ("second", 1500, 58), ("late", 927, 445), ("second", 1500, 58)],
    back_ms=97294,
)
@given(
    before=st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 10**6)), max_size=12),
    is_loaded=st.booleans(),
    steps=STEPS,
    back_ms=st.just(0) | st.integers(0, 400_000) | st.integers(0, 4_000_000),
)
async def test_the_same_data_give_the_same_answers(
    conn: AsyncConnection,
    before: list[tuple[int, int]],
    is_loaded: bool,
    steps: list[tuple[str, int, int]],
    back_ms: int,
) -> None:
    async with conn.begin_nested() as savepoint:
        await InstrumentRepository(conn).ensure(BTC, 1, 2)
        feed = Feed(conn)
        if is_loaded:
            feed.to_write = [candle(Timeframe.S1, START - SECOND * (1 + back), seed) for back, seed in before]
            await feed.write()
            await feed.cache.warm_up(conn, [BTC])
        for step in steps:
            await feed.step(*step)
        await feed.write()
        feed.cache.mark_complete(BTC, until=feed.now)
        as_of = feed.now - timedelta(milliseconds=back_ms)
        for timeframe in Timeframe:
            for include_forming in (False, True):
                asked: dict[str, Any] = {"include_forming": include_forming, "as_of": as_of}
                ours = feed.cache.get_latest_ohlcv(BTC, timeframe, 10_000, **asked)
                theirs = await stored(conn, timeframe, feed.now, **asked)
                # The candle that formed before is made of seconds that are not kept any more.
                is_kept = back_ms < 1_200_000 or not include_forming
                compare(ours, theirs, is_exact=feed.is_exact and is_loaded and is_kept)
        await savepoint.rollback()
