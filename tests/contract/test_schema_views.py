"""The decoded views give exact decimals."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert, text

from datalayer.models import Candle, OrderBook, RejectedRecord, Trade
from tests.factories import MOMENT, candle, order_book, rejected_record, trade
from tests.sample_rows import add_instrument, fill_every_table

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

LARGEST = 2**63 - 1


async def one(conn: AsyncConnection, view: str) -> dict[str, Any]:
    return dict((await conn.execute(text(f"SELECT * FROM {view}"))).mappings().one())


@pytest.mark.parametrize("scale", range(19))
@pytest.mark.parametrize(
    "steps", [0, 1, -1, 5, 10, 123_456_789, LARGEST, -LARGEST, 10**18, 999_999_999_999_999_999]
)
async def test_steps_are_decoded_exactly_at_every_scale(
    conn: AsyncConnection, scale: int, steps: int
) -> None:
    decoded = await conn.scalar(
        text("SELECT decode_steps(:steps, :scale)::text"), {"steps": Decimal(steps), "scale": scale}
    )
    assert decoded == f"{Decimal(steps).scaleb(-scale):f}"


async def test_candles(conn: AsyncConnection) -> None:
    instrument_id = await add_instrument(conn, "BTC/USDT", price_scale=18, size_scale=0)
    row = candle(
        instrument_id=instrument_id, open=LARGEST - 1, high=LARGEST, low=1, close=5, volume=LARGEST, ts=MOMENT
    )
    await conn.execute(insert(Candle).values(**row))
    assert await one(conn, "candles_decoded") == {
        "symbol": "BTC/USDT",
        "timeframe": "1m",
        "ts": MOMENT,
        "open": Decimal("9.223372036854775806"),
        "high": Decimal("9.223372036854775807"),
        "low": Decimal("0.000000000000000001"),
        "close": Decimal("0.000000000000000005"),
        "volume": Decimal(LARGEST),
        "trade_count": 3,
    }


async def test_trades_and_books(conn: AsyncConnection) -> None:
    instrument_id = await add_instrument(conn, "ETH/USDT", price_scale=2, size_scale=3)
    await conn.execute(insert(Trade).values(**trade(instrument_id=instrument_id, trade_id=9, side=-1)))
    await conn.execute(
        insert(OrderBook).values(**order_book(instrument_id=instrument_id, ts=MOMENT, last_update_id=8))
    )
    sold = await one(conn, "trades_decoded")
    assert (sold["symbol"], sold["price"], sold["size"], sold["side"]) == (
        "ETH/USDT",
        Decimal("1.00"),
        Decimal("0.005"),
        "sell",
    )
    book = await one(conn, "order_books_decoded")
    assert book["bid_prices"] == [Decimal("1.00"), Decimal("0.99")]
    assert book["ask_sizes"] == [Decimal("0.003"), Decimal("0.004")]
    assert (book["best_ask"], book["ask_volume"]) == (Decimal("1.03"), Decimal("0.007"))
    for label in ("1s", "1m"):
        seen = await one(conn, f"order_book_{label}_decoded")
        assert seen["mid_open"] == seen["mid_close"] == Decimal("1.015")
        assert seen["spread_sum"] == Decimal("0.03")
        assert seen["imbalance_avg"] == pytest.approx(-0.4)


async def test_an_empty_side_is_an_empty_list(conn: AsyncConnection) -> None:
    instrument_id = await add_instrument(conn)
    row = order_book(instrument_id=instrument_id, bid_prices=[], bid_sizes=[], best_bid=None, bid_volume=0)
    await conn.execute(insert(OrderBook).values(**row))
    book = await one(conn, "order_books_decoded")
    assert (book["bid_prices"], book["bid_sizes"], book["best_bid"]) == ([], [], None)


@pytest.mark.parametrize("label", ["1m", "5m", "15m", "1h", "4h", "1d"])
async def test_candle_aggregates(conn: AsyncConnection, label: str) -> None:
    await fill_every_table(conn)
    columns = "ts, open * 100, high * 100, low * 100, close * 100, volume * 100000, trade_count, candle_count"
    decoded = (await conn.execute(text(f"SELECT {columns} FROM candles_{label}_decoded ORDER BY ts"))).all()
    stored = (
        await conn.execute(
            text(
                f"SELECT ts, open, high, low, close, volume, trade_count, candle_count FROM candles_{label} ORDER BY ts"
            )
        )
    ).all()
    assert decoded == stored
    labels = (
        await conn.scalars(text(f"SELECT DISTINCT symbol || ' ' || timeframe FROM candles_{label}_decoded"))
    ).all()
    assert labels == [f"BTC/USDT {label}"]


async def test_payloads_are_readable_whatever_they_hold(conn: AsyncConnection) -> None:
    await conn.execute(insert(RejectedRecord).values(**rejected_record(payload=b'{"p": "1"}\x00\xff')))
    assert (await one(conn, "rejected_records_decoded"))["payload"] == '{"p": "1"}\\000\\377'
