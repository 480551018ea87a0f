"""Coverage on the real database: ranges, outages, silence."""

from __future__ import annotations

import gzip
import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import text

from datalayer.domain.coverage import LatestTimestamps, StoredRange
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError
from datalayer.integrations.binance.klines import Kline
from datalayer.integrations.binance.messages import parse_message
from datalayer.repositories import CandleRepository, CoverageRepository, InstrumentRepository
from datalayer.repositories.coverage_queries import gap_query, stored_gap_query, stored_ranges_query
from tests.market_files import market_file, market_frame
from tests.query_plans import chunks_in, query_plan
from tests.refreshing import materialise
from tests.sample_rows import START as FILLED_FROM
from tests.sample_rows import fill_every_table

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

BTC = "BTC/USDT"
NEW_YEAR = datetime(2018, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
async def coverage(conn: AsyncConnection) -> CoverageRepository:
    await InstrumentRepository(conn).ensure(BTC, 3, 6)
    return CoverageRepository(conn)


def candles(opens: pd.DatetimeIndex, volume: Any = 1.0) -> pd.DataFrame:
    return pd.DataFrame({"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "volume": volume}, index=opens)


def outages() -> pd.DataFrame:
    listed = pd.read_csv(market_file("ohlcv/binance_spot_BTCUSDT_1m_2018_gaps.csv"), parse_dates=[0, 1])
    edges = listed[["last_bar_before", "first_bar_after"]].apply(
        lambda column: column.dt.tz_localize("UTC").dt.as_unit("us")
    )
    return pd.DataFrame(
        {
            "start": edges["last_bar_before"] + MINUTE,
            "end": edges["first_bar_after"],
            "candles": listed["missing_bars"],
        }
    )


async def compress(conn: AsyncConnection, *tables: str) -> None:
    for table in tables:
        await conn.execute(text(f"SELECT compress_chunk(show_chunks('{table}'))"))


async def test_the_nine_outages_of_2018_are_reported_exactly(
    coverage: CoverageRepository, conn: AsyncConnection
) -> None:
    year, expected = market_frame("ohlcv/binance_spot_BTCUSDT_1m_2018.parquet"), outages()
    assert (len(expected), int(expected["candles"].sum())) == (9, 3_977)
    await CandleRepository(conn).upsert_candles(BTC, "1m", year)
    end = datetime(2019, 1, 1, tzinfo=UTC)
    whole = StoredRange(BTC, "candles", Timeframe.M1, NEW_YEAR, end - MINUTE, 521_623)

    async def check() -> None:
        found = await coverage.query_missing_intervals(BTC, "1m", NEW_YEAR, end)
        pd.testing.assert_frame_equal(found, expected)
        assert await coverage.list_stored_ranges(count_rows=True) == [whole]

    await check()
    report = await coverage.query_coverage(BTC, "1m", NEW_YEAR, end)
    assert (report.expected, report.traded, report.silent, report.missing) == (525_600, 521_623, 0, 3_977)
    missing = report.intervals[report.intervals["state"] == "missing"].reset_index(drop=True)
    pd.testing.assert_frame_equal(missing[["start", "end", "candles"]], expected)

    # Inside of the longest one, known to be missing only as far as its candles could be closed.
    inside, as_of = datetime(2018, 2, 8, 12, tzinfo=UTC), datetime(2018, 2, 9, tzinfo=UTC)
    part = await coverage.query_missing_intervals(BTC, "1m", inside, as_of=as_of + timedelta(seconds=59))
    assert part.to_numpy().tolist() == [[inside, as_of, 720]]

    # Hours, generated from the minutes: missing are those without a single one.
    hours = await coverage.query_missing_intervals(BTC, "1h", NEW_YEAR, end)
    assert int(hours["candles"].sum()) == 8_760 - len(year.index.floor("h").unique())  # type: ignore[attr-defined]
    stored_only = await coverage.query_missing_intervals(BTC, "1h", NEW_YEAR, end, stored_only=True)
    assert stored_only.to_numpy().tolist() == [[NEW_YEAR, end, 8_760]]

    await compress(conn, "candles")
    await check()


async def test_seconds_without_a_trade_are_silent_where_the_official_minute_accounts_for_them(
    coverage: CoverageRepository, conn: AsyncConnection
) -> None:
    """In ten full minutes 6 seconds had no trade; of the first and last minute the capture has a part only."""
    seconds = market_frame("ohlcv/binance_spot_BTCUSDT_1s_derived_from_trades_20240808-09.parquet")
    official = market_frame("ohlcv/binance_spot_BTCUSDT_1m_2024.parquet").loc["2024-08-08":"2024-08-09"]
    seconds["volume"] = seconds["volume"].round(6)
    repository = CandleRepository(conn)
    await repository.upsert_candles(BTC, "1s", seconds)
    start, end = datetime(2024, 8, 8, 23, 54, tzinfo=UTC), datetime(2024, 8, 9, 0, 6, tzinfo=UTC)
    unaccounted = await coverage.query_coverage(BTC, "1s", start, end)
    assert (unaccounted.traded, unaccounted.silent, unaccounted.missing) == (645, 0, 75)

    await repository.upsert_candles(BTC, "1m", official)
    report = await coverage.query_coverage(BTC, "1s", start, end)
    assert (report.expected, report.traded, report.silent, report.missing) == (720, 645, 6, 69)
    full = report.intervals[report.intervals["end"].between(start + MINUTE, end - MINUTE)]
    silent = full[full["state"] == "silent"]
    assert set(full["state"]) == {"traded", "silent"}
    assert silent["is_absent"].all()
    absent = pd.date_range(start + MINUTE, end - MINUTE, freq="s", inclusive="left").difference(seconds.index)
    assert silent["start"].tolist() == absent.tolist()

    # Before the minute is closed nobody can tell.
    early = await coverage.query_coverage(
        BTC, "1s", start + MINUTE, as_of=start + timedelta(minutes=3, seconds=59)
    )
    assert early.end == start + timedelta(minutes=3, seconds=59)
    assert set(early.intervals.loc[early.intervals["start"] >= start + 3 * MINUTE, "state"]) <= {
        "traded",
        "missing",
    }


async def test_a_lost_trade_is_missing_and_a_trade_count_can_show_it(
    coverage: CoverageRepository, conn: AsyncConnection
) -> None:
    repository = CandleRepository(conn)
    opens = pd.date_range(NEW_YEAR, periods=60, freq="s", unit="us").delete([7, 8, 30])
    await repository.upsert_candles(BTC, "1s", candles(opens).assign(trade_count=2))
    minute = candles(pd.DatetimeIndex([NEW_YEAR]), 57.0)
    for trade_count, states in [(114, "silent"), (115, "missing"), (np.nan, "missing")]:
        await repository.upsert_candles(BTC, "1m", minute.assign(trade_count=trade_count))
        report = await coverage.query_coverage(BTC, "1s", NEW_YEAR, NEW_YEAR + MINUTE)
        assert report.intervals["state"].tolist() == ["traded", states, "traded", states, "traded"]
        assert report.intervals["candles"].tolist() == [7, 2, 21, 1, 29]


async def test_stored_candles_without_volume_are_silent(conn: AsyncConnection) -> None:
    """Two closed klines in which nobody traded, and one with a trade, as an exchange has sent them."""
    packed = market_file("messages/cryptofeed_binance_kline_1m_messages.jsonl.gz").read_bytes()
    parsed = [
        parse_message(json.dumps(json.loads(line)["msg"])) for line in gzip.decompress(packed).splitlines()
    ]
    closed = {m.symbol: m.record() for m in parsed if isinstance(m, Kline) and m.is_closed}
    states = {}
    for symbol in ("ELF/BUSD", "XEM/USDT"):
        record = closed[symbol.replace("/", "")]
        await InstrumentRepository(conn).ensure(symbol, 8, 8)
        await CandleRepository(conn).upsert_candles(symbol, "1m", pd.DataFrame([record]).set_index("ts"))
        report = await CoverageRepository(conn).query_coverage(
            symbol, "1m", record["ts"] - MINUTE, record["ts"] + MINUTE
        )
        states[symbol] = report.intervals[["state", "is_absent"]].to_numpy().tolist()
    assert states == {
        "ELF/BUSD": [["missing", True], ["silent", False]],
        "XEM/USDT": [["missing", True], ["traded", False]],
    }


async def test_an_absent_minute_is_silent_where_the_seconds_of_its_neighbours_make_the_longer_candle(
    coverage: CoverageRepository, conn: AsyncConnection
) -> None:
    """Minutes are stored (0), generated from seconds (1), absent (2 to 4)."""
    repository = CandleRepository(conn)
    await repository.upsert_candles(BTC, "1m", candles(pd.DatetimeIndex([NEW_YEAR])))
    seconds = pd.date_range(NEW_YEAR, periods=70, freq="s", unit="us")
    await repository.upsert_candles(BTC, "1s", candles(seconds, 0.5))
    await repository.upsert_candles(BTC, "5m", candles(pd.DatetimeIndex([NEW_YEAR]), 1.0 + 10 * 0.5))
    report = await coverage.query_coverage(BTC, "1m", NEW_YEAR, NEW_YEAR + 6 * MINUTE)
    assert report.intervals[["candles", "state"]].to_numpy().tolist() == [
        [2, "traded"],
        [3, "silent"],
        [1, "missing"],
    ]


async def test_a_candle_that_only_the_aggregate_still_has_is_not_missing(engine: AsyncEngine) -> None:
    """The seconds of a week were dropped after they had been rolled up."""
    async with engine.begin() as conn:
        await InstrumentRepository(conn).ensure(BTC, 3, 6)
        seconds = pd.date_range(NEW_YEAR + 2 * MINUTE, periods=120, freq="s", unit="us")
        await CandleRepository(conn).upsert_candles(BTC, "1s", candles(seconds, 0.5))
    await materialise(engine, "candles", NEW_YEAR, NEW_YEAR + 10 * MINUTE)
    async with engine.begin() as conn:
        await conn.execute(text("SELECT drop_chunks('candles', older_than => TIMESTAMPTZ '2018-02-01')"))
        await CandleRepository(conn).upsert_candles(
            BTC, "5m", candles(pd.DatetimeIndex([NEW_YEAR]), 60.0).assign(trade_count=7)
        )
        coverage = CoverageRepository(conn)
        missing = await coverage.query_missing_intervals(BTC, "1m", NEW_YEAR, NEW_YEAR + 5 * MINUTE)
        assert missing["candles"].tolist() == [2, 1]
        report = await coverage.query_coverage(BTC, "1m", NEW_YEAR, NEW_YEAR + 5 * MINUTE)
        assert report.intervals["state"].tolist() == ["silent", "traded", "silent"]
        read = await CandleRepository(conn).query_ohlcv_data(BTC, "1m")
        assert len(read) == report.traded == 2


def slowly(stored: dict[Timeframe, pd.DatetimeIndex], wanted: Timeframe, end: datetime) -> pd.DatetimeIndex:
    """Return the open times before `end` that none of the stored candles lies in."""
    expected = pd.date_range(NEW_YEAR, end, freq=wanted.length, inclusive="left", unit="us")
    expected = expected[expected + wanted.length <= end]
    for timeframe, opens in stored.items():
        if timeframe <= wanted:
            expected = expected.difference(opens.floor(wanted.offset))
    return expected


def exploded(intervals: pd.DataFrame, timeframe: Timeframe) -> pd.DatetimeIndex:
    ranges = [
        pd.date_range(row.start, row.end, freq=timeframe.length, inclusive="left", unit="us")
        for row in intervals.itertuples()
    ]
    return ranges[0].append(ranges[1:]) if ranges else pd.DatetimeIndex([], tz="UTC").as_unit("us")


@pytest.mark.parametrize("seed", range(12))
async def test_missing_is_what_nobody_has(
    coverage: CoverageRepository, conn: AsyncConnection, seed: int
) -> None:
    """Against a slow count, at any moment; and what was not visible then makes no difference."""
    random = np.random.default_rng(seed)
    repository, stored = CandleRepository(conn), {}
    for timeframe in (Timeframe.M1, Timeframe.M5, Timeframe.M15):
        opens = pd.date_range(
            NEW_YEAR, periods=7_200 // timeframe.value * 4, freq=timeframe.length, unit="us"
        )
        stored[timeframe] = opens[np.repeat(random.random(len(opens) // 4) < random.choice([0.2, 0.9]), 4)]
        await repository.upsert_candles(BTC, timeframe, candles(stored[timeframe]))
    as_of = NEW_YEAR + timedelta(seconds=int(random.integers(1, 8 * 3_600)))
    seen = {timeframe: opens[opens + timeframe.length <= as_of] for timeframe, opens in stored.items()}
    answers = []
    for _ in range(2):
        answers.append([])
        for wanted in (Timeframe.M1, Timeframe.M5, Timeframe.M15, Timeframe.H1):
            found = await coverage.query_missing_intervals(BTC, wanted, NEW_YEAR, as_of=as_of)
            expected = slowly(seen, wanted, as_of)
            assert exploded(found, wanted).equals(expected)
            assert found["candles"].sum() == len(expected)
            assert (found["start"].iloc[1:].to_numpy() > found["end"].iloc[:-1].to_numpy()).all()
            report = await coverage.query_coverage(BTC, wanted, NEW_YEAR, as_of=as_of)
            absent = report.intervals[report.intervals["is_absent"]]
            assert exploded(absent, wanted).equals(expected)
            assert report.expected == (as_of - NEW_YEAR) // wanted.length
            assert report.intervals["end"].tolist()[:-1] == report.intervals["start"].tolist()[1:]
            answers[-1] += [found, report.intervals]
        ranges = await coverage.list_stored_ranges(as_of=as_of, count_rows=True)
        assert {found.timeframe: (found.first, found.last, found.rows) for found in ranges} == {
            timeframe: (opens[0], opens[-1], len(opens)) for timeframe, opens in seen.items() if len(opens)
        }
        await conn.execute(
            text("DELETE FROM candles WHERE ts + timeframe * interval '1 second' > :as_of"), {"as_of": as_of}
        )
    for before, after in zip(*answers, strict=True):
        pd.testing.assert_frame_equal(before, after)


async def test_everything_has_a_range_and_a_latest_time(conn: AsyncConnection) -> None:
    await fill_every_table(conn)
    await InstrumentRepository(conn).ensure("ETH/USDT", 2, 5)
    coverage, start, tick = CoverageRepository(conn), FILLED_FROM, timedelta(microseconds=1)
    seconds = {"candles": 7_199, "trades": 7_190, "order_books": 399.6, "order_book_imbalances": 99}
    rows = {"candles": 7_200, "trades": 720, "order_books": 1_000, "order_book_imbalances": 100}
    last = {kind: start + timedelta(seconds=after) for kind, after in seconds.items()}
    for _ in range(2):
        assert await coverage.list_stored_ranges(count_rows=True) == [
            StoredRange(BTC, kind, Timeframe.S1 if kind == "candles" else None, start, last[kind], rows[kind])  # type: ignore[arg-type]
            for kind in rows
        ]
        assert await coverage.list_latest_timestamps(["ethusdt", BTC]) == [
            LatestTimestamps(BTC, {Timeframe.S1: last.pop("candles")}, *last.values()),
            LatestTimestamps("ETH/USDT"),
        ]
        last["candles"] = start + timedelta(seconds=7_199)
        await compress(conn, "candles", "trades", "order_books", "order_book_imbalances")
    assert await coverage.list_stored_ranges(["ETH/USDT"]) == []
    early = await coverage.list_latest_timestamps([BTC], as_of=start + timedelta(seconds=1))
    assert early == [
        LatestTimestamps(
            BTC,
            {Timeframe.S1: start},
            start,
            start + timedelta(milliseconds=800),
            start + timedelta(seconds=1),
        )
    ]
    assert await coverage.list_latest_timestamps(as_of=start - tick) == [
        LatestTimestamps(BTC),
        LatestTimestamps("ETH/USDT"),
    ]


async def test_nothing_is_missing_in_an_empty_range_and_everything_where_nothing_is_stored(
    coverage: CoverageRepository,
) -> None:
    after = NEW_YEAR + timedelta(seconds=30)
    empty = await coverage.query_missing_intervals(BTC, "1m", after, after)
    assert empty.dtypes.astype(str).to_dict() == {
        "start": "datetime64[us, UTC]",
        "end": "datetime64[us, UTC]",
        "candles": "int64",
    }
    assert len(empty) == 0
    nothing = await coverage.query_coverage(BTC, "1m", after, after)
    assert (nothing.expected, nothing.missing) == (0, 0)
    # Open times on the grid: 00:01 is in [00:00:30, 00:01:30), 00:00 and 00:02 are not.
    one = await coverage.query_missing_intervals(BTC, "1m", after, after + MINUTE)
    assert one.to_numpy().tolist() == [[NEW_YEAR + MINUTE, NEW_YEAR + 2 * MINUTE, 1]]
    everything = await coverage.query_coverage(BTC, "1d", NEW_YEAR, NEW_YEAR + timedelta(days=400))
    assert everything.intervals[["candles", "state"]].to_numpy().tolist() == [[400, "missing"]]
    assert await coverage.list_stored_ranges() == []
    with pytest.raises(InvalidInputError, match="naive"):
        await coverage.query_missing_intervals(BTC, "1m", datetime(2018, 1, 1))  # noqa: DTZ001
    with pytest.raises(InvalidInputError, match="before start"):
        await coverage.query_coverage(BTC, "1m", NEW_YEAR, NEW_YEAR - MINUTE)
    with pytest.raises(InvalidInputError, match="not registered"):
        await coverage.list_latest_timestamps(["XLM/EUR"])


@pytest.mark.parametrize("is_compressed", [False, True])
async def test_plans_leave_out_chunks_and_use_the_key(
    coverage: CoverageRepository, conn: AsyncConnection, *, is_compressed: bool
) -> None:
    opens = pd.date_range(NEW_YEAR, periods=24 * 60, freq="h", unit="us")
    await CandleRepository(conn).upsert_candles(BTC, "1h", candles(opens))
    if is_compressed:
        await compress(conn, "candles")
    instrument = await InstrumentRepository(conn).get(BTC)
    middle, later = NEW_YEAR + timedelta(days=20), NEW_YEAR + timedelta(days=22)
    for query in (stored_gap_query, gap_query):
        plan = await query_plan(conn, query(instrument, Timeframe.H1, middle, later))
        assert 1 <= len(chunks_in(plan)) <= 2
        assert not re.search("Seq Scan on (_hyper|compress)", plan)
    ends = await query_plan(conn, with_values(instrument.id))
    assert not re.search("Seq Scan on (_hyper|compress)", ends)
    assert ends.count("ChunkAppend") == 2  # one from each end, in order, to the first row
    assert "Aggregate" not in ends
    assert await coverage.list_stored_ranges() == [
        StoredRange(BTC, "candles", Timeframe.H1, NEW_YEAR, opens[-1].to_pydatetime())
    ]


def with_values(instrument_id: int) -> str:
    query = str(stored_ranges_query(count_rows=False)).replace(":ids", f"'{{{instrument_id}}}'")
    query = query.replace(":timeframes", "'{60,3600}'")
    return query.replace(":candle_ends", "'{2024-01-01 00:00+00,2024-01-01 00:00+00}'").replace(
        ":event_end", "'2024-01-01 00:00+00'"
    )
