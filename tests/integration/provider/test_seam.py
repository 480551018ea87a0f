"""Where cache and database meet: whatever is asked for, at any lag of the database, is what a plain reader of the truth gets."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from datalayer import Candle, Timeframe, UnifiedDataProvider, UnitOfWork
from datalayer.cache import CacheSettings
from datalayer.errors import NoDataError
from tests.integration.provider.conftest import Clock
from tests.market_truth import assert_same, chosen, market, visible

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

EXAMPLES = int(os.environ.get("DATALAYER_SEAM_EXAMPLES", "4"))
START = datetime(2024, 8, 8, 9, 12, 34, tzinfo=UTC)
NUMBERS = count()


class Market:
    """A feed into cache and database, the latter behind by some seconds, and its truth."""

    def __init__(self, engine: AsyncEngine, symbol: str, seed: int, lag_s: int, kept: int) -> None:
        self.engine, self.symbol, self.lag = engine, symbol, timedelta(seconds=lag_s)
        self.seconds = market(START, 9_000, seed)
        self.random = np.random.default_rng(seed)
        self.clock = Clock(START + timedelta(seconds=4_000))
        self.cache = self.clock.cache(CacheSettings(candles_per_timeframe=kept))
        self._written = self._put = 0

    async def begin(self) -> None:
        async with UnitOfWork(self.engine) as uow:
            await uow.instruments.ensure(self.symbol, 2, 5)
            await uow.commit()
        self._put = self._place(self.clock.now)
        await self._write(self.clock.now)

    async def advance(self, seconds: float) -> None:
        self.clock.now += timedelta(seconds=seconds)
        place = self._place(self.clock.now)
        for row in self.seconds.iloc[self._put : place].itertuples():
            values = [float(value) for value in row[1:6]]
            ts = row.Index.to_pydatetime()
            self.cache.put_candle(Candle(self.symbol, Timeframe.S1, ts, *values, trade_count=int(row[6])))  # type: ignore[arg-type, misc]
        self._put = place
        await self._write(self.clock.now - self.lag)

    def _place(self, moment: datetime) -> int:
        return int(
            self.seconds.index.searchsorted(pd.Timestamp(moment) - pd.Timedelta(seconds=1), side="right")
        )

    async def _write(self, moment: datetime) -> None:
        place = self._place(moment)
        if place > self._written:
            async with UnitOfWork(self.engine) as uow:
                frame = self.seconds.iloc[self._written : place]
                await uow.candles.upsert_candles(self.symbol, "1s", frame)
                await uow.commit()
            self._written = place

    def query(self) -> dict[str, Any]:
        random, now = self.random, self.clock.now
        start = now - timedelta(
            seconds=float(random.choice([5, 90, 400, 1_500, 4_000, 9_000])) * random.random()
        )
        end = start + timedelta(seconds=float(random.integers(0, 5_000)))
        limit = int(random.choice([1, 3, 50, 400]))
        bounds: list[dict[str, Any]] = [
            {"start": start},
            {"start": start, "end": end},
            {"limit": limit},
            {"start": start, "limit": limit},
            {"end": end, "limit": limit},
        ]
        return bounds[random.integers(len(bounds))]


async def check(feed: Market, provider: UnifiedDataProvider, query: dict[str, Any], **options: Any) -> None:
    lengths = list(Timeframe)
    try:
        frames = await provider.get_multi_timeframe_data(
            feed.symbol, lengths, **query, align=False, **options
        )
    except NoDataError:
        frames = {}
    within = query.get("start"), query.get("end"), query.get("limit")
    forming = options.get("include_forming", False)
    for timeframe in lengths:
        found = frames.get(timeframe.label)
        as_of = feed.clock.now if found is None else found.attrs["as_of"]
        assert feed.clock.now - as_of <= timedelta(seconds=2)
        expected = chosen(
            visible(
                feed.seconds, timeframe, as_of, include_forming=forming and timeframe is not Timeframe.S1
            ),
            *within,
        )
        if found is None:
            assert not len(expected), (timeframe, query)
        else:
            assert found.index.is_unique
            assert_same(found, expected)


@pytest.mark.parametrize("lag_s", [1, 60, 250])
async def test_a_symbol_whose_feed_began_before_it_was_loaded_is_the_truth(
    engine: AsyncEngine, lag_s: int
) -> None:
    feed = Market(engine, f"B{next(NUMBERS)}/USDT", 7, lag_s, 500)
    await feed.begin()
    async with UnifiedDataProvider(engine, cache=feed.cache) as provider:
        for seconds in (20, 45, 200, 400):
            await feed.advance(seconds)
            for include_forming in (False, True):
                await check(feed, provider, {"limit": 50}, include_forming=include_forming)


@pytest.mark.parametrize("kept", [60, 500])
async def test_any_read_is_the_truth_at_any_lag_of_the_database(engine: AsyncEngine, kept: int) -> None:
    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), database=None)
    @example(4, 250)  # the feed is silent for so long that the database is asked, which is behind
    @given(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 7, 60, 250]))
    def examples(seed: int, lag_s: int) -> None:
        chosen_examples.append((seed, lag_s))

    chosen_examples: list[tuple[int, int]] = []
    examples()
    for seed, lag_s in chosen_examples:
        feed = Market(engine, f"A{next(NUMBERS)}/USDT", seed, lag_s, kept)
        await feed.begin()
        async with UnifiedDataProvider(engine, cache=feed.cache, symbols=[feed.symbol]) as provider:
            for _ in range(6):
                await feed.advance(float(feed.random.choice([0.3, 1, 45.5, 333, 900])))
                for include_forming in (False, True):
                    await check(feed, provider, feed.query(), include_forming=include_forming)
