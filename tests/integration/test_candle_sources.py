"""Which place each candle comes from, what becomes of missing ones, and candles that still form."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import text

from datalayer.db.aggregates import refresh_aggregates
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError, MissingDataError
from datalayer.repositories import CandleRepository, CoverageRepository, InstrumentRepository
from tests.refreshing import materialise

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

BTC = "BTC/USDT"
START = datetime(2024, 8, 8, tzinfo=UTC)
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


@pytest.fixture
async def candles(conn: AsyncConnection) -> CandleRepository:
    await InstrumentRepository(conn).ensure(BTC, 2, 6)
    return CandleRepository(conn)


def flat(count: int, timeframe: Timeframe, price: float, start: datetime = START) -> pd.DataFrame:
    """Candles of one price, so that a price tells where a candle was made from."""
    index = pd.date_range(start, periods=count, freq=timeframe.length, unit="us", name="timestamp")
    prices = dict.fromkeys(("open", "high", "low", "close"), price)
    return pd.DataFrame(prices | {"volume": 1.0}, index=index)


def told(frame: pd.DataFrame) -> list[tuple[float, str]]:
    return list(zip(frame["close"], frame["source"].astype(str), strict=True))


@asynccontextmanager
async def aggregated(
    engine: AsyncEngine, *written: tuple[str, pd.DataFrame]
) -> AsyncIterator[CandleRepository]:
    """Write candles of some timeframes, and materialise what they give."""
    async with engine.begin() as conn:
        await InstrumentRepository(conn).ensure(BTC, 2, 6)
        for timeframe, frame in written:
            await CandleRepository(conn).upsert_candles(BTC, timeframe, frame)
    await materialise(engine, "candles", START, START + 24 * HOUR)
    async with engine.begin() as conn:
        yield CandleRepository(conn)


async def test_stored_comes_before_aggregated_and_that_before_generated(engine: AsyncEngine) -> None:
    written = [
        ("1s", flat(600, Timeframe.S1, 1, START + 5 * MINUTE)),
        ("1m", flat(15, Timeframe.M1, 2)),
        ("5m", flat(1, Timeframe.M5, 3, START + 10 * MINUTE)),
    ]
    async with aggregated(engine, *written) as candles:
        await check_places(candles)


async def check_places(candles: CandleRepository) -> None:
    as_of = START + HOUR
    five = await candles.query_ohlcv_data(BTC, "5m", as_of=as_of)
    assert told(five) == [(2, "generated"), (1, "aggregate"), (3, "stored")]
    assert five.index.to_list() == [START, START + 5 * MINUTE, START + 10 * MINUTE]
    assert told(await candles.query_ohlcv_data(BTC, "5m", as_of=as_of, limit=2)) == told(five)[1:]
    assert (
        told(await candles.query_ohlcv_data(BTC, "5m", as_of=as_of, end=START + 10 * MINUTE))
        == told(five)[:2]
    )
    inside = await candles.query_ohlcv_data(BTC, "5m", as_of=as_of, start=START + SECOND)
    assert told(inside) == told(five)[1:]
    assert told(await candles.query_ohlcv_data(BTC, "5m", as_of=as_of, limit=0)) == []


async def test_the_last_candles_are_found_behind_a_long_gap(candles: CandleRepository) -> None:
    await candles.upsert_candles(BTC, "1m", flat(60, Timeframe.M1, 1))
    await candles.upsert_candles(BTC, "1h", flat(1, Timeframe.H1, 2, START + 40 * 24 * HOUR))
    hours = await candles.query_ohlcv_data(BTC, "1h", limit=5, as_of=START + 50 * 24 * HOUR)
    assert told(hours) == [(1, "generated"), (2, "stored")]


async def test_an_aggregate_with_a_hole_gives_way_to_what_has_none(engine: AsyncEngine) -> None:
    """Seconds of an hour but for 20 minutes in which the feed was away; the exchange's minutes were loaded later."""
    seconds = pd.concat([flat(1200, Timeframe.S1, 1), flat(1200, Timeframe.S1, 1, START + 40 * MINUTE)])
    async with aggregated(engine, ("1s", seconds)) as candles:
        alone = await candles.query_ohlcv_data(BTC, "1h", as_of=START + HOUR)
        assert told(alone) == [(1, "aggregate")]
        await candles.upsert_candles(BTC, "1m", flat(60, Timeframe.M1, 2))
        whole = await candles.query_ohlcv_data(BTC, "1h", as_of=START + HOUR)
        assert told(whole) == [(2, "generated")]
        assert whole["volume"].to_list() == [60.0]


