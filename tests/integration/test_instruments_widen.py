"""Widening a scale: every value stays what it is, in every relation, also where the source of an aggregate is gone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import insert, text
from sqlalchemy.exc import DBAPIError

from datalayer.db.aggregates import AGGREGATES, refresh_aggregates
from datalayer.domain.steps import MAX_STEPS
from datalayer.errors import DatabaseError, InvalidInputError, ScaleError
from datalayer.models import Candle, OrderBook, Trade
from datalayer.repositories import (
    CandleRepository,
    InstrumentRepository,
    OrderBookRepository,
    TradeRepository,
)
from datalayer.repositories.rescale import widen_scales
from datalayer.repositories.rescale_columns import RELATIONS
from datalayer.repositories.rescale_relation import RelationRewrite
from datalayer.repositories.scale_guard import copy_out_scaled, instrument_condition
from datalayer.timescale import compress_chunks
from tests.factories import MOMENT, candle, order_book, trade
from tests.sample_rows import END, START, add_instrument, fill_every_table

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from datalayer.domain.instrument import Instrument
    from datalayer.domain.steps import PriceType
    from datalayer.repositories.rescale_relation import WideningProgress

Rows = dict[str, list[Any]]
NOT_STEPS = {
    "trade_id",
    "last_update_id",
    "trade_count",
    "candle_count",
    "book_count",
    "quoted_count",
    "imbalance_sum",
}


async def decoded(conn: AsyncConnection, symbol: str = "BTC/USDT") -> Rows:
    """Return what people see of an instrument, in exact decimals: 1.50 equals 1.500."""
    names = [f"{relation.name}_decoded" for relation in RELATIONS]
    return {name: await rows_of(conn, name, "symbol = :key", symbol) for name in names}


async def raw(conn: AsyncConnection, instrument_id: int) -> Rows:
    names = [relation.name for relation in RELATIONS]
    return {name: await rows_of(conn, name, "instrument_id = :key", instrument_id) for name in names}


async def rows_of(conn: AsyncConnection, name: str, where: str, key: object) -> list[Any]:
    rows = await conn.execute(text(f"SELECT * FROM {name} WHERE {where}"), {"key": key})
    # A sum of floats depends in its last digits on the order in which rows are stored.
    values = [
        [round(value, 9) if isinstance(value, float) else value for value in row.values()]
        for row in without_owner(rows.mappings())
    ]
    return sorted(values, key=lambda row: repr(row[:3]))


def without_owner(rows: Any) -> list[dict[str, Any]]:
    # Times and ids first, so that rows sort alike whatever their scale.
    order = ("ts", "timeframe", "trade_id")
    owned = {"symbol", "instrument_id"}
    return [
        {k: row[k] for k in order if k in row}
        | {k: v for k, v in row.items() if k not in owned and k not in order}
        for row in rows
    ]


async def fill(engine: AsyncEngine) -> None:
    """Two instruments with equal rows; aggregates materialised in part and partly stale, chunks compressed in part."""
    async with engine.begin() as conn:
        first = await fill_every_table(conn)
        nothing: dict[str, Any] = {"bid_prices": [], "bid_sizes": [], "best_bid": None, "bid_volume": 0}
        no_asks: dict[str, Any] = {"ask_prices": [], "ask_sizes": [], "best_ask": None, "ask_volume": 0}
        edge = [
            order_book(instrument_id=first, ts=MOMENT, **nothing),
            order_book(instrument_id=first, ts=END, **nothing | no_asks),
        ]
        await conn.execute(insert(OrderBook), edge)
        second = await add_instrument(conn, "ETH/USDT")
        for model in (Candle, Trade, OrderBook):
            names = ", ".join(column.name for column in model.__table__.c)
            copied = names.replace("instrument_id", str(second))
            await conn.execute(
                text(
                    f"INSERT INTO {model.__tablename__} ({names}) SELECT {copied} FROM {model.__tablename__}"
                )
            )
    await refresh_aggregates(engine, "candles", START, START + timedelta(minutes=70))
    await refresh_aggregates(engine, "order_books", START, START + timedelta(minutes=3))
    for relation in ("candles", "trades", "order_books", "candles_1m", "order_book_1s"):
        await compress_chunks(engine, relation)
    async with engine.begin() as conn:
        await conn.execute(
            text(
                "INSERT INTO trades (ts, price, trade_id, size, side, instrument_id)"
                " SELECT ts + INTERVAL '1 second', price, trade_id, size, side, instrument_id FROM trades"
            )
        )
        await conn.execute(text("UPDATE candles SET high = high + 1 WHERE ts = :ts"), {"ts": START})


async def test_every_column_that_counts_steps_is_rewritten(conn: AsyncConnection) -> None:
    counted = text("""
        SELECT table_name, column_name FROM information_schema.columns
        WHERE table_schema = current_schema() AND (data_type = 'bigint' OR udt_name = '_int8')
          AND table_name IN (SELECT table_name FROM information_schema.columns WHERE column_name = 'instrument_id')
    """)
    found = {(table, column) for table, column in await conn.execute(counted) if column not in NOT_STEPS}
    assert found == {(relation.name, column.name) for relation in RELATIONS for column in relation.columns}


@pytest.mark.parametrize(("price_scale", "size_scale"), [(5, None), (None, 6), (3, 8)])
async def test_values_stay_the_same_and_other_instruments_untouched(
    engine: AsyncEngine, price_scale: int | None, size_scale: int | None
) -> None:
    await fill(engine)
    async with engine.begin() as conn:
        other = await InstrumentRepository(conn).get("ETH/USDT")
        before, others_before = await decoded(conn), await raw(conn, other.id)
        widened = await widen_scales(conn, "btcusdt", price_scale=price_scale, size_scale=size_scale)
    async with engine.begin() as conn:
        assert await decoded(conn) == before
        assert await raw(conn, other.id) == others_before
        assert await InstrumentRepository(conn).get("ETH/USDT") == other
        assert await InstrumentRepository(conn).get("BTC/USDT") == widened.after
    assert widened.after == replace(widened.before, price_scale=price_scale or 2, size_scale=size_scale or 5)
    rows = {
        name: widened.rows[name] for name in ("candles", "candles_1m", "candles_1d", "trades", "order_books")
    }
    assert rows == {"candles": 7200, "candles_1m": 70, "candles_1d": 1, "trades": 1440, "order_books": 1002}


async def test_repositories_hand_out_the_same_values_in_finer_steps(engine: AsyncEngine) -> None:
    await fill(engine)

    async def read(price_type: PriceType) -> list[Any]:
        async with engine.connect() as conn:
            candles, trades = CandleRepository(conn), TradeRepository(conn)
            return [
                await candles.query_ohlcv_data("BTC/USDT", "1s", price_type=price_type),
                await candles.query_ohlcv_data("BTC/USDT", "5m", source="aggregate", price_type=price_type),
                await candles.query_ohlcv_data("BTC/USDT", "5m", source="generated", price_type=price_type),
                await trades.query_trades("BTC/USDT", price_type=price_type),
            ]

    floats, steps = await read("float"), await read("fixed")
    async with engine.connect() as conn:
        books = await OrderBookRepository(conn).query_orderbook_snapshots("BTC/USDT")
    async with engine.begin() as conn:
        await widen_scales(conn, "BTC/USDT", price_scale=4, size_scale=6)
    for old, new in zip(floats, await read("float"), strict=True):
        pd.testing.assert_frame_equal(old, new, check_exact=True)
    for old, new in zip(steps, await read("fixed"), strict=True):
        grown = dict.fromkeys(("open", "high", "low", "close", "price"), 100) | {"volume": 10, "size": 10}
        for name in set(grown) & set(old.columns):
            assert (old[name] * grown[name] == new[name]).all()
    async with engine.connect() as conn:
        again = await OrderBookRepository(conn).query_orderbook_snapshots("BTC/USDT")
    for name in ("timestamps", "bid_prices", "bid_sizes", "ask_prices", "ask_sizes"):
        np.testing.assert_array_equal(getattr(books, name), getattr(again, name))


async def test_a_refresh_afterwards_computes_the_same_values(engine: AsyncEngine) -> None:
    await fill(engine)
    async with engine.begin() as conn:
        await widen_scales(conn, "BTC/USDT", price_scale=3, size_scale=7)
    await refresh_aggregates(engine, "candles", START, END)
    await refresh_aggregates(engine, "order_books", START, END)
    async with engine.connect() as conn:
        widened, other = await decoded(conn), await decoded(conn, "ETH/USDT")
    assert widened == other
    assert widened["candles_1d_decoded"]


async def test_buckets_whose_source_is_gone_are_kept(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        instrument_id = await fill_every_table(conn)
        later = [
            candle(instrument_id=instrument_id, timeframe=1, ts=MOMENT + timedelta(days=n)) for n in (60, 61)
        ]
        books = [order_book(instrument_id=instrument_id, ts=row["ts"]) for row in later]
        await conn.execute(insert(Candle), later)
        await conn.execute(insert(OrderBook), books)
    end = MOMENT + timedelta(days=63)
    for family in AGGREGATES:
        await refresh_aggregates(engine, family, START, end)
    async with engine.begin() as conn:
        for relation in AGGREGATES:
            await conn.execute(
                text(f"SELECT drop_chunks('{relation}', CAST(:end AS timestamptz))"),
                {"end": MOMENT + timedelta(days=40)},
            )
        before = await decoded(conn)
        await widen_scales(conn, "BTC/USDT", price_scale=3, size_scale=6)
    for family in AGGREGATES:
        await refresh_aggregates(engine, family, MOMENT + timedelta(days=59), end)
    async with engine.connect() as conn:
        assert await decoded(conn) == before
    assert len(before["candles_decoded"]) == 2
    assert len(before["candles_1m_decoded"]) == 120 + 2
    assert len(before["order_book_1s_decoded"]) == 400 + 2


async def test_a_value_that_the_new_scale_cannot_hold_is_named_and_nothing_changes(
    engine: AsyncEngine,
) -> None:
    too_large = {"open": MAX_STEPS // 10 + 1, "high": MAX_STEPS // 10 + 1}
    async with engine.begin() as conn:
        instrument_id = await fill_every_table(conn)
        row = candle(instrument_id=instrument_id, ts=MOMENT, **too_large)
        await conn.execute(insert(Candle), [row])
        before = await raw(conn, instrument_id)
    with pytest.raises(
        ScaleError, match=r"candles of BTC/USDT has this at 2024-03-01T12:00:00\+00:00; 10 times"
    ) as refused:
        async with engine.begin() as conn:
            await widen_scales(conn, "BTC/USDT", price_scale=3)
    assert (refused.value.field, refused.value.value) == ("open", MAX_STEPS // 10 + 1)
    async with engine.begin() as conn:
        assert await raw(conn, instrument_id) == before
        assert (await InstrumentRepository(conn).get("BTC/USDT")).price_scale == 2
        await conn.execute(text("UPDATE candles SET open = open - 1, high = high - 1 WHERE timeframe = 60"))
        await widen_scales(conn, "BTC/USDT", price_scale=3)


@pytest.mark.parametrize("side", ["bid_sizes", "ask_prices"])
async def test_a_level_of_a_book_is_a_value_too(conn: AsyncConnection, side: str) -> None:
    instrument_id = await add_instrument(conn)
    large = [104, MAX_STEPS] if side == "ask_prices" else [1, MAX_STEPS]
    levels = {"ask_prices": [103, MAX_STEPS]} if side == "ask_prices" else {"bid_sizes": large}
    await conn.execute(insert(OrderBook), [order_book(instrument_id=instrument_id, **levels)])
    with pytest.raises(ScaleError, match=r"exceed 2\*\*53; choose a smaller (price|size)_scale") as refused:
        await widen_scales(conn, "BTC/USDT", price_scale=3, size_scale=6)
    assert refused.value.field == side


async def test_a_sum_that_its_bucket_could_not_hold_is_refused_before_a_reader_meets_it(
    conn: AsyncConnection,
) -> None:
    """Each volume fits after the widening; their sum over the day, which nobody has materialised yet, does not."""
    instrument_id = await add_instrument(conn)
    volume = MAX_STEPS // 10
    rows = [
        candle(instrument_id=instrument_id, timeframe=1, ts=MOMENT + timedelta(seconds=n), volume=volume)
        for n in range(1100)
    ]
    await conn.execute(insert(Candle), rows)
    with pytest.raises(
        ScaleError, match=r"candles_1d of BTC/USDT .* exceed 2\*\*63-1; choose a smaller size_scale"
    ):
        await widen_scales(conn, "BTC/USDT", size_scale=6)


async def test_a_scale_is_never_narrowed(conn: AsyncConnection) -> None:
    await add_instrument(conn)
    with pytest.raises(ScaleError, match="price_scale=1: BTC/USDT has 2; a scale is never narrowed"):
        await widen_scales(conn, "BTC/USDT", price_scale=1, size_scale=9)
    with pytest.raises(InvalidInputError, match="size_scale=19: a scale counts decimal digits"):
        await widen_scales(conn, "BTC/USDT", size_scale=19)
    with pytest.raises(InvalidInputError, match="not registered; did you mean BTC/USDT"):
        await widen_scales(conn, "BTC/USDC", size_scale=9)


async def test_what_is_done_is_not_done_again(conn: AsyncConnection) -> None:
    await fill_every_table(conn)
    first = await widen_scales(conn, "BTC/USDT", price_scale=4)
    again = await widen_scales(conn, "BTC/USDT", price_scale=4)
    assert first.after == again.before == again.after
    assert again.rows == {}


async def test_the_guard_of_the_instruments_holds_again_in_the_same_transaction(
    conn: AsyncConnection,
) -> None:
    await fill_every_table(conn)
    await widen_scales(conn, "BTC/USDT", price_scale=4)
    with pytest.raises(DBAPIError, match="update of BTC/USDT is refused"):
        await conn.execute(text("UPDATE instruments SET price_scale = 5"))


async def test_a_snapshot_from_before_is_refused(engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        await conn.execution_options(isolation_level="REPEATABLE READ")
        with pytest.raises(InvalidInputError, match="use a transaction at READ COMMITTED"):
            await widen_scales(conn, "BTC/USDT", price_scale=4)


async def test_an_interrupted_run_leaves_nothing_and_is_repeated(engine: AsyncEngine) -> None:
    await fill(engine)
    async with engine.connect() as conn:
        before = await decoded(conn)
        instrument = await InstrumentRepository(conn).get("BTC/USDT")
        raw_before = await raw(conn, instrument.id)

    def interrupt(progress: WideningProgress) -> None:
        if progress.relation == "order_book_1s":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        async with engine.begin() as conn:
            await widen_scales(conn, "BTC/USDT", price_scale=3, on_progress=interrupt)
    async with engine.connect() as conn:
        assert await raw(conn, instrument.id) == raw_before
        assert await InstrumentRepository(conn).get("BTC/USDT") == instrument
    async with engine.begin() as conn:
        await widen_scales(conn, "BTC/USDT", price_scale=3)
    async with engine.connect() as conn:
        assert await decoded(conn) == before


async def test_rows_that_change_behind_its_back_are_noticed(conn: AsyncConnection) -> None:
    """By a writer that takes no lock; here on the same connection, between two chunks."""
    instrument_id = await add_instrument(conn)
    row = RelationRewrite(
        conn,
        "trades",
        next(r for r in RELATIONS if r.name == "trades"),
        await InstrumentRepository(conn).get("BTC/USDT"),
        {"price": 10, "size": 10},
    )
    await conn.execute(insert(Trade), [trade(instrument_id=instrument_id)])
    held = await row.held()
    await conn.execute(insert(Trade), [trade(instrument_id=instrument_id, trade_id=1)])
    await row.rewrite(None)
    with pytest.raises(DatabaseError, match="2 rows, expected 1"):
        await row.check_rewritten(held)


class _OnceBehind(InstrumentRepository):
    """Answers the first time as if the instrument had been looked up before a widening."""

    def __init__(self, conn: AsyncConnection, before: Instrument) -> None:
        super().__init__(conn)
        self._behind = [before]

    async def get(self, symbol: str) -> Instrument:
        return self._behind.pop() if self._behind else await super().get(symbol)


async def test_rows_are_never_read_with_scales_of_another_moment(conn: AsyncConnection) -> None:
    instrument_id = await add_instrument(conn)
    await conn.execute(insert(Trade), [trade(instrument_id=instrument_id, price=150)])
    widened = await widen_scales(conn, "BTC/USDT", price_scale=3)
    instrument, columns = await copy_out_scaled(
        conn,
        _OnceBehind(conn, widened.before),
        "BTC/USDT",
        lambda found: f"SELECT price FROM trades WHERE {instrument_condition(found)}",
        {"price": "int8"},
    )
    assert instrument == widened.after
    assert columns["price"].data.tolist() == [1500]
