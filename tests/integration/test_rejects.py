"""Quarantine on a real database: kept, listed, sent in again, and never at the cost of what is stored."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import text

from datalayer.domain.order_book import OrderBookColumns
from datalayer.domain.timeframe import Timeframe
from datalayer.domain.validation import DataValidator, ValidationLimits, ValidationResult
from datalayer.errors import InvalidInputError
from datalayer.repositories import (
    CandleRepository,
    InstrumentRepository,
    OrderBookRepository,
    TradeRepository,
)
from datalayer.repositories.reject_retry import Retried, retry_rejects
from datalayer.repositories.reject_rows import RejectFilter, RejectKey
from datalayer.repositories.rejects import RejectRepository
from datalayer.repositories.rescale import widen_scales
from tests.market_files import market_frame

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from datalayer.repositories.reject_rows import Reject

NOW = datetime(2024, 8, 8, 12, tzinfo=UTC)


def candle(close: object = "10.5", *, volume: object = 3, at: int = 0, **change: Any) -> dict[str, Any]:
    values = {"open": "10", "high": "12", "low": "9", "close": close, "volume": volume}
    return {"ts": NOW - timedelta(hours=1) + timedelta(minutes=at)} | values | change


def trade(price: object = "10.5", *, trade_id: int = 1, **change: Any) -> dict[str, Any]:
    return {"ts": NOW, "trade_id": trade_id, "price": price, "size": "0.5", "side": 1} | change


def book(best_bid: object = "10.5", **change: Any) -> dict[str, Any]:
    sides = {
        "bid_prices": [best_bid],
        "bid_sizes": ["1"],
        "ask_prices": ["11", "12"],
        "ask_sizes": ["1", "2"],
    }
    return {"ts": NOW, "last_update_id": 7} | sides | change


async def validator(conn: AsyncConnection, symbol: str = "BTC/USDT", price_scale: int = 2) -> DataValidator:
    return DataValidator(await InstrumentRepository(conn).ensure(symbol, price_scale, 5))


def check(rules: DataValidator, records: list[dict[str, Any]], kind: str) -> ValidationResult[Any]:
    if kind == "candle":
        return rules.validate_candles(records, "1m", now=NOW)
    return getattr(rules, f"validate_{kind}s")(records, now=NOW)


async def keep(conn: AsyncConnection, records: list[dict[str, Any]], kind: str = "trade") -> None:
    rejected = check(await validator(conn), records, kind).rejected
    assert len(rejected) == len(records), "the test wants them refused"
    timeframe = Timeframe.M1 if kind == "candle" else None
    await RejectRepository(conn).keep(rejected, source="test", timeframe=timeframe)


async def store(conn: AsyncConnection, records: list[dict[str, Any]], kind: str) -> None:
    accepted = check(await validator(conn), records, kind).accepted
    if kind == "candle":
        await CandleRepository(conn).upsert_candles("BTC/USDT", "1m", accepted)
    elif kind == "trade":
        await TradeRepository(conn).insert_trades("BTC/USDT", accepted)
    else:
        await OrderBookRepository(conn).insert_order_books("BTC/USDT", accepted)


async def widened_and_retried(conn: AsyncConnection) -> Retried:
    await widen_scales(conn, "BTC/USDT", price_scale=3)
    return await retry_rejects(conn, now=NOW)


async def closes(conn: AsyncConnection) -> list[Decimal]:
    found = await CandleRepository(conn).query_ohlcv_data("BTC/USDT", "1m", price_type="decimal", as_of=NOW)
    return found["close"].tolist()


async def prices(conn: AsyncConnection) -> list[Decimal]:
    found = await TradeRepository(conn).query_trades("BTC/USDT", price_type="decimal", as_of=NOW)
    return found["price"].tolist()


async def statuses(conn: AsyncConnection) -> list[str]:
    rows = await conn.execute(text("SELECT status, resolved_at FROM rejected_records ORDER BY id"))
    found = rows.all()
    assert all((row.status == "open") == (row.resolved_at is None) for row in found)
    return [row.status for row in found]


async def all_of_them(conn: AsyncConnection) -> list[Reject]:
    return await RejectRepository(conn).list_rejects(RejectFilter(status=None))


async def test_a_record_is_kept_as_it_came(conn: AsyncConnection) -> None:
    rules = await validator(conn)
    record = trade("10.123", symbol="BTCUSDT", extra=Decimal("1.10"))
    result = rules.validate_trade(record, now=NOW, payload='{"p": "10.123"}')
    counts = await RejectRepository(conn).keep(result.rejected, source="binance")
    assert counts == Counter({RejectKey("binance", "trade", "representable"): 1})
    (kept,) = await RejectRepository(conn).list_rejects()
    assert (kept.kind, kept.symbol, kept.ts, kept.source) == ("trade", "BTCUSDT", NOW, "binance")
    assert (kept.rule, kept.field, kept.value) == ("representable", "price", "10.123")
    assert (kept.status, kept.resolved_at, "widen the scale" in kept.message) == ("open", None, True)
    assert kept.decoded().record == record
    assert kept.decoded().received == b'{"p": "10.123"}'
    assert await RejectRepository(conn).get(kept.id) == kept
    with pytest.raises(InvalidInputError, match="there is no such rejected record"):
        await RejectRepository(conn).get(kept.id + 1)


async def test_records_that_no_database_takes_are_kept_too(conn: AsyncConnection) -> None:
    bad = [
        trade("1\x002"),
        trade("\ud800"),
        trade(price=float("nan")),
        trade(ts="no time"),
        trade(symbol="x\x00y"),
    ]
    await keep(conn, bad)
    kept = await all_of_them(conn)
    assert [reject.rule for reject in kept] == ["number", "number", "finite", "time", "symbol"]
    assert [repr(reject.decoded().record["price"]) for reject in kept] == [repr(row["price"]) for row in bad]


async def test_the_same_record_again_is_kept_once(conn: AsyncConnection) -> None:
    for _ in range(2):
        await keep(conn, [trade("10.123"), trade("10.123"), trade("10.124")])
    assert len(await all_of_them(conn)) == 2
    assert len((await retry_rejects(conn, now=NOW)).refused) == 2
    (first, _) = await all_of_them(conn)
    await RejectRepository(conn).resolve([first.id], "discarded")
    await keep(conn, [trade("10.123")])
    assert await statuses(conn) == ["discarded", "open", "open"]


async def test_what_is_listed_can_be_chosen_and_read_page_by_page(conn: AsyncConnection) -> None:
    rejects = RejectRepository(conn)
    await keep(conn, [trade("10.123", symbol="btc-usdt"), trade(price=-1), trade(side=5)])
    await keep(conn, [candle("10.123")], "candle")
    every = await rejects.list_rejects()
    assert await rejects.list_rejects(RejectFilter(kind="candle")) == every[3:]
    assert await rejects.list_rejects(RejectFilter(rule="side")) == every[2:3]
    assert await rejects.list_rejects(RejectFilter(symbol="BTC_USDT")) == every
    assert await rejects.list_rejects(RejectFilter(symbol="ETH/USDT")) == []
    assert await rejects.list_rejects(RejectFilter(ids=(every[1].id, every[2].id))) == every[1:3]
    assert await rejects.list_rejects(after_id=every[0].id, limit=2) == every[1:3]
    assert await rejects.resolve([every[0].id, every[1].id], "discarded") == 2
    assert await rejects.resolve([every[0].id], "retried") == 0
    assert await rejects.list_rejects() == every[2:]
    assert [r.status for r in await rejects.list_rejects(RejectFilter(status="discarded"))] == [
        "discarded"
    ] * 2
    with pytest.raises(InvalidInputError, match="use retried or discarded"):
        await rejects.resolve([every[0].id], "open")


@pytest.mark.parametrize("kind", ["candle", "trade", "order_book"])
async def test_after_the_scale_was_widened_it_is_stored(conn: AsyncConnection, kind: str) -> None:
    record = {"candle": candle, "trade": trade, "order_book": book}[kind]("10.123")
    await keep(conn, [record], kind)
    refused = await retry_rejects(conn, now=NOW)
    assert (refused.stored, [reason.rule for reason in refused.refused.values()]) == ((), ["representable"])
    assert await statuses(conn) == ["open"]
    assert len((await widened_and_retried(conn)).stored) == 1
    assert await statuses(conn) == ["retried"]
    if kind == "candle":
        assert await closes(conn) == [Decimal("10.123")]
    elif kind == "trade":
        assert await prices(conn) == [Decimal("10.123")]
    else:
        books = await OrderBookRepository(conn).query_orderbook_snapshots("BTC/USDT", as_of=NOW)
        assert (books.bid_prices.tolist(), books.last_update_ids.tolist()) == ([[10.123]], [7])
    again = await retry_rejects(conn, now=NOW)
    assert (again.stored, again.refused, again.last_id) == ((), {}, None)


async def test_books_that_came_in_arrays_are_stored_without_their_padding(conn: AsyncConnection) -> None:
    books = OrderBookColumns(
        timestamps=np.array(
            [NOW.replace(tzinfo=None), NOW.replace(tzinfo=None) - timedelta(seconds=1)], "M8[us]"
        ),
        bid_prices=np.array([[10.123, np.nan], [10.0, 9.0]]),
        bid_sizes=np.array([[1.0, np.nan], [1.0, 1.0]]),
        ask_prices=np.array([[11.0], [11.0]]),
        ask_sizes=np.array([[1.0], [1.0]]),
        last_update_ids=np.array([2, 1]),
    )
    rejected = (await validator(conn)).validate_order_books(books, now=NOW).rejected
    await RejectRepository(conn).keep(rejected, source="test")
    assert len((await widened_and_retried(conn)).stored) == 1
    stored = await OrderBookRepository(conn).query_orderbook_snapshots("BTC/USDT", as_of=NOW)
    assert stored.bid_prices.tolist() == [[10.123]]


async def test_a_mended_rule_lets_it_pass(conn: AsyncConnection) -> None:
    early = datetime(1999, 1, 4, tzinfo=UTC)
    await keep(conn, [trade(ts=early)])
    assert not (await retry_rejects(conn, now=NOW)).stored
    mended = ValidationLimits(earliest=datetime(1990, 1, 1, tzinfo=UTC))
    assert len((await retry_rejects(conn, limits=mended, now=NOW)).stored) == 1
    assert await prices(conn) == [Decimal("10.50")]


async def test_another_reason_replaces_the_first(conn: AsyncConnection) -> None:
    await keep(conn, [trade("10.1234")])
    await keep(conn, [candle("99.123")], "candle")
    payloads = [reject.payload for reject in await all_of_them(conn)]
    await widened_and_retried(conn)
    still = await RejectRepository(conn).list_rejects()
    assert [(r.rule, r.field) for r in still] == [("representable", "price"), ("close_within", "close")]
    assert "not between low and high" in still[1].message
    assert [reject.payload for reject in still] == payloads


async def test_an_instrument_that_was_not_registered(conn: AsyncConnection) -> None:
    await keep(conn, [trade(symbol="ETHUSDT"), trade(symbol="?")])
    refused = (await retry_rejects(conn, now=NOW)).refused
    assert [reason.rule for reason in refused.values()] == ["symbol", "symbol"]
    assert "not registered" in next(iter(refused.values())).message
    await InstrumentRepository(conn).ensure("ETH/USDT", 2, 5)
    assert len((await retry_rejects(conn, now=NOW)).stored) == 1
    assert len(await TradeRepository(conn).query_trades("ETH/USDT", as_of=NOW)) == 1
    assert await statuses(conn) == ["retried", "open"]


async def test_a_trade_that_is_stored_already_is_done_and_one_that_differs_stays(
    conn: AsyncConnection,
) -> None:
    await keep(conn, [trade("10.123", trade_id=n) for n in range(6)])
    await widen_scales(conn, "BTC/USDT", price_scale=3)
    rules = await validator(conn)
    others = [trade("10.123", trade_id=1), trade("10.124", trade_id=4)]
    await TradeRepository(conn).insert_trades("BTC/USDT", rules.validate_trades(others, now=NOW).accepted)
    done = await retry_rejects(conn, now=NOW)
    assert len(done.stored) == 5
    assert [reason.rule for reason in done.refused.values()] == ["no_conflict"]
    assert await statuses(conn) == ["retried"] * 4 + ["open", "retried"]
    assert await prices(conn) == [Decimal("10.123")] * 4 + [Decimal("10.124"), Decimal("10.123")]


async def test_a_book_that_differs_from_the_stored_one_stays(conn: AsyncConnection) -> None:
    await store(conn, [book("10.5")], "order_book")
    await keep(conn, [book("10.123")], "order_book")
    assert [r.rule for r in (await widened_and_retried(conn)).refused.values()] == ["no_conflict"]
    books = await OrderBookRepository(conn).query_orderbook_snapshots("BTC/USDT", as_of=NOW)
    assert books.bid_prices.tolist() == [[10.5]]


@pytest.mark.parametrize(
    ("stored", "retried", "outcome", "close"),
    [
        # an earlier state of the candle that was stored since: nothing is lost, and nothing goes back in time
        (candle("11", volume=5), candle("10.123", volume=3), "retried", "11.000"),
        # a later state of what is stored
        (candle("11", volume=3), candle("10.123", volume=5), "retried", "10.123"),
        # neither: one of them is wrong
        (candle("11", volume=5, high="12"), candle("10.123", volume=3, high="13"), "open", "11.000"),
        (candle("11", volume=5), candle("10.123", volume=5, open="10.001"), "open", "11.000"),
    ],
)
async def test_a_candle_never_replaces_what_it_does_not_continue(
    conn: AsyncConnection, stored: dict[str, Any], retried: dict[str, Any], outcome: str, close: str
) -> None:
    await keep(conn, [retried, candle("10.123", at=1)], "candle")
    await store(conn, [stored], "candle")
    await widened_and_retried(conn)
    assert await statuses(conn) == [outcome, "retried"]
    assert await closes(conn) == [Decimal(close), Decimal("10.123")]


async def test_revisions_of_one_candle_end_in_the_last_of_them(conn: AsyncConnection) -> None:
    revisions = [candle(f"10.12{n}", volume=n) for n in range(1, 6)]
    await keep(conn, [*revisions, candle("10.9999", volume=6)], "candle")
    done = await widened_and_retried(conn)
    assert (len(done.stored), len(done.refused)) == (5, 1)
    assert await closes(conn) == [Decimal("10.125")]


async def test_a_payload_of_somebody_else_stays(conn: AsyncConnection) -> None:
    insert = text(
        "INSERT INTO rejected_records (kind, source, rule, message, payload, symbol)"
        " VALUES (:kind, 'test', 'r', 'm', :payload, 'BTC/USDT')"
    )
    await validator(conn)
    good = b'{"format": 1, "timeframe": null, "record": {}, "received": null}'
    for kind, payload in (("trade", b"\xff\x00"), ("imbalance", good), ("candle", good)):
        await conn.execute(insert, {"kind": kind, "payload": payload})
    refused = (await retry_rejects(conn, now=NOW)).refused
    assert [reason.rule for reason in refused.values()] == ["payload", "kind", "timeframe"]
    assert await statuses(conn) == ["open"] * 3


async def test_batches_go_on_behind_what_stays_open(conn: AsyncConnection) -> None:
    await keep(
        conn,
        [trade(-1, trade_id=1), *(trade("10.123", trade_id=n) for n in range(2, 6)), trade(-1, trade_id=9)],
    )
    await widen_scales(conn, "BTC/USDT", price_scale=3)
    last, stored = 0, 0
    seen = []
    while (done := await retry_rejects(conn, after_id=last, limit=2, now=NOW)).last_id is not None:
        last, stored = done.last_id, stored + len(done.stored)
        seen.append(len(done.stored))
    assert (stored, seen) == (4, [1, 2, 1])


async def test_a_crash_before_the_end_leaves_both_undone_and_a_repetition_does_both(
    engine: AsyncEngine,
) -> None:
    async with engine.begin() as conn:
        await keep(conn, [trade("10.123")])
        await widen_scales(conn, "BTC/USDT", price_scale=3)
    async with engine.connect() as conn:
        assert len((await retry_rejects(conn, now=NOW)).stored) == 1
        await conn.rollback()
    async with engine.connect() as conn:
        assert (await prices(conn), await statuses(conn)) == ([], ["open"])
    async with engine.begin() as conn:
        await retry_rejects(conn, now=NOW)
    async with engine.connect() as conn:
        assert (await prices(conn), await statuses(conn)) == ([Decimal("10.123")], ["retried"])


@pytest.mark.native
async def test_two_retries_at_once_share_the_work(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await keep(conn, [trade("10.123", trade_id=n) for n in range(4)])
        # The chunk is there already: whoever makes a new one holds up the others until he commits.
        await store(conn, [trade(trade_id=9)], "trade")
        await widen_scales(conn, "BTC/USDT", price_scale=3)
    async with engine.begin() as first, engine.begin() as second:
        one = await retry_rejects(first, limit=2, now=NOW)
        two = await retry_rejects(second, now=NOW)
    assert (len(one.stored), len(two.stored)) == (2, 2)
    assert not set(one.stored) & set(two.stored)
    async with engine.connect() as conn:
        assert len(await prices(conn)) == 5


async def test_the_real_price_with_three_decimals_comes_back_after_widening(conn: AsyncConnection) -> None:
    frame = market_frame("ohlcv/binance_spot_BTCUSDT_1m_2018.parquet")
    columns = ["open", "high", "low", "close", "volume"]
    odd = np.flatnonzero((frame[columns[:4]].round(2) != frame[columns[:4]]).any(axis=1))
    assert len(odd) == 1
    part = frame.iloc[odd[0] - 500 : odd[0] + 500][columns]
    rules = DataValidator(await InstrumentRepository(conn).ensure("BTC/USDT", 2, 6))
    result = rules.validate_candles(part, "1m")
    candles = CandleRepository(conn)
    await candles.upsert_candles("BTC/USDT", "1m", result.accepted)
    await RejectRepository(conn).keep(result.rejected, source="2018", timeframe="1m")
    assert len(result.rejected) == 1
    await widen_scales(conn, "BTC/USDT", price_scale=3)
    assert len((await retry_rejects(conn)).stored) == 1
    stored = (await candles.query_ohlcv_data("BTC/USDT", "1m"))[columns]
    pd.testing.assert_frame_equal(stored, part.rename_axis("timestamp"), check_exact=True, check_freq=False)