async def test_silent_seconds_are_no_hole(engine: AsyncEngine) -> None:
    written = [("1s", flat(3600, Timeframe.S1, 1).iloc[::7]), ("1m", flat(60, Timeframe.M1, 2))]
    async with aggregated(engine, *written) as candles:
        assert told(await candles.query_ohlcv_data(BTC, "1h", as_of=START + HOUR)) == [(1, "aggregate")]


async def test_what_is_not_materialised_yet_is_rolled_up_in_the_same_way(candles: CandleRepository) -> None:
    await candles.upsert_candles(BTC, "1s", flat(3600, Timeframe.S1, 1).iloc[::7])
    await candles.upsert_candles(BTC, "1m", flat(60, Timeframe.M1, 2))
    for source in ("best", "aggregate"):
        hours = await candles.query_ohlcv_data(BTC, "1h", as_of=START + HOUR, source=source)
        assert told(hours) == [(1, "aggregate")]
        assert told(
            await candles.query_ohlcv_data(BTC, "1h", limit=5, as_of=START + HOUR, source=source)
        ) == told(hours)
    await candles.upsert_candles(BTC, "1m", flat(60, Timeframe.M1, 3, START + HOUR))
    as_of = START + 2 * HOUR
    assert told(await candles.query_ohlcv_data(BTC, "1h", as_of=as_of)) == [
        (1, "aggregate"),
        (3, "generated"),
    ]
    assert told(await candles.query_ohlcv_data(BTC, "1h", as_of=as_of, source="aggregate")) == [
        (1, "aggregate")
    ]
    now = await candles.query_ohlcv_data(BTC, "1h", as_of=as_of, source="generated")
    assert told(now) == [(1, "generated"), (3, "generated")]


