"""`get_multi_timeframe_data`: aligned frames over the seam of cache and database, as the repository gives them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from datalayer import CandleRepository, Timeframe, UnifiedDataProvider, UnitOfWork
from datalayer.errors import InvalidInputError
from tests.integration.provider.conftest import Clock
from tests.integration.provider.test_seam import START, Market
from tests.market_truth import market, visible

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

PAIRS = (["1m"], ["1s", "1m", "1h"], ["5m", "1m", "15m"], ["4h", "1h"], ["1d", "1s"])


async def test_aligned_frames_are_those_of_the_repository(engine: AsyncEngine) -> None:
    feed = Market(engine, "AL/USDT", 7, 60, 60)
    await feed.begin()
    async with UnifiedDataProvider(engine, cache=feed.cache, symbols=[feed.symbol]) as provider:
        await feed.advance(1_234.5)
        queries = [(lengths, feed.query()) for lengths in PAIRS for _ in range(4)]
        found = [
            await provider.get_multi_timeframe_data(feed.symbol, lengths, **query)
            for lengths, query in queries
            if not _is_empty(feed, query)
        ]
        await feed._write(feed.clock.now)
    async with engine.connect() as conn:
        repository = CandleRepository(conn)
        for (lengths, query), frames in zip(
            [(lengths, query) for lengths, query in queries if not _is_empty(feed, query)], found, strict=True
        ):
            as_of = frames[lengths[0]].attrs["as_of"]
            expected = await repository.query_multi_timeframe_ohlcv(
                feed.symbol, lengths, as_of=as_of, **query
            )
            assert list(frames) == lengths
            for label, frame in frames.items():
                names = [name for name in frame.columns if name != "source"]
                pd.testing.assert_frame_equal(
                    frame[names], expected[label][names], check_exact=True, check_freq=False
                )


def _is_empty(feed: Market, query: dict[str, Any]) -> bool:
    """Tell whether a range may have no candle at all, which the provider refuses."""
    start, end = query.get("start"), query.get("end")
    return (end is not None and end < feed.seconds.index[0] + timedelta(days=1)) or (
        start is not None and start > feed.clock.now - timedelta(minutes=5)
    )


async def test_what_is_not_stored_is_generated_and_marked(engine: AsyncEngine) -> None:
    clock = Clock(START)
    minutes = visible(market(START - timedelta(hours=3), 10_850, 8), Timeframe.M1, START)
    async with UnitOfWork(engine) as uow:
        await uow.instruments.ensure("GE/USDT", 2, 5)
        await uow.candles.upsert_candles("GE/USDT", "1m", minutes)
        await uow.commit()
    async with UnifiedDataProvider(engine, cache=clock.cache()) as provider:
        frames = await provider.get_multi_timeframe_data(
            "GE/USDT", ["1m", "5m", "1h"], limit=3, align=False, include_forming=True
        )
    assert set(frames["1m"]["source"]) == {"stored"}
    assert list(frames["5m"]["source"]) == ["generated", "generated", "forming"]
    assert list(frames["1h"]["is_forming"]) == [False, False, True]
    assert frames["1h"].attrs["from_cache"] is None


async def test_a_range_needs_a_beginning_or_a_limit(engine: AsyncEngine) -> None:
    feed = Market(engine, "RA/USDT", 9, 0, 60)
    await feed.begin()
    now = feed.clock.now
    async with UnifiedDataProvider(engine, cache=feed.cache, symbols=[feed.symbol]) as provider:
        for arguments, message in (
            ({}, "give start, or limit for the last so many rows"),
            ({"start": now, "end": now - timedelta(hours=1)}, "is before start="),
            ({"start": datetime(2024, 8, 8)}, r"naive; .* as in 2024-08-08T00:00:00\+00:00"),  # noqa: DTZ001
            ({"limit": -1}, "0 or more"),
            ({"limit": 1, "include_forming": True}, "use align=False"),
            ({"limit": 1, "as_of": now + timedelta(hours=1)}, "is in the future"),
        ):
            with pytest.raises(InvalidInputError, match=message):
                await provider.get_multi_timeframe_data(feed.symbol, ["1m"], **arguments)  # type: ignore[arg-type]
        empty = await provider.get_multi_timeframe_data(feed.symbol, ["1m"], limit=0)
        assert len(empty["1m"]) == 0


async def test_a_moment_in_the_past_shows_nothing_later(engine: AsyncEngine) -> None:
    feed = Market(engine, "PA/USDT", 10, 0, 60)
    await feed.begin()
    async with UnifiedDataProvider(engine, cache=feed.cache, symbols=[feed.symbol]) as provider:
        await feed.advance(300)
        for ago_s in (0.0, 3.3, 100.0, 299.0, 3_000.0):
            as_of = feed.clock.now - timedelta(seconds=ago_s)
            frames = await provider.get_multi_timeframe_data(
                feed.symbol, limit=5, align=False, as_of=as_of, include_forming=True
            )
            for timeframe in Timeframe:
                frame = frames[timeframe.label]
                closes = frame.index + timeframe.length
                assert np.asarray((closes <= as_of) | frame["is_forming"]).all()
                assert (frame.index <= as_of).all()
