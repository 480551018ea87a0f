"""Streams of history from the real database: nothing twice, nothing left out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import event, text

from datalayer.db.connection import DatabaseConnectionManager
from datalayer.domain.order_book import OrderBookColumns
from datalayer.errors import InvalidInputError
from datalayer.repositories import (
    CandleRepository,
    InstrumentRepository,
    MarketHistory,
    OrderBookRepository,
)
from datalayer.repositories.history_batches import BookBatches, Position, TradeBatches
from tests.market_books import capture_books
from tests.market_files import market_frame
from tests.query_plans import chunks_in, query_plan
from tests.refreshing import materialise
from tests.stored_history import BTC, END, START, everything, many_trades, write_trades

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.config import Settings

MINUTE = timedelta(minutes=1)


async def write_candles(engine: AsyncEngine, frame: pd.DataFrame, timeframe: str = "1m") -> None:
    async with engine.begin() as conn:
        await CandleRepository(conn).upsert_candles(BTC, timeframe, frame)


def candles(opens: pd.DatetimeIndex) -> pd.DataFrame:
    return pd.DataFrame({"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "volume": 1.0}, index=opens)


async def compress(engine: AsyncEngine, table: str) -> None:
    async with engine.begin() as conn:
        await conn.execute(text(f"SELECT compress_chunk(show_chunks('{table}'))"))


async def test_trades_that_share_a_microsecond_are_all_there_once(
    history: MarketHistory, engine: AsyncEngine
) -> None:
    """Up to 735 of them have the same time; they are cut in the middle by every one of these sizes."""
    expected = await write_trades(engine)
    assert expected.index.value_counts().max() == 735
    for is_compressed in (False, True):
        if is_compressed:
            await compress(engine, "trades")
        for rows in (7, 500, 19_904, 50_000):
            cut = expected.index[2_000] if rows == 7 else END
            found = await everything(history.stream_trades(BTC, start=START, end=cut, batch_rows=rows), rows)
            pd.testing.assert_frame_equal(pd.concat(found), expected.loc[expected.index < cut])


async def test_books_come_in_batches(history: MarketHistory, engine: AsyncEngine) -> None:
    books = capture_books("BTCUSDT")
    async with engine.begin() as conn:
        await OrderBookRepository(conn).insert_order_books(BTC, books)
    for rows in (1, 100, 1_301, 2_000):
        wanted = 30 if rows == 1 else len(books)
        last = books.timestamps[wanted - 1].item().replace(tzinfo=UTC) + timedelta(microseconds=1)
        stream = history.stream_orderbook_snapshots(BTC, start=START, end=last, batch_rows=rows)
        found = await everything(stream, rows)
        for name in OrderBookColumns.__slots__:
            joined = np.concatenate([getattr(part, name) for part in found])
            np.testing.assert_array_equal(joined, getattr(books, name)[:wanted], strict=True)


async def test_candles_come_in_batches_over_outages_and_from_lower_ones(
    history: MarketHistory, engine: AsyncEngine
) -> None:
    """Three outages, the longest of 2,011 minutes; the fives are rolled up from the minutes."""
    start, end = datetime(2018, 2, 7, tzinfo=UTC), datetime(2018, 2, 12, tzinfo=UTC)
    year = market_frame("ohlcv/binance_spot_BTCUSDT_1m_2018.parquet")
    await write_candles(engine, year.loc[start : end - MINUTE])
    for timeframe, rows in [("1m", 100), ("1m", 50_000), ("5m", 7), ("1h", 3)]:
        async with engine.begin() as conn:
            expected = await CandleRepository(conn).query_ohlcv_data(BTC, timeframe, start=start, end=end)
        stream = history.stream_ohlcv("btcusdt", timeframe, start=start, end=end, batch_rows=rows)
        found = await everything(stream, rows)
        pd.testing.assert_frame_equal(pd.concat(found), expected, check_freq=False)
        assert found[0].attrs == expected.attrs


@pytest.mark.usefixtures("history")
async def test_decimals_are_exact(engine: AsyncEngine, settings: Settings) -> None:
    await write_trades(engine)
    end = START + timedelta(seconds=16)
    async with DatabaseConnectionManager(settings) as database:
        stream = MarketHistory(database).stream_trades(BTC, start=START, end=end, price_type="decimal")
        (found,) = await everything(stream, 50_000)
    assert str(found["price"].iloc[0]) == "61837.630"


async def test_what_only_an_aggregate_has_is_found_in_the_middle_of_nothing(
    history: MarketHistory, engine: AsyncEngine
) -> None:
    first, middle, last = (datetime(2018, month, 1, tzinfo=UTC) for month in (1, 3, 6))
    await write_candles(engine, candles(pd.date_range(middle, periods=60, freq="s", unit="us")), "1s")
    await materialise(engine, "candles", first, last)
    async with engine.begin() as conn:
        await conn.execute(text("SELECT drop_chunks('candles', older_than => TIMESTAMPTZ '2018-04-01')"))
    await write_candles(engine, candles(pd.DatetimeIndex([first, last]).as_unit("us")))
    found = await everything(history.stream_ohlcv(BTC, "1m", start=first, batch_rows=10_000), 10_000)
    assert pd.concat(found).index.tolist() == [first, middle, last]


async def test_empty_ranges_are_passed_over(history: MarketHistory, engine: AsyncEngine) -> None:
    """Six years of nothing between two seconds: 190 million open times, in a few queries."""
    first, last = datetime(2018, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)
    await write_candles(engine, candles(pd.DatetimeIndex([first, last]).as_unit("us")), "1s")
    taken = 0

    def count(*_: object) -> None:
        nonlocal taken
        taken += 1

    event.listen(engine.sync_engine.pool, "checkout", count)
    try:
        found = await everything(history.stream_ohlcv(BTC, "1s", start=first, end=last, batch_rows=1000), 1)
        assert pd.concat(found).index.tolist() == [first]
        assert taken <= 3
        assert not await everything(history.stream_trades(BTC, start=first, end=last), 1)
        assert not await everything(history.stream_orderbook_snapshots(BTC, start=first, end=last), 1)
        assert taken <= 3 + 2 * 13
    finally:
        event.remove(engine.sync_engine.pool, "checkout", count)


async def test_nothing_is_asked_of_the_database_for_no_range(engine: AsyncEngine) -> None:
    history = MarketHistory(engine)
    assert [batch async for batch in history.stream_trades("XLM/EUR", start=START, end=START)] == []
    early = history.stream_ohlcv("XLM/EUR", "1d", start=START, as_of=START)
    assert [batch async for batch in early] == []


async def test_what_is_visible_is_fixed_at_the_start(history: MarketHistory, engine: AsyncEngine) -> None:
    """Candles and trades that come while a stream runs, and are of later, are not in it."""
    as_of = START + timedelta(minutes=5, seconds=30)
    opens = pd.date_range(START, periods=20, freq="min", unit="us")
    await write_candles(engine, candles(opens[:3]))
    stream = history.stream_ohlcv(BTC, "1m", start=START, as_of=as_of, batch_rows=2)
    found = [await anext(stream)]
    await write_candles(engine, candles(opens))
    found += [batch async for batch in stream]
    assert pd.concat(found).index[-1] == START + 4 * MINUTE
    trades = await write_trades(engine)
    seen = pd.concat([batch async for batch in history.stream_trades(BTC, start=START, as_of=as_of)])
    pd.testing.assert_frame_equal(seen, trades.loc[:as_of])
    at = trades.index[1_000]
    seen = pd.concat([batch async for batch in history.stream_trades(BTC, start=START, as_of=at)])
    assert seen.index[-1] == at


@pytest.mark.parametrize("is_compressed", [False, True])
async def test_plans_leave_out_chunks_and_need_no_sort(engine: AsyncEngine, *, is_compressed: bool) -> None:
    async with engine.begin() as conn:
        await InstrumentRepository(conn).ensure(BTC, 3, 6)
        await OrderBookRepository(conn).insert_order_books(BTC, capture_books("BTCUSDT"))
    await many_trades(engine, 30_000)
    days = [START + timedelta(days=day) for day in range(30)]
    async with engine.begin() as conn:
        instrument = await InstrumentRepository(conn).get(BTC)
        await conn.execute(
            text(
                "INSERT INTO trades (ts, trade_id, price, size, side, instrument_id)"
                " SELECT day, 1, 1, 1, 1, :id FROM unnest(CAST(:days AS timestamptz[])) AS day WHERE day > :start"
            ),
            {"days": days, "id": instrument.id, "start": START},
        )
        if is_compressed:
            await conn.execute(text("SELECT compress_chunk(show_chunks('trades'))"))
    batches = TradeBatches(BTC, days[-1], 1_000, "float")
    position = Position(START + timedelta(seconds=5), 77)
    async with engine.connect() as conn:
        plan = await query_plan(conn, batches.query(instrument, position))
        assert len(chunks_in(plan)) <= 2
        assert "Index" in plan
        assert "Seq Scan on _hyper" not in plan
        if not is_compressed:
            assert "ROW(ts, trade_id) > ROW(" in plan.split("Index Cond", 1)[1]
            assert "Sort" not in plan
        books = await query_plan(conn, BookBatches(BTC, days[-1], 1_000).query(instrument, position))
        assert "Index Cond" in books
        assert "Sort" not in books


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"batch_rows": 0}, "batch_rows=0: a batch has at least one row"),
        ({"price_type": "fixed"}, "changes what steps mean"),
        ({"start": datetime(2024, 8, 8)}, "start=.*naive"),  # noqa: DTZ001
        ({"end": START - MINUTE}, "before start"),
        ({"as_of": datetime(2024, 8, 8)}, "as_of=.*naive"),  # noqa: DTZ001
    ],
)
async def test_what_makes_no_stream_is_refused_at_once(
    history: MarketHistory, options: dict[str, Any], reason: str
) -> None:
    chosen = {"start": START, **options}
    with pytest.raises(InvalidInputError, match=reason):
        history.stream_trades(BTC, **chosen)
    with pytest.raises(InvalidInputError, match=reason):
        history.stream_ohlcv(BTC, "1m", **chosen)


async def test_windows_slide_over_batches_and_tell_of_outages(
    history: MarketHistory, engine: AsyncEngine
) -> None:
    start, end = datetime(2018, 2, 8, tzinfo=UTC), datetime(2018, 2, 10, tzinfo=UTC)
    year = market_frame("ohlcv/binance_spot_BTCUSDT_1m_2018.parquet").loc[start : end - MINUTE]
    await write_candles(engine, year)
    found: dict[Any, float] = {}
    gaps = []
    async with history.stream_windows(
        BTC, "1m", 20, start=start, end=end, columns=["close"], batch_rows=50
    ) as blocks:
        async for block in blocks:
            gaps += [block.gap_before] if block.gap_before else []
            found |= {
                pd.Timestamp(decided_at, tz="UTC"): float(window.mean()) for decided_at, window in block
            }
    assert gaps == [(datetime(2018, 2, 8, 0, 29, tzinfo=UTC), datetime(2018, 2, 9, 10, tzinfo=UTC))]
    means = year["close"].rolling("20min", min_periods=20).mean().dropna()
    assert list(found) == (means.index + MINUTE).tolist()
    np.testing.assert_allclose(list(found.values()), means.to_numpy(), rtol=1e-12)
