"""What the tables refuse, whoever writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import CheckConstraint, insert, text
from sqlalchemy.exc import IntegrityError

from datalayer.models import (
    Annotation,
    AnnotationData,
    Base,
    Candle,
    DirtyRange,
    Instrument,
    OrderBook,
    RejectedRecord,
    Trade,
)
from tests.factories import MOMENT, annotation, candle, dirty_range, order_book, rejected_record, trade
from tests.sample_rows import add_instrument, fill_every_table

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection


async def refusal(conn: AsyncConnection, model: type[Base], row: dict[str, Any]) -> str:
    with pytest.raises(IntegrityError) as refused:
        await conn.execute(insert(model).values(**row))
    cause = refused.value.orig.__cause__ if refused.value.orig else None
    return str(getattr(cause, "constraint_name", None))


@pytest.mark.parametrize(
    ("model", "row", "constraint"),
    [
        (Candle, candle(low=13), "ck_candles_prices"),
        (Candle, candle(high=11), "ck_candles_prices"),
        (Candle, candle(open=100), "ck_candles_prices"),
        (Candle, candle(volume=-1), "ck_candles_volume"),
        (Candle, candle(timeframe=61), "ck_candles_timeframe"),
        (Candle, candle(trade_count=-1), "ck_candles_trade_count"),
        (Trade, trade(size=0), "ck_trades_size"),
        (Trade, trade(side=2), "ck_trades_side"),
        (OrderBook, order_book(best_bid=105, bid_prices=[105, 99]), "ck_order_books_not_crossed"),
        (OrderBook, order_book(best_bid=103, bid_prices=[103, 99]), "ck_order_books_not_crossed"),
        (OrderBook, order_book(best_bid=99), "ck_order_books_best_bid"),
        (OrderBook, order_book(best_ask=None), "ck_order_books_best_ask"),
        (OrderBook, order_book(bid_sizes=[1]), "ck_order_books_bid_levels"),
        (OrderBook, order_book(ask_sizes=[]), "ck_order_books_ask_levels"),
        (OrderBook, order_book(ask_volume=-1), "ck_order_books_volumes"),
        (RejectedRecord, rejected_record(kind="quote"), "ck_rejected_records_kind"),
        (RejectedRecord, rejected_record(status="lost", resolved_at=MOMENT), "ck_rejected_records_status"),
        (RejectedRecord, rejected_record(status="retried"), "ck_rejected_records_resolved"),
        (DirtyRange, dirty_range(relation="trades"), "ck_dirty_ranges_relation"),
        (Annotation, annotation(), "fk_annotations_content_hash"),
        (Annotation, annotation(revision=0), "ck_annotations_revision"),
        (Annotation, annotation(symbol="BTCUSDT"), "ck_annotations_symbol"),
        (Annotation, annotation(timeframes=[]), "ck_annotations_timeframes"),
        (Annotation, annotation(end_ts=MOMENT), "ck_annotations_range"),
        (Annotation, annotation(author=""), "ck_annotations_texts"),
        (AnnotationData, {"content_hash": b"short", "frame": b""}, "ck_annotation_data_content_hash"),
        (DirtyRange, dirty_range(empty=True), "ck_dirty_ranges_range"),
    ],
)
async def test_bad_rows_are_refused(
    conn: AsyncConnection, model: type[Base], row: dict[str, Any], constraint: str
) -> None:
    assert await refusal(conn, model, row) == constraint


@pytest.mark.parametrize("symbol", ["BTCUSDT", "btc/usdt", "BTC-USDT", "BTC/", " BTC/USDT", ""])
async def test_symbols_are_canonical(conn: AsyncConnection, symbol: str) -> None:
    row = {"symbol": symbol, "price_scale": 2, "size_scale": 2}
    assert await refusal(conn, Instrument, row) == "ck_instruments_symbol"


@pytest.mark.parametrize(("price", "size"), [(-1, 2), (19, 2), (2, -1), (2, 19)])
async def test_scales_have_limits(conn: AsyncConnection, price: int, size: int) -> None:
    row = {"symbol": "A/B", "price_scale": price, "size_scale": size}
    assert await refusal(conn, Instrument, row) in {"ck_instruments_price_scale", "ck_instruments_size_scale"}


@pytest.mark.parametrize(("model", "row"), [(Candle, candle()), (Trade, trade()), (OrderBook, order_book())])
async def test_good_rows_enter_once(conn: AsyncConnection, model: type[Base], row: dict[str, Any]) -> None:
    await conn.execute(insert(model).values(**row))
    assert (await refusal(conn, model, row)).endswith(f"pk_{model.__tablename__}")


async def test_a_book_may_have_an_empty_side(conn: AsyncConnection) -> None:
    row = order_book(bid_prices=[], bid_sizes=[], best_bid=None, bid_volume=0)
    await conn.execute(insert(OrderBook).values(**row))


async def test_the_database_has_the_checks_that_the_models_declare(conn: AsyncConnection) -> None:
    rows = await conn.execute(
        text("""
            SELECT conrelid::regclass::text, conname::text FROM pg_constraint
            WHERE connamespace = current_schema()::regnamespace AND contype = 'c'
        """)
    )
    declared = {
        (table.name, str(constraint.name))
        for table in Base.metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint)
    }
    assert {tuple(row) for row in rows} == declared


STATEMENTS = (
    "DELETE FROM instruments WHERE id = :id",
    "UPDATE instruments SET price_scale = price_scale + 1 WHERE id = :id",
    "UPDATE instruments SET size_scale = 0 WHERE id = :id",
)


@pytest.mark.parametrize("statement", STATEMENTS)
async def test_an_instrument_with_rows_keeps_its_meaning(conn: AsyncConnection, statement: str) -> None:
    instrument_id = await fill_every_table(conn)
    with pytest.raises(IntegrityError, match="has rows of it") as refused:
        await conn.execute(text(statement), {"id": instrument_id})
    assert refused.value.orig is not None
    assert refused.value.orig.sqlstate == "23001"
    assert "while the instrument has no rows" in str(getattr(refused.value.orig.__cause__, "hint", None))


@pytest.mark.parametrize("model", [Candle, Trade, OrderBook])
async def test_rows_of_one_table_are_enough(conn: AsyncConnection, model: type[Base]) -> None:
    row = {Candle: candle, Trade: trade, OrderBook: order_book}[model]()
    row["instrument_id"] = await add_instrument(conn)
    await conn.execute(insert(model).values(**row))
    with pytest.raises(IntegrityError, match=f"{model.__tablename__} has rows of it"):
        await conn.execute(text(STATEMENTS[0]), {"id": row["instrument_id"]})


@pytest.mark.parametrize("statement", STATEMENTS)
async def test_an_instrument_without_rows_may_change(conn: AsyncConnection, statement: str) -> None:
    await fill_every_table(conn)
    other = await add_instrument(conn, "ETH/USDT", price_scale=3, size_scale=3)
    assert (await conn.execute(text(statement), {"id": other})).rowcount == 1


async def test_what_has_no_influence_on_rows_may_change(conn: AsyncConnection) -> None:
    instrument_id = await fill_every_table(conn)
    statement = text(
        """UPDATE instruments SET symbol = 'XBT/USDT', metadata = '{"tick": 1}' WHERE id = :id"""
    )
    assert (await conn.execute(statement, {"id": instrument_id})).rowcount == 1


async def test_whoever_rewrites_the_rows_says_so(conn: AsyncConnection) -> None:
    instrument_id = await fill_every_table(conn)
    await conn.execute(text("SET LOCAL datalayer.rescaling = 'BTC/USDT'"))
    assert (await conn.execute(text(STATEMENTS[1]), {"id": instrument_id})).rowcount == 1


async def test_instruments_cannot_be_truncated(conn: AsyncConnection) -> None:
    with pytest.raises(IntegrityError, match="truncate of instruments is refused"):
        await conn.execute(text("TRUNCATE instruments RESTART IDENTITY"))
