"""Candles in and out of the real database."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import text

from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError, ScaleError
from datalayer.repositories import CandleRepository, InstrumentRepository, WriteCounts
from tests.market_files import market_frame
from tests.refreshing import materialise

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

BTC = "BTC/USDT"
START = datetime(2024, 8, 8, tzinfo=UTC)


@pytest.fixture
async def candles(conn: AsyncConnection) -> CandleRepository:
    await InstrumentRepository(conn).ensure(BTC, 2, 6)
    return CandleRepository(conn)


def ramp(count: int, timeframe: Timeframe = Timeframe.M1, start: datetime = START) -> pd.DataFrame:
    """Candles that all differ: the n-th opens at 100 + n."""
    index = pd.date_range(start, periods=count, freq=timeframe.length, unit="us", name="timestamp")
    opened = 100.0 + np.arange(count)
    return pd.DataFrame(
        {
            "open": opened,
            "high": opened + 2,
            "low": opened - 0.25,
            "close": opened + 0.5,
            "volume": opened / 8,
        },
        index=index,
    )


def values(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[["open", "high", "low", "close", "volume"]]


async def stored(conn: AsyncConnection) -> int:
    return (await conn.execute(text("SELECT count(*) FROM candles"))).scalar_one()


async def test_a_real_month_comes_back_bit_by_bit_and_again_changes_nothing(
    candles: CandleRepository, conn: AsyncConnection
) -> None:
    year = market_frame("ohlcv/binance_spot_BTCUSDT_1m_2024.parquet")
    month = year.loc["2024-08"]
    assert await candles.upsert_candles(BTC, "1m", month) == WriteCounts(inserted=44_640)
    back = await candles.query_ohlcv_data(BTC, "1m")
    pd.testing.assert_frame_equal(values(back), month, check_exact=True, check_freq=False)
    assert back["trade_count"].isna().all()
    assert back.attrs == {"symbol": BTC, "timeframe": "1m"}
    assert (back["source"] == "stored").all()
    assert await candles.upsert_candles(BTC, "1m", month) == WriteCounts(unchanged=44_640)

    changed = month.copy()
    changed.iloc[::1000, 3] = changed.iloc[::1000, 2]
    more = pd.concat([changed, year.loc["2024-09-01"]])
    expected = int((changed["close"] != month["close"]).sum())
    assert 0 < expected <= 45
    counts = await candles.upsert_candles(BTC, "1m", more.iloc[::-1])
    assert counts == WriteCounts(inserted=1440, updated=expected, unchanged=44_640 - expected)
    again = await candles.query_ohlcv_data(BTC, "1m")
    pd.testing.assert_frame_equal(values(again), more, check_exact=True, check_freq=False)
    assert await stored(conn) == 44_640 + 1440


async def test_three_decimals_are_refused_at_scale_two_and_nothing_is_written(
    candles: CandleRepository, conn: AsyncConnection
) -> None:
    year = market_frame("ohlcv/binance_spot_BTCUSDT_1m_2018.parquet")
    prices = year[["open", "high", "low", "close"]].to_numpy()
    row = int(np.argmax((prices.round(2) != prices).any(axis=1)))
    with pytest.raises(ScaleError, match=r"has more than 2 decimals; the instrument needs a larger scale"):
        await candles.upsert_candles(BTC, "1m", year.iloc[row - 20_000 : row + 10])
    assert await stored(conn) == 0


@pytest.mark.parametrize("transaction", ["rollback", "commit"])
async def test_only_the_caller_commits(engine: AsyncEngine, transaction: str) -> None:
    async with engine.connect() as conn:
        await InstrumentRepository(conn).ensure(BTC, 2, 6)
        await CandleRepository(conn).upsert_candles(BTC, "1m", ramp(20_001))
        await getattr(conn, transaction)()
        assert await stored(conn) == (20_001 if transaction == "commit" else 0)


async def test_counts_are_right_in_compressed_chunks(engine: AsyncEngine) -> None:
    frame = ramp(30_000, Timeframe.M5)
    async with engine.begin() as conn:
        await InstrumentRepository(conn).ensure(BTC, 2, 6)
        await CandleRepository(conn).upsert_candles(BTC, "5m", frame)
    async with engine.connect() as conn:
        await conn.execution_options(isolation_level="AUTOCOMMIT")
        chunks = len((await conn.execute(text("SELECT compress_chunk(show_chunks('candles'))"))).all())
    frame.iloc[5000:5010, 1] += 1
    more = pd.concat([frame, ramp(100, Timeframe.M5, frame.index[-1] + timedelta(minutes=5))])
    async with engine.begin() as conn:
        candles = CandleRepository(conn)
        assert await candles.upsert_candles(BTC, "5m", more) == WriteCounts(100, 10, 29_990)
        assert await candles.upsert_candles(BTC, "5m", more) == WriteCounts(0, 0, 30_100)
        back = await candles.query_ohlcv_data(BTC, "5m")
        pd.testing.assert_frame_equal(values(back), more, check_exact=True, check_freq=False)
    assert chunks > 2


async def test_rewriting_what_a_compressed_chunk_holds_does_not_decompress_it(engine: AsyncEngine) -> None:
    frame = ramp(30_000, Timeframe.M5)
    async with engine.begin() as conn:
        await InstrumentRepository(conn).ensure(BTC, 2, 6)
        await CandleRepository(conn).upsert_candles(BTC, "5m", frame)
    async with engine.connect() as conn:
        await conn.execution_options(isolation_level="AUTOCOMMIT")
        await conn.execute(text("SELECT compress_chunk(show_chunks('candles'))"))
    async with engine.begin() as conn:
        await CandleRepository(conn).upsert_candles(BTC, "5m", frame)
        chunks = (await conn.scalars(text("SELECT show_chunks('candles')::text"))).all()
        rows = [
            (await conn.execute(text(f"SELECT count(*) FROM ONLY {chunk}"))).scalar_one() for chunk in chunks
        ]
    assert len(rows) > 2
    assert set(rows) == {0}


@pytest.mark.native
async def test_concurrent_writers_of_the_same_candles_count_each_row_once(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await InstrumentRepository(conn).ensure(BTC, 2, 6)
    frame = ramp(25_000)

    async def write(order: int) -> WriteCounts:
        async with engine.begin() as conn:
            return await CandleRepository(conn).upsert_candles(BTC, "1m", frame.iloc[::order])

    counts = await asyncio.gather(*(write(order) for order in (1, -1, 1, -1)))
    assert sum(counts, WriteCounts()) == WriteCounts(inserted=25_000, unchanged=75_000)


async def test_a_write_without_a_trade_count_keeps_the_stored_one(candles: CandleRepository) -> None:
    frame = ramp(3)
    counted = frame.assign(trade_count=pd.array([7, None, 0], dtype="Int64"))
    await candles.upsert_candles(BTC, "1m", counted)
    assert await candles.upsert_candles(BTC, "1m", frame) == WriteCounts(unchanged=3)
    frame["close"] += 0.25
    assert await candles.upsert_candles(BTC, "1m", frame) == WriteCounts(updated=3)
    back = await candles.query_ohlcv_data(BTC, "1m")
    assert back["trade_count"].to_list() == [7, pd.NA, 0]
    assert await candles.upsert_candles(
        BTC, "1m", frame.assign(trade_count=[8.0, np.nan, np.nan])
    ) == WriteCounts(0, 1, 2)


async def test_prices_come_as_floats_decimals_or_steps(candles: CandleRepository) -> None:
    exact = ramp(2).map(lambda value: Decimal(str(value)))
    await candles.upsert_candles(BTC, "1m", exact)
    decimals = await candles.query_ohlcv_data(BTC, "1m", price_type="decimal")
    assert [str(value) for value in decimals.iloc[1, :5]] == [
        "101.00",
        "103.00",
        "100.75",
        "101.50",
        "12.625000",
    ]
    steps = await candles.query_ohlcv_data(BTC, "1m", price_type="fixed")
    assert steps.iloc[1, :5].to_list() == [10100, 10300, 10075, 10150, 12_625_000]
    floats = await candles.query_ohlcv_data(BTC, "1m")
    pd.testing.assert_frame_equal(values(floats), ramp(2), check_exact=True, check_freq=False)


async def test_rows_that_repeat_collapse_and_rows_that_differ_are_refused(candles: CandleRepository) -> None:
    frame = ramp(3)
    twice = pd.concat([frame, frame.iloc[1:2]])
    assert await candles.upsert_candles(BTC, "1m", twice) == WriteCounts(inserted=3, unchanged=1)
    twice.iloc[3, 3] += 0.01
    with pytest.raises(
        InvalidInputError, match=r"two rows with the same key ts=2024-08-08T00:01.* differ"
    ) as refused:
        await candles.upsert_candles(BTC, "1m", twice)
    assert refused.value.field == "close"


def mended(**columns: Any) -> pd.DataFrame:
    return ramp(3).assign(**columns)


UNUSABLE = {
    "naive": (ramp(3).tz_localize(None), r"timestamp='2024-08-08T00:00:00': naive; .*tz_localize\('UTC'\)"),
    "no times": (ramp(3).reset_index(), "set_index"),
    "NaT": (ramp(3).set_index(pd.DatetimeIndex([START, pd.NaT, START])), "row 1 has no time"),
    "too fine": (
        ramp(3).set_index(ramp(3).index.as_unit("ns") + pd.Timedelta(1, "ns")),
        "finer than a microsecond",
    ),
    "another unit": (
        ramp(2).set_index(
            pd.DatetimeIndex(np.array(["2024-08-08", "56000-01-01"], "datetime64[us]"), tz="UTC")
        ),
        "must be in the years 1 to 9999",
    ),
    "off the grid": (ramp(3).shift(freq="1us"), r"row 0 is no open time .* opens at 2024-08-08T00:00:00"),
    "missing": (ramp(3).drop(columns=["low", "volume"]), "missing: low, volume"),
    "twice": (pd.concat([ramp(3), ramp(3)[["open"]]], axis=1), r"columns=\['open'\]: each column"),
    "NaN": (mended(close=[100.5, np.nan, 102.5]), "close=nan: row 1 is not a finite number"),
    "high": (mended(high=[1.0, 200, 200]), r"high=1\.0: row 0 is below its open or close"),
    "low": (mended(low=[1.0, 1, 500]), r"low=500\.0: row 2 is above its open or close"),
    "volume": (mended(volume=[1.0, -1, 1]), r"volume=-1\.0: row 1 is negative"),
    "count": (mended(trade_count=[1, -1, 1]), "trade_count=-1: row 1 is not in 0"),
    "fraction": (mended(trade_count=[1, 1.5, 1]), "is no whole number"),
    "text": (mended(trade_count=["1", "2", "3"]), "give a column of integers"),
}


@pytest.mark.parametrize("case", UNUSABLE)
async def test_unusable_frames_are_refused(
    candles: CandleRepository, conn: AsyncConnection, case: str
) -> None:
    frame, reason = UNUSABLE[case]
    with pytest.raises(InvalidInputError, match=reason):
        await candles.upsert_candles(BTC, "1m", frame)
    assert await stored(conn) == 0


async def test_times_of_another_zone_are_converted(candles: CandleRepository) -> None:
    await candles.upsert_candles(BTC, "1m", ramp(3).tz_convert("Asia/Kolkata"))
    back = await candles.query_ohlcv_data(BTC, "1m", start=START.astimezone(timezone(timedelta(hours=-7))))
    pd.testing.assert_frame_equal(values(back), ramp(3), check_freq=False)


async def test_nothing_is_an_empty_frame_of_the_right_kind(candles: CandleRepository) -> None:
    assert await candles.upsert_candles(BTC, "1m", pd.DataFrame()) == WriteCounts()
    assert await candles.upsert_candles(BTC, "1m", ramp(0)) == WriteCounts()
    for source in ("stored", "aggregate", "generated"):
        frame = await candles.query_ohlcv_data(BTC, "5m", source=source, limit=5)  # type: ignore[arg-type]
        assert frame.empty
        assert str(frame.index.dtype) == "datetime64[us, UTC]"
        assert frame.index.name == "timestamp"
        expected = dict.fromkeys(("open", "high", "low", "close", "volume"), "float64") | {
            "trade_count": "Int64",
            "source": "category",
        }
        assert frame.dtypes.astype(str).to_dict() == expected


async def test_ranges_are_half_open_and_the_last_rows_ascend(candles: CandleRepository) -> None:
    frame = ramp(10)
    await candles.upsert_candles(BTC, "1m", frame)

    async def opens(**query: Any) -> list[float]:
        return (await candles.query_ohlcv_data(BTC, "1m", **query))["open"].to_list()

    minute = timedelta(minutes=1)
    assert await opens(start=START + minute, end=START + 3 * minute) == [101, 102]
    assert await opens(start=START + minute, end=START + minute) == []
    assert await opens(limit=3) == [107, 108, 109]
    assert await opens(limit=3, end=START + 5 * minute) == [102, 103, 104]
    assert await opens(limit=0) == []
    with pytest.raises(InvalidInputError, match="naive"):
        await opens(start=datetime(2024, 8, 8))  # noqa: DTZ001
    with pytest.raises(InvalidInputError, match="before start"):
        await opens(start=START, end=START - minute)
    with pytest.raises(InvalidInputError, match="limit=-1"):
        await opens(limit=-1)


async def test_a_candle_is_visible_from_its_close_on(candles: CandleRepository) -> None:
    await candles.upsert_candles(BTC, "1m", ramp(3))
    for after, visible in [(59.999999, 0), (60, 1), (119.999999, 1), (120, 2), (7200, 3)]:
        frame = await candles.query_ohlcv_data(BTC, "1m", as_of=START + timedelta(seconds=after))
        assert len(frame) == visible
    now = datetime.now(UTC)
    forming = Timeframe.D1.floor(now)
    await candles.upsert_candles(BTC, "1d", ramp(2, Timeframe.D1, forming - timedelta(days=1)))
    days = await candles.query_ohlcv_data(BTC, "1d", source="stored")
    assert days.index.to_list() == [forming - timedelta(days=1)]


async def test_unknown_symbols_name_those_that_look_alike(candles: CandleRepository) -> None:
    with pytest.raises(InvalidInputError, match="did you mean BTC/USDT"):
        await candles.query_ohlcv_data("BTC/USD", "1m")
    with pytest.raises(InvalidInputError, match=r"not registered; `InstrumentRepository.ensure`"):
        await candles.upsert_candles("XLM/EUR", "1m", ramp(1))


async def test_sources_that_do_not_exist_are_refused(candles: CandleRepository) -> None:
    with pytest.raises(InvalidInputError, match="1s is the lowest timeframe"):
        await candles.query_ohlcv_data(BTC, "1s", source="aggregate")
    with pytest.raises(InvalidInputError, match="best, stored, aggregate, generated"):
        await candles.query_ohlcv_data(BTC, "1m", source="cache")  # type: ignore[arg-type]


@pytest.mark.parametrize("timeframe", [t for t in Timeframe if t is not Timeframe.S1])
async def test_generated_candles_stand_on_the_grid_and_are_closed(
    candles: CandleRepository, timeframe: Timeframe
) -> None:
    """Two candles and a half of any length, also where `time_bucket` by itself starts at 2000-01-03."""
    lower = list(Timeframe)[list(Timeframe).index(timeframe) - 1]
    per_candle = timeframe // lower
    first = timeframe.floor(datetime(1999, 12, 31, 23, 7, tzinfo=UTC))
    frame = ramp(per_candle * 5 // 2, lower, first)
    await candles.upsert_candles(BTC, lower, frame)
    as_of = first + 2 * timeframe.length
    made = await candles.query_ohlcv_data(BTC, timeframe, source="generated", as_of=as_of)
    assert made.index.to_list() == [first, first + timeframe.length]
    expected = frame.iloc[: 2 * per_candle].groupby(np.arange(2 * per_candle) // per_candle)
    assert made["open"].to_list() == expected["open"].first().to_list()
    assert made["high"].to_list() == expected["high"].max().to_list()
    assert made["low"].to_list() == expected["low"].min().to_list()
    assert made["close"].to_list() == expected["close"].last().to_list()
    assert made["volume"].to_list() == expected["volume"].sum().to_list()
    assert (made["source"] == "generated").all()
    before = await candles.query_ohlcv_data(
        BTC, timeframe, source="generated", as_of=as_of - timedelta(microseconds=1)
    )
    assert before.index.to_list() == [first]
    inside = first + timedelta(microseconds=1)
    later = await candles.query_ohlcv_data(BTC, timeframe, source="generated", as_of=as_of, start=inside)
    assert later.index.to_list() == [first + timeframe.length]


async def test_a_candle_is_generated_from_what_covers_it_best(candles: CandleRepository) -> None:
    """Seconds for the second half of the first minute only; seconds for all of the second one."""
    await candles.upsert_candles(BTC, "1m", ramp(10))
    await candles.upsert_candles(BTC, "1s", ramp(600, Timeframe.S1, START + timedelta(seconds=150)))
    made = await candles.query_ohlcv_data(BTC, "5m", source="generated", as_of=START + timedelta(minutes=10))
    assert made["open"].to_list() == [100.0, 250.0]
    assert made["close"].to_list() == [104.5, 549.5]


async def test_the_database_rolls_real_seconds_up_to_the_official_minutes(engine: AsyncEngine) -> None:
    seconds = market_frame("ohlcv/binance_spot_BTCUSDT_1s_derived_from_trades_20240808-09.parquet")
    official = market_frame("ohlcv/binance_spot_BTCUSDT_1m_2024.parquet")
    seconds["volume"] = seconds["volume"].round(6)
    begin, end = datetime(2024, 8, 8, 23, 55, tzinfo=UTC), datetime(2024, 8, 9, 0, 5, tzinfo=UTC)
    expected = official.loc[begin : end - timedelta(minutes=1)]
    async with engine.begin() as conn:
        await InstrumentRepository(conn).ensure(BTC, 2, 6)
        await CandleRepository(conn).upsert_candles(BTC, "1s", seconds)
        complete = await CandleRepository(conn).query_ohlcv_data(
            BTC, "1m", start=begin, end=end, fill="refuse"
        )
        assert (complete["source"] == "aggregate").all()
    await materialise(engine, "candles", begin, end)
    async with engine.connect() as conn:
        candles = CandleRepository(conn)
        for source in ("generated", "aggregate"):
            made = await candles.query_ohlcv_data(BTC, "1m", start=begin, end=end, source=source)
            pd.testing.assert_frame_equal(values(made), expected, check_exact=True, check_freq=False)
            pd.testing.assert_frame_equal(values(made), values(complete))
