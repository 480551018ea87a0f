"""Frames for engines of backtests: complete or refused, and joined by what was closed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from datalayer import Timeframe, connect
from datalayer.errors import InvalidInputError, MissingDataError
from datalayer.integrations.backtesting import read_backtesting_frame, read_wide_frames
from tests.integration.backtesting.writing import BTC, ETH, MINUTE, START, numbered, write
from tests.market_files import market_frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer import Settings, UnifiedDataProvider


@pytest.fixture
async def provider(engine: AsyncEngine, settings: Settings) -> AsyncIterator[UnifiedDataProvider]:
    del engine  # emptied at the end
    async with connect(settings=settings) as opened:
        yield opened


def at(minute: int) -> datetime:
    return START + minute * MINUTE


def minutes(frame: pd.DataFrame) -> list[int]:
    return ((frame.index - START) // MINUTE).tolist()


async def test_silence_is_filled_and_what_is_missing_is_treated_as_asked(
    engine: AsyncEngine, provider: UnifiedDataProvider
) -> None:
    # The five minutes account for the second minute: it was silent. Nothing does for the sixth and seventh.
    await write(engine, BTC, "1m", numbered([-3, 0, 2, 3, 4, 7, 8]))
    await write(engine, BTC, "5m", numbered([0], Timeframe.M5, volume=4.0))

    async def read(missing: Any, **options: Any) -> pd.DataFrame:
        chosen: dict[str, Any] = {"start": at(0), "end": at(9), "missing": missing} | options
        return await read_backtesting_frame(provider, "btcusdt", "1m", **chosen)

    with pytest.raises(MissingDataError) as refused:
        await read("refuse")
    assert refused.value.intervals == ((at(5), at(7)),)
    complete = await read("previous")
    assert list(complete.columns) == ["Open", "High", "Low", "Close", "Volume"]
    assert minutes(complete) == [*range(9)]
    assert complete["Close"].tolist() == [1000, 1000, 1002, 1003, 1004, 1004, 1004, 1007, 1008]
    assert complete["Volume"].tolist() == [1, 0, 1, 1, 1, 0, 0, 1, 1]
    assert (complete.iloc[1][["Open", "High", "Low"]] == 1000).all()
    assert minutes(await read("leave_out")) == [0, 1, 2, 3, 4, 7, 8]
    assert minutes(await read("refuse", end=at(5))) == [*range(5)]

    # What was not closed at `as_of` is neither there nor missing; the silence was not known before the five minutes ended.
    assert minutes(await read("refuse", as_of=at(5))) == [*range(5)]
    with pytest.raises(MissingDataError) as refused:
        await read("refuse", as_of=at(4))
    assert refused.value.intervals == ((at(1), at(2)),)

    # Before the first candle there is nothing to fill with.
    assert minutes(await read("previous", start=at(-5), end=at(0))) == [-3, -2, -1]
    with pytest.raises(MissingDataError):
        await read("refuse", start=at(-5), end=at(-2))
    nothing = await read("previous", start=at(-9), end=at(-5), joined=["1h"])
    assert (len(nothing), "Close" in nothing) == (0, True)


async def test_longer_candles_stand_in_the_rows_from_their_close_on(
    engine: AsyncEngine, provider: UnifiedDataProvider
) -> None:
    await write(engine, BTC, "1m", numbered(range(17)))
    fives = numbered([0, 1, 2], Timeframe.M5)
    await write(engine, BTC, "5m", fives)
    frame = await read_backtesting_frame(
        provider, BTC, "1m", start=at(0), end=at(17), joined=["5m", "15m"], is_naive=True
    )
    assert frame.index.tz is None  # type: ignore[attr-defined]
    assert frame.index[0] == pd.Timestamp("2024-08-08 10:00")
    joined = frame["Close_5m"].tolist()
    # The row of 10:04 closes at 10:05, with the five minutes.
    assert joined == pytest.approx([np.nan] * 4 + [1000.0] * 5 + [1001.0] * 5 + [1002.0] * 3, nan_ok=True)
    assert frame["Close_15m"].notna().tolist() == [False] * 14 + [True] * 3
    assert frame["Close_15m"].iloc[-1] == 1014  # made of the minutes
    assert frame["Volume_15m"].iloc[-1] == 15

    late = await read_backtesting_frame(provider, BTC, "1m", start=at(7), end=at(9), joined=["5m"])
    assert late["Open_5m"].tolist() == [999.5, 999.5]


async def test_a_longer_candle_that_is_missing_is_not_an_older_one(
    engine: AsyncEngine, provider: UnifiedDataProvider
) -> None:
    await write(engine, BTC, "1m", numbered([0, 1, 2, 3, 4, 10, 11, 12, 13, 14]))
    options: dict[str, Any] = {"start": at(10), "end": at(15), "joined": ["5m"]}
    with pytest.raises(MissingDataError) as refused:
        await read_backtesting_frame(provider, BTC, "1m", **options)
    assert (refused.value.timeframe, refused.value.intervals) == ("5m", ((at(5), at(10)),))
    frame = await read_backtesting_frame(provider, BTC, "1m", missing="leave_out", **options)
    assert frame["Close_5m"].isna().tolist() == [True] * 4 + [False]
    frame = await read_backtesting_frame(provider, BTC, "1m", missing="previous", **options)
    assert frame["Close_5m"].tolist() == [1004] * 4 + [1014]
    assert frame["Volume_5m"].tolist() == [0] * 4 + [5]


async def test_wide_frames_have_a_column_for_each_symbol(
    engine: AsyncEngine, provider: UnifiedDataProvider
) -> None:
    await write(engine, BTC, "1m", numbered(range(6)))
    await write(engine, ETH, "1m", numbered([2, 3, 5]))
    options: dict[str, Any] = {"start": at(0), "end": at(6)}
    with pytest.raises(MissingDataError, match="ETH/USDT"):
        await read_wide_frames(provider, [ETH, BTC], "1m", **options)
    frames = await read_wide_frames(
        provider, [ETH, "btcusdt"], "1m", missing="leave_out", joined=["5m"], **options
    )
    fields = ["open", "high", "low", "close", "volume"]
    assert list(frames) == [*fields, *(f"{field}_5m" for field in fields)]
    assert all(list(frame.columns) == [ETH, BTC] for frame in frames.values())
    close = frames["close"]
    assert minutes(close) == [*range(6)]
    assert close[BTC].tolist() == [1000, 1001, 1002, 1003, 1004, 1005]
    assert close[ETH].fillna(0).tolist() == [0, 0, 1002, 1003, 0, 1005]
    assert frames["close_5m"][ETH].fillna(0).tolist() == [0, 0, 0, 0, 0, 1003]
    assert close.dtypes.tolist() == [np.float64] * 2
    previous = await read_wide_frames(provider, [ETH, BTC], "1m", missing="previous", **options)
    assert previous["close"][ETH].fillna(0).tolist() == [0, 0, 1002, 1003, 1003, 1005]
    assert previous["volume"][ETH].fillna(-1).tolist() == [-1, -1, 1, 1, 0, 1]
    naive = await read_wide_frames(provider, [BTC], "1m", is_naive=True, **options)
    assert naive["close"].index.tz is None  # type: ignore[attr-defined]
    for wrong in ([], [BTC, "BTC-USDT"]):
        with pytest.raises(InvalidInputError):
            await read_wide_frames(provider, wrong, "1m", **options)
    for given in ({"joined": ["1m"]}, {"missing": "zero"}, {"start": datetime(2024, 8, 8)}):  # noqa: DTZ001
        with pytest.raises(InvalidInputError):
            await read_wide_frames(provider, [BTC], "1m", **options | given)


async def test_the_outages_of_a_real_day_are_refused_or_filled(
    engine: AsyncEngine, provider: UnifiedDataProvider
) -> None:
    year = market_frame("ohlcv/binance_spot_BTCUSDT_1m_2018.parquet")
    await write(engine, BTC, "1m", year.loc["2018-02-07":"2018-02-10"])
    start, end = (datetime(2018, 2, day, tzinfo=UTC) for day in (8, 10))
    with pytest.raises(MissingDataError) as refused:
        await read_backtesting_frame(provider, BTC, "1m", start=start, end=end)
    missing = sum(((last - first) for first, last in refused.value.intervals), timedelta())
    there = year.loc[str(start) : str(end - MINUTE)]
    assert missing // MINUTE == 2 * 1440 - len(there) > 1_000
    left = await read_backtesting_frame(provider, BTC, "1m", start=start, end=end, missing="leave_out")
    pd.testing.assert_frame_equal(
        left, there.rename(columns=str.capitalize), check_exact=True, check_freq=False
    )
    filled = await read_backtesting_frame(provider, BTC, "1m", start=start, end=end, missing="previous")
    assert len(filled) == 2 * 1440
    assert (filled.loc[~filled.index.isin(there.index), "Volume"] == 0).all()
