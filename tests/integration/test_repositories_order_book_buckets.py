"""Order books by seconds and minutes: from the aggregates where they can be trusted, from the books where not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import text

from datalayer.domain.order_book import OrderBookColumns
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError
from datalayer.repositories import InstrumentRepository, OrderBookRepository
from datalayer.repositories.rescale import widen_scales
from datalayer.timescale import compress_chunks
from tests.market_books import capture_books
from tests.order_book_oracle import as_floats, books_of, bucket_row, buckets
from tests.refreshing import materialise, take_off_the_list

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.domain.order_book import OrderBook

BTC = "BTC/USDT"
START = datetime(2024, 8, 8, 10, tzinfo=UTC)
SECOND = timedelta(seconds=1)
LENGTHS = [Timeframe.S1, Timeframe.M1]
COUNTS = ("book_count", "quoted_count")
NAN = np.nan


def books(*seconds: float, size: float = 1.0) -> OrderBookColumns:
    """Books of one level a side at some seconds after `START`, each with another mid; every fifth has no bids."""
    offsets = np.array([round(second * 1e6) for second in seconds], "timedelta64[us]")
    steps = np.array([[round(second * 100) % 977] for second in seconds])
    no_bids = np.arange(len(seconds))[:, None] % 5 == 4
    return OrderBookColumns(
        np.datetime64(START.replace(tzinfo=None), "us") + offsets,
        np.where(no_bids, NAN, (10_000 + steps) / 100),
        np.where(no_bids, NAN, size),
        (10_003 + steps) / 100,
        np.full((len(seconds), 1), 2.5),
        np.arange(len(seconds)),
    )


async def store(engine: AsyncEngine, *columns: OrderBookColumns) -> list[OrderBook]:
    async with engine.begin() as conn:
        await InstrumentRepository(conn).ensure(BTC, 2, 5)
        for some in columns:
            await OrderBookRepository(conn).insert_order_books(BTC, some)
    return sorted((book for some in columns for book in books_of(some)), key=lambda book: book.ts)


async def read(engine: AsyncEngine, length: Timeframe | str, *args: Any, **kwargs: Any) -> pd.DataFrame:
    async with engine.connect() as conn:
        return await OrderBookRepository(conn).query_orderbook_aggregated(BTC, length, *args, **kwargs)


def expected(stored: Sequence[OrderBook], length: Timeframe, as_of: datetime | None = None) -> pd.DataFrame:
    """The frame without `source`: the buckets that are over at `as_of`."""
    groups = [
        (ts, bucket_row(group))
        for ts, group in buckets(list(stored), length)
        if as_of is None or ts + length.length <= as_of
    ]
    index = pd.DatetimeIndex([ts for ts, _ in groups], tz="UTC", name="timestamp").as_unit("us")
    rows = [row for _, row in groups]
    data = {
        name: np.array([row[name] for row in rows], np.int64)
        if name in COUNTS
        else as_floats([row[name] for row in rows])
        for name in (rows or [bucket_row(books_of(books(1)))])[0]
    }
    return pd.DataFrame(data, index=index)


def assert_rows(frame: pd.DataFrame, wanted: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        frame.drop(columns=["source", "is_forming"], errors="ignore"), wanted, check_exact=True
    )


async def forget_what_is_dirty(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await take_off_the_list(conn)


async def mark_dirty(
    engine: AsyncEngine, start: datetime, end: datetime, relation: str = "order_books"
) -> None:
    statement = text("INSERT INTO dirty_ranges (relation, start_ts, end_ts) VALUES (:relation, :start, :end)")
    async with engine.begin() as conn:
        await conn.execute(statement, {"relation": relation, "start": start, "end": end})


@pytest.mark.parametrize("length", LENGTHS)
async def test_the_real_books_whatever_is_materialised_and_compressed(
    engine: AsyncEngine, length: Timeframe
) -> None:
    stored = await store(engine, capture_books("BTCUSDT"))
    wanted = expected(stored, length)
    frame = await read(engine, length)
    assert_rows(frame, wanted)
    assert set(frame["source"]) == {"generated"}
    assert frame.attrs == {"symbol": BTC, "timeframe": length.label}
    await materialise(engine, "order_books", stored[0].ts, stored[600].ts)
    assert_rows(partly := await read(engine, length), wanted)
    materialised = partly.index < length.floor(stored[600].ts) + length.length
    assert ((partly["source"] == "aggregate") == materialised).all()
    await materialise(engine, "order_books", stored[0].ts, stored[-1].ts + timedelta(hours=1))
    assert_rows(refreshed := await read(engine, length), wanted)
    assert set(refreshed["source"]) == {"aggregate"}
    await mark_dirty(engine, stored[0].ts, stored[-1].ts + SECOND)
    assert_rows(generated := await read(engine, length), wanted)
    assert set(generated["source"]) == {"generated"}
    for relation in ("order_books", "order_book_1s", "order_book_1m"):
        await compress_chunks(engine, relation)
    assert_rows(await read(engine, length), wanted)
    pd.testing.assert_frame_equal(await read(engine, length, limit=5), generated[-5:], check_exact=True)


async def test_values_in_every_form(engine: AsyncEngine) -> None:
    stored = await store(engine, books(0.1, 0.2, 0.7, 1.5, 2.25), books(3.1, size=0.00003))
    rows = [bucket_row(group) for _, group in buckets(stored, Timeframe.S1)]
    decimals = await read(engine, "1s", price_type="decimal")
    fixed = await read(engine, "1s", price_type="fixed")
    for name in rows[0]:
        if name in (*COUNTS, "imbalance_mean"):
            continue
        scale = 5 if "volume" in name else 2
        for row, exact in enumerate(rows):
            value = decimals[name].iloc[row]
            if exact[name] is None:
                assert value is None
                assert fixed[name].isna().iloc[row]
            else:
                assert isinstance(value, Decimal)
                assert value == pytest.approx(
                    Decimal(exact[name].numerator) / exact[name].denominator, rel=Decimal("1e-27")
                )
                assert fixed[name].iloc[row] == float(exact[name] * 10**scale)
    assert decimals["mid_open"].iloc[0] == Decimal("100.115")
    assert fixed["mid_open"].iloc[0] == 10011.5
    assert [str(fixed[name].dtype) for name in ("spread_min", "mid_low", "bid_volume_mean")] == [
        "Int64",
        "float64",
        "float64",
    ]


async def test_a_book_behind_the_watermark_shows_once_its_range_is_dirty(engine: AsyncEngine) -> None:
    early = books(0.1, 0.6, 1.1, 61.5, 130.0)
    stored = await store(engine, early)
    await materialise(engine, "order_books", START, START + timedelta(minutes=3))
    before = {length: await read(engine, length) for length in LENGTHS}
    everything = await store(engine, early, books(0.3, 61.7))
    for length in LENGTHS:
        assert_rows(await read(engine, length), expected(everything, length))
    await forget_what_is_dirty(engine)
    for length in LENGTHS:
        pd.testing.assert_frame_equal(await read(engine, length), before[length], check_exact=True)
    await mark_dirty(engine, START, START + timedelta(minutes=3), relation="candles")
    for length in LENGTHS:
        assert_rows(await read(engine, length), expected(stored, length))
    await mark_dirty(engine, START + 0.3 * SECOND, START + 0.4 * SECOND)
    await mark_dirty(engine, START + 61.7 * SECOND, START + 62 * SECOND)
    for length in LENGTHS:
        frame = await read(engine, length)
        assert_rows(frame, expected(everything, length))
        changed = [START, START + 61 * SECOND] if length is Timeframe.S1 else [START, START + 60 * SECOND]
        assert frame.index[frame["source"] == "generated"].tolist() == changed
        assert set(frame["source"]) == {"generated", "aggregate"}


async def test_a_range_is_dirty_up_to_its_end_and_no_further(engine: AsyncEngine) -> None:
    await store(engine, books(0.5, 1.5, 2.5, 3.5))
    await materialise(engine, "order_books", START, START + timedelta(minutes=3))
    await mark_dirty(engine, START + SECOND, START + 3 * SECOND)
    frame = await read(engine, "1s")
    assert frame["source"].tolist() == ["aggregate", "generated", "generated", "aggregate"]


async def test_books_between_the_watermark_and_a_later_refresh_are_not_lost(engine: AsyncEngine) -> None:
    some = books(*np.arange(0.25, 600, 7.5))
    stored = await store(engine, some)
    await forget_what_is_dirty(engine)
    async with engine.connect() as conn:
        await conn.execution_options(isolation_level="AUTOCOMMIT")
        for label, bucket in (("1s", "1 second"), ("1m", "1 minute")):
            # The policy's own call, with a window that does not reach back to the watermark.
            await conn.execute(
                text(
                    f"CALL refresh_continuous_aggregate('order_book_{label}', CAST(:start AS timestamptz), CAST(:end AS timestamptz))"
                ),
                {"start": START + timedelta(minutes=7), "end": START + timedelta(minutes=9)},
            )
            shown = await conn.scalar(
                text(f"SELECT count(*) FROM order_book_{label} WHERE ts < :end"),
                {"end": START + timedelta(minutes=7)},
            )
            assert shown == 0, bucket
    for length in LENGTHS:
        frame = await read(engine, length)
        assert_rows(frame, expected(stored, length))
        refreshed = (frame.index >= START + timedelta(minutes=7)) & (
            frame.index < START + timedelta(minutes=9)
        )
        assert ((frame["source"] == "aggregate") == refreshed).all()
        last = await read(engine, length, limit=3)
        pd.testing.assert_frame_equal(last, frame[-3:], check_exact=True)


async def test_more_gaps_than_are_looked_into_one_by_one(engine: AsyncEngine) -> None:
    every_third = books(*range(0, 9_000, 3))
    await store(engine, every_third)
    await materialise(engine, "order_books", START, START + timedelta(hours=3))
    stored = await store(engine, every_third, books(*np.arange(1.5, 9_000, 30)))
    await forget_what_is_dirty(engine)
    assert_rows(await read(engine, "1s"), expected(stored, Timeframe.S1))


@pytest.mark.parametrize("refreshed", [0, 45, 100])
async def test_the_last_so_many_are_the_end_of_all(engine: AsyncEngine, refreshed: int) -> None:
    stored = await store(
        engine, books(*np.arange(-9_999_999.75, -9_999_900, 0.6)), books(*range(0, 6_000, 61), 5_999.9)
    )
    await materialise(engine, "order_books", stored[0].ts, START + refreshed * timedelta(minutes=1))
    for length in LENGTHS:
        frame = await read(engine, length)
        assert_rows(frame, expected(stored, length))
        for limit in (1, 2, 20, 99, 100, 101, 150, len(frame), len(frame) + 1, 10**15):
            last = await read(engine, length, limit=limit)
            pd.testing.assert_frame_equal(last, frame[-limit:], check_exact=True)
        for start, end in ((-9_999_950, 50), (-1, 3), (200, 3_000)):
            within = START + start * SECOND, START + end * SECOND
            inside = await read(engine, length, *within)
            last = await read(engine, length, *within, limit=30)
            pd.testing.assert_frame_equal(last, inside[-30:], check_exact=True)


async def test_the_last_so_many_of_what_only_the_aggregates_still_have(engine: AsyncEngine) -> None:
    stored = await store(engine, books(*range(0, 300, 2)))
    await materialise(engine, "order_books", START, START + timedelta(minutes=9))
    frame = await read(engine, "1s")
    async with engine.begin() as conn:
        await conn.execute(
            text("SELECT drop_chunks('order_books', older_than => CAST(:end AS timestamptz))"),
            {"end": START + timedelta(days=2)},
        )
    assert len(frame) == len(stored) == 150
    for limit in (1, 100, 200):
        pd.testing.assert_frame_equal(await read(engine, "1s", limit=limit), frame[-limit:], check_exact=True)


@pytest.mark.parametrize("dirty", [False, True])
async def test_what_retention_dropped_stays_as_it_was_aggregated(engine: AsyncEngine, dirty: bool) -> None:
    some = books(0.1, 0.6, 1.1, 61.5)
    stored = await store(engine, some)
    await materialise(engine, "order_books", START, START + timedelta(minutes=3))
    async with engine.begin() as conn:
        await conn.execute(
            text("SELECT drop_chunks('order_books', older_than => CAST(:end AS timestamptz))"),
            {"end": START + timedelta(days=2)},
        )
    if dirty:
        await mark_dirty(engine, START, START + timedelta(minutes=3))
        # One of them comes again, late: fewer than were counted.
        await store(engine, books(0.1))
    for length in LENGTHS:
        frame = await read(engine, length)
        assert_rows(frame, expected(stored, length))
        assert set(frame["source"]) == {"aggregate"}


async def test_only_what_is_over_and_on_request_what_is_forming(engine: AsyncEngine) -> None:
    stored = await store(engine, books(0.25, 0.5, 1.0, 1.75, 58.0, 60.0, 61.5))
    await materialise(engine, "order_books", START, START + timedelta(minutes=3))
    for length in LENGTHS:
        for micros in (
            0,
            250_000,
            499_999,
            500_000,
            999_999,
            1_000_000,
            1_750_000,
            59_999_999,
            60_000_000,
            61_400_000,
            62_000_000,
            120_000_000,
        ):
            as_of = START + timedelta(microseconds=micros)
            seen = [book for book in stored if book.ts <= as_of]
            closed = await read(engine, length, as_of=as_of)
            assert_rows(closed, expected(seen, length, as_of))
            assert "is_forming" not in closed
            frame = await read(engine, length, as_of=as_of, include_forming=True)
            assert_rows(frame, expected(seen, length))
            forms = [opened + length.length > as_of for opened in frame.index]
            assert frame["is_forming"].tolist() == forms
            assert (frame["source"] == "forming").tolist() == forms
            last = await read(engine, length, as_of=as_of, include_forming=True, limit=1)
            pd.testing.assert_frame_equal(last, frame[-1:], check_exact=True)


async def test_a_forming_bucket_outside_of_the_range_is_none_of_it(engine: AsyncEngine) -> None:
    await store(engine, books(0.25, 1.25, 2.25))
    as_of = START + 2.5 * SECOND

    async def rows(*within: Any) -> list[float]:
        frame = await read(engine, "1s", *within, as_of=as_of, include_forming=True)
        return [(opened - START) / SECOND for opened in frame.index]

    assert await rows(START + SECOND) == [1, 2]
    assert await rows(START + 2 * SECOND) == [2]
    assert await rows(START + 2.1 * SECOND) == []
    assert await rows(START, START + 2 * SECOND) == [0, 1]
    assert await rows(START, START + 2.1 * SECOND) == [0, 1, 2]
    assert await rows(START + 0.1 * SECOND, START + 1.5 * SECOND) == [1]


async def test_nothing_is_an_empty_frame_of_the_same_columns(engine: AsyncEngine) -> None:
    await store(engine, books(0.25, 1.25))
    some = {kind: await read(engine, "1s", price_type=kind) for kind in ("float", "decimal", "fixed")}
    for kind, frame in some.items():
        for kwargs in ({"end": START}, {"limit": 0}, {"as_of": START + 0.5 * SECOND}):
            nothing = await read(engine, "1s", price_type=kind, **kwargs)
            pd.testing.assert_frame_equal(nothing, frame[:0])
            assert nothing.attrs == frame.attrs
        assert not len(
            await read(engine, "1m", price_type=kind, as_of=START + SECOND, include_forming=True, limit=0)
        )


async def test_a_widened_scale_changes_no_value(engine: AsyncEngine) -> None:
    stored = await store(engine, books(0.25, 0.5, 1.25, 61.0))
    await materialise(engine, "order_books", START, START + timedelta(minutes=1))
    await mark_dirty(engine, START, START + SECOND)
    async with engine.begin() as conn:
        await widen_scales(conn, BTC, price_scale=4, size_scale=8)
    for length in LENGTHS:
        assert_rows(await read(engine, length), expected(stored, length))


async def test_other_instruments_are_others(engine: AsyncEngine) -> None:
    stored = await store(engine, books(0.25, 1.5))
    async with engine.begin() as conn:
        await InstrumentRepository(conn).ensure("ETH/USDT", 2, 5)
        await OrderBookRepository(conn).insert_order_books("ETH/USDT", books(0.5, 0.75, 3.5))
    await materialise(engine, "order_books", START, START + timedelta(minutes=1))
    await mark_dirty(engine, START, START + SECOND)
    for length in LENGTHS:
        assert_rows(await read(engine, length), expected(stored, length))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"length": "5m"}, "aggregation='5m': use 1s or 1m"),
        ({"length": "1M"}, "timeframe='1M'"),
        ({"start": START.replace(tzinfo=None)}, "start=.*naive"),
        ({"as_of": START.replace(tzinfo=None)}, "as_of=.*naive"),
        ({"start": START, "end": START - SECOND}, "end=.*before start"),
        ({"limit": -1}, "limit=-1"),
        ({"price_type": "text"}, "price_type='text'"),
    ],
)
async def test_what_cannot_be_asked_is_refused(engine: AsyncEngine, kwargs: Any, message: str) -> None:
    await store(engine, books(0.25))
    with pytest.raises(InvalidInputError, match=message):
        await read(engine, **{"length": "1s", **kwargs})


def test_the_oracle_by_hand() -> None:
    row = bucket_row(books_of(books(0.1, 0.2)))
    assert row["mid_open"] == Fraction("100.115")
    assert row["ask_volume_mean"] == Fraction("2.5")
    assert row["imbalance_mean"] == pytest.approx(Fraction(-3, 7), abs=1e-12)