async def test_what_was_materialised_before_a_late_write_is_not_given_out(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await InstrumentRepository(conn).ensure(BTC, 2, 6)
        await CandleRepository(conn).upsert_candles(BTC, "1s", flat(7200, Timeframe.S1, 1))
    await refresh_aggregates(engine, "candles", START, START + 4 * HOUR)
    late = flat(1, Timeframe.S1, 9, START + 30 * MINUTE)
    as_of = START + 4 * HOUR
    async with engine.begin() as conn:
        candles = CandleRepository(conn)
        await candles.upsert_candles(BTC, "1s", late)
        await conn.execute(text("DELETE FROM dirty_ranges"))
        stale = await candles.query_ohlcv_data(BTC, "1h", as_of=as_of)
        assert stale["high"].to_list() == [1, 1]
        assert (stale["source"] == "aggregate").all()
        await conn.execute(
            text("INSERT INTO dirty_ranges (relation, start_ts, end_ts) VALUES ('candles', :start, :end)"),
            {"start": late.index[0], "end": late.index[0] + SECOND},
        )
        fresh = await candles.query_ohlcv_data(BTC, "1h", as_of=as_of)
    assert fresh["high"].to_list() == [9, 1]
    assert fresh["source"].to_list() == ["aggregate", "aggregate"]


async def test_what_only_an_aggregate_still_has_outlives_a_late_row(engine: AsyncEngine) -> None:
    """The seconds of a week were dropped, and one of them comes again: no hour is made of it alone."""
    whole = flat(7200, Timeframe.S1, 1)
    async with aggregated(engine, ("1s", whole)) as candles:
        before = await candles.query_ohlcv_data(BTC, "1h", as_of=START + 4 * HOUR)
    async with engine.begin() as conn:
        await conn.execute(text("SELECT drop_chunks('candles', older_than => TIMESTAMPTZ '2024-09-01Z')"))
        candles = CandleRepository(conn)
        await candles.upsert_candles(BTC, "1s", flat(1, Timeframe.S1, 9, START + 30 * MINUTE))
        for limit in (None, 1, 2, 3):
            found = await candles.query_ohlcv_data(BTC, "1h", as_of=START + 4 * HOUR, limit=limit)
            pd.testing.assert_frame_equal(
                found, before if limit is None else before[-limit:], check_exact=True
            )
        minutes = await candles.query_ohlcv_data(BTC, "1m", as_of=START + 4 * HOUR)
        assert (len(minutes), minutes["high"].max()) == (120, 1)
        coverage = CoverageRepository(conn)
        assert not len(await coverage.query_missing_intervals(BTC, "1h", START, START + 2 * HOUR))
        report = await coverage.query_coverage(BTC, "1m", START, START + 2 * HOUR)
        assert report.intervals[["candles", "state"]].to_numpy().tolist() == [[120, "traded"]]


async def test_the_candle_that_forms_is_given_on_request_and_marked(candles: CandleRepository) -> None:
    await candles.upsert_candles(BTC, "1s", flat(200, Timeframe.S1, 1))
    await candles.upsert_candles(BTC, "1m", flat(10, Timeframe.M1, 2))
    # What an exchange stored of a candle that was not over is no reason to show it as closed, nor as forming.
    await candles.upsert_candles(BTC, "5m", flat(1, Timeframe.M5, 3))
    as_of = START + timedelta(seconds=150, microseconds=7)
    assert (await candles.query_ohlcv_data(BTC, "5m", as_of=as_of)).empty
    forming = await candles.query_ohlcv_data(BTC, "5m", as_of=as_of, include_forming=True)
    assert told(forming) == [(1, "forming")]
    assert forming["volume"].to_list() == [150.0]
    assert forming["is_forming"].to_list() == [True]
    closed = await candles.query_ohlcv_data(BTC, "1m", as_of=as_of, include_forming=True)
    assert closed["is_forming"].to_list() == [False, False, True]
    assert closed.index[-1] == START + 2 * MINUTE
    assert len(await candles.query_ohlcv_data(BTC, "1m", as_of=as_of, include_forming=True, limit=1)) == 1
    for bounds in ({"end": START}, {"start": START + 5 * MINUTE}):
        assert (
            await candles.query_ohlcv_data(BTC, "5m", as_of=as_of, include_forming=True, **bounds)  # type: ignore[arg-type]
        ).empty
    seconds = await candles.query_ohlcv_data(BTC, "1s", as_of=as_of, include_forming=True)
    assert not seconds["is_forming"].any()
    empty = await candles.query_ohlcv_data(BTC, "5m", as_of=START, include_forming=True)
    assert str(empty["is_forming"].dtype) == "bool"


async def test_a_forming_candle_is_made_of_what_covers_it_best(candles: CandleRepository) -> None:
    await candles.upsert_candles(BTC, "1s", flat(30, Timeframe.S1, 1, START + 3 * MINUTE))
    await candles.upsert_candles(BTC, "1m", flat(3, Timeframe.M1, 2))
    forming = await candles.query_ohlcv_data(
        BTC, "5m", as_of=START + timedelta(seconds=210), include_forming=True
    )
    assert told(forming) == [(2, "forming")]


async def test_candles_that_form_at_once_are_each_what_it_is_alone(engine: AsyncEngine) -> None:
    """Seconds with holes, materialised up to 13:20 and dirty in places; an hour of which there are only stored minutes."""
    random = np.random.default_rng(7)
    seconds = flat(15 * 3600, Timeframe.S1, 1)
    for name, change in (("open", 0), ("close", 0), ("high", 99), ("low", -99)):
        seconds[name] = random.integers(100, 200, len(seconds)) + change
    seconds = seconds[(random.random(len(seconds)) < 0.7) & (seconds.index.hour != 11)]  # type: ignore[attr-defined]
    minutes = flat(60, Timeframe.M1, 5, START + 11 * HOUR)
    async with engine.begin() as conn:
        await InstrumentRepository(conn).ensure(BTC, 2, 6)
        await CandleRepository(conn).upsert_candles(BTC, "1s", seconds)
        await CandleRepository(conn).upsert_candles(BTC, "1m", minutes)
    await materialise(engine, "candles", START, START + timedelta(hours=13, minutes=20))
    lengths = [timeframe for timeframe in Timeframe if timeframe is not Timeframe.S1]
    async with engine.begin() as conn:
        candles = CandleRepository(conn)
        await candles.upsert_candles(BTC, "1s", flat(3, Timeframe.S1, 7, START + timedelta(hours=12.61)))
        for hours in (0, 0.01, 11.4, 12, 12.6, 12.615, 13.25, 13.34, 14, 14.123, 15.5):
            asked: dict[str, Any] = {
                "start": START,
                "as_of": START + timedelta(hours=hours),
                "include_forming": True,
            }
            at_once = await candles.query_multi_timeframe_ohlcv(BTC, lengths, align=False, **asked)
            for length in lengths:
                alone = await candles.query_ohlcv_data(BTC, length, **asked)
                pd.testing.assert_frame_equal(at_once[length.label], alone, check_exact=True)
    assert set(at_once["1d"]["source"]) == {"forming"}


async def test_columns_are_chosen_and_ordered(candles: CandleRepository) -> None:
    await candles.upsert_candles(BTC, "1m", flat(3, Timeframe.M1, 1))
    frame = await candles.query_ohlcv_data(BTC, "1m", columns=["volume", "close"])
    assert frame.columns.to_list() == ["volume", "close"]
    assert frame.dtypes.astype(str).to_list() == ["float64", "float64"]
    assert len(await candles.query_ohlcv_data(BTC, "1m", columns=["source"])) == 3
    assert (await candles.query_ohlcv_data(BTC, "1m", columns=[])).shape == (3, 0)
    for wrong in (["price"], "close", ["close", "close"]):
        with pytest.raises(InvalidInputError, match="open, high, low, close, volume, trade_count, source"):
            await candles.query_ohlcv_data(BTC, "1m", columns=wrong)


@pytest.fixture
async def gappy(candles: CandleRepository) -> CandleRepository:
    """Minutes 0, 1, 4 and 5, at rising prices."""
    frame = pd.concat([flat(1, Timeframe.M1, 1.25 + n, START + n * MINUTE) for n in (0, 1, 4, 5)])
    await candles.upsert_candles(BTC, "1m", frame)
    return candles


async def test_missing_candles_are_absent_unless_a_policy_is_chosen(gappy: CandleRepository) -> None:
    query: dict[str, Any] = {"start": START - 2 * MINUTE, "end": START + 8 * MINUTE}
    assert len(await gappy.query_ohlcv_data(BTC, "1m", **query)) == 4
    nan = await gappy.query_ohlcv_data(BTC, "1m", fill="nan", **query)
    assert nan.index.to_list() == [START + n * MINUTE for n in range(-2, 8)]
    np.testing.assert_array_equal(
        nan["close"], [np.nan, np.nan, 1.25, 2.25, np.nan, np.nan, 5.25, 6.25, np.nan, np.nan]
    )
    assert nan["source"].to_list() == [
        *["filled"] * 2,
        *["stored"] * 2,
        *["filled"] * 2,
        *["stored"] * 2,
        *["filled"] * 2,
    ]
    previous = await gappy.query_ohlcv_data(BTC, "1m", fill="previous", **query)
    np.testing.assert_array_equal(
        previous["high"], [np.nan, np.nan, 1.25, 2.25, 2.25, 2.25, 5.25, 6.25, 6.25, 6.25]
    )
    np.testing.assert_array_equal(previous["volume"], [np.nan, np.nan, 1, 1, 0, 0, 1, 1, 0, 0])
    assert previous["trade_count"].isna().all()
    later = await gappy.query_ohlcv_data(
        BTC, "1m", fill="previous", start=START + 3 * MINUTE, limit=2, end=START + 5 * MINUTE
    )
    assert later["close"].to_list() == [2.25, 5.25]
    with pytest.raises(
        MissingDataError,
        match=r"BTC/USDT 1m has no candles in \[2024-08-08T00:02:00\+00:00, 2024-08-08T00:04",
    ) as refused:
        await gappy.query_ohlcv_data(BTC, "1m", fill="refuse")
    assert refused.value.intervals == ((START + 2 * MINUTE, START + 4 * MINUTE),)
    whole = await gappy.query_ohlcv_data(BTC, "1m", fill="refuse", end=START + 2 * MINUTE)
    assert len(whole) == 2


async def test_filled_rows_keep_steps_and_decimals_exact(gappy: CandleRepository) -> None:
    steps = await gappy.query_ohlcv_data(BTC, "1m", fill="previous", price_type="fixed")
    assert steps["close"].dtype == "Int64"
    assert steps["close"].to_list() == [125, 225, 225, 225, 525, 625]
    assert steps["volume"].to_list() == [1_000_000, 1_000_000, 0, 0, 1_000_000, 1_000_000]
    decimals = await gappy.query_ohlcv_data(BTC, "1m", fill="previous", price_type="decimal")
    assert decimals["open"].iloc[2] == Decimal("2.25")
    missing = await gappy.query_ohlcv_data(BTC, "1m", fill="nan", price_type="fixed")
    assert missing["open"].isna().to_list() == [False, False, True, True, False, False]
    with pytest.raises(InvalidInputError, match="nan, previous, refuse, or None"):
        await gappy.query_ohlcv_data(BTC, "1m", fill="zero")  # type: ignore[arg-type]
    assert (await gappy.query_ohlcv_data(BTC, "1m", fill="nan", end=START)).empty


@pytest.mark.parametrize("timeframe", Timeframe)
async def test_everything_is_visible_at_the_end_of_the_calendar(
    candles: CandleRepository, timeframe: Timeframe
) -> None:
    await candles.upsert_candles(BTC, timeframe, flat(3, timeframe, 1))
    last = datetime.max.replace(tzinfo=UTC)
    assert len(await candles.query_ohlcv_data(BTC, timeframe, as_of=last)) == 3
    assert len(await candles.query_ohlcv_data(BTC, timeframe, as_of=last, end=last, limit=1)) == 1
    frames = (
        await candles.query_multi_timeframe_ohlcv(BTC, [timeframe, "1d"], as_of=last)
        if timeframe is not Timeframe.D1
        else {}
    )
    assert all(len(frame) == 3 for frame in frames.values())
