"""The pipeline on a real database: what becomes of every kind of record, good and bad."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from datalayer import Candle, DataIngestionPipeline, OrderBook, Timeframe, Trade, UnitOfWork
from datalayer.domain.imbalance_tracker import ImbalanceTracker
from datalayer.domain.imbalances import OrderBookImbalances
from datalayer.errors import IngestionClosedError, OutboxInUseError
from datalayer.ingestion import EventKind, Ingested, IngestionHooks, IngestionSettings
from datalayer.repositories.reject_retry import retry_rejects
from datalayer.repositories.reject_rows import RejectFilter, RejectKey
from datalayer.repositories.rescale import widen_scales
from tests.integration.ingestion.market import (
    BTC,
    ETH,
    QUICK,
    START,
    RecordingCache,
    book,
    candle,
    execute,
    pipeline,
    scalar,
    stored_closes,
    stored_trades,
    trade,
)

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.repositories.reject_rows import Reject

WITH_AND_WITHOUT = pytest.mark.parametrize("outbox", ["market.outbox", None])


@pytest.fixture
def path(tmp_path: Path, request: pytest.FixtureRequest) -> Path | None:
    """Path of the outbox, or None where a test says so by its parameter `outbox`."""
    name = request.node.callspec.params.get("outbox", "o") if hasattr(request.node, "callspec") else "o"
    return None if name is None else tmp_path / name


async def rejects(engine: AsyncEngine) -> list[Reject]:
    async with UnitOfWork(engine) as uow:
        return await uow.rejects.list_rejects(RejectFilter(status=None))


@WITH_AND_WITHOUT
@pytest.mark.usefixtures("outbox")
async def test_each_kind_is_cached_at_once_and_stored(engine: AsyncEngine, path: Path | None) -> None:
    cache = RecordingCache()
    async with pipeline(engine, path, cache=cache) as ingestion:
        for n in range(30):
            given: list[Any] = [candle(n), trade(n), book(n)]
            calls = (
                ingestion.ingest_ohlcv_candle,
                ingestion.ingest_trade,
                ingestion.ingest_orderbook_snapshot,
            )
            for call, record in zip(calls, given, strict=True):
                assert await call(record) is Ingested.ACCEPTED
                assert record in cache.items
        await ingestion.flush()
        assert await stored_closes(engine) == dict.fromkeys(range(30), 11.0)
        assert await stored_trades(engine) == list(range(30))
        statistics = ingestion.statistics
        assert {kind.label: lane.stored.inserted for kind, lane in statistics.lanes.items()} == {
            "candle": 30,
            "trade": 30,
            "order_book": 30,
            "imbalance": 30,
            "reject": 0,
        }
        assert all(lane.buffered == lane.spilled == lane.retries == 0 for lane in statistics.lanes.values())
    async with UnitOfWork(engine) as uow:
        books = await uow.order_books.query_orderbook_snapshots(BTC)
        imbalances = await uow.imbalances.query_orderbook_imbalances(BTC)
    assert [books.book(row, BTC) for row in range(30)] == cache.of(OrderBook)
    cached = cache.of(OrderBookImbalances)
    assert [
        OrderBookImbalances(BTC, ts, *row)
        for ts, row in zip(imbalances.index, imbalances.to_numpy(), strict=True)
    ] == cached
    tracker = ImbalanceTracker(BTC, size_scale=5, since=START - timedelta(microseconds=1))
    for n in range(30):
        tracker.add_trade(trade(n))
        assert tracker.add_book(book(n)) == cached[n]


@pytest.fixture
def outbox() -> None:
    """Only a name for the parameter."""


async def test_records_come_as_mappings_texts_and_in_any_spelling(engine: AsyncEngine, path: Path) -> None:
    cache = RecordingCache()
    values = {"open": "10", "high": "20.00", "low": Decimal(5), "close": "11.5", "volume": "1.5"}
    record = {"symbol": "BTCUSDT", "timeframe": "1m", "ts": START, **values}
    trades = {"symbol": "btc-usdt", "ts": START, "trade_id": 7, "price": "11.25", "size": "0.5", "side": -1}
    levels = {"bid_prices": ["11"], "bid_sizes": ["1"], "ask_prices": ["12"], "ask_sizes": ["2"]}
    async with pipeline(engine, path, cache=cache) as ingestion:
        for symbol in ("BTCUSDT", BTC):
            assert await ingestion.ingest_ohlcv_candle(record | {"symbol": symbol}) is Ingested.ACCEPTED
            assert await ingestion.ingest_trade(trades | {"symbol": symbol}) is Ingested.ACCEPTED
            snapshot = {"symbol": symbol, "ts": START, **levels}
            assert await ingestion.ingest_orderbook_snapshot(snapshot) is Ingested.ACCEPTED
        await ingestion.flush()
    expected = candle(close=11.5, trade_count=None)
    assert cache.of(Candle) == [expected, expected]
    assert cache.of(Trade)[0] == Trade(BTC, START, 7, 11.25, 0.5, -1)  # type: ignore[arg-type]
    assert cache.of(OrderBook)[0].bid_prices.tolist() == [11.0]
    assert await stored_closes(engine) == {0: 11.5}
    assert await stored_trades(engine) == [7]


async def test_the_last_revision_wins_and_the_first_trade(engine: AsyncEngine, path: Path) -> None:
    slow = replace(QUICK, flush_after_s=60)
    for start in (0, 10):  # within one batch, and over two
        async with pipeline(engine, path, slow) as ingestion:
            for close in (12.0, 13.0, 14.0):
                await ingestion.ingest_ohlcv_candle(candle(start, close))
                await ingestion.ingest_ohlcv_candle(
                    candle(start + 1, close, trade_count=None if close > 12 else 9)
                )
                if start:
                    await ingestion.flush()
            await ingestion.ingest_trade(trade(start, 11.0))
            await ingestion.ingest_trade(trade(start, 15.0))
            await ingestion.ingest_orderbook_snapshot(book(start, 11.0))
            await ingestion.ingest_orderbook_snapshot(book(start, 12.0))
        assert (await stored_closes(engine))[start] == 14.0
        assert await scalar(engine, f"SELECT price FROM trades WHERE trade_id = {start}") == 1100
        assert (
            await scalar(engine, f"SELECT best_bid FROM order_books WHERE last_update_id = {start}") == 1100
        )
        at = (START + timedelta(minutes=start + 1)).isoformat()
        assert await scalar(engine, f"SELECT trade_count FROM candles WHERE ts = '{at}'") == 9


async def test_forming_candles_are_in_the_cache_and_no_history(engine: AsyncEngine, path: Path) -> None:
    cache = RecordingCache()
    async with pipeline(engine, path, cache=cache) as ingestion:
        forming = candle(0, is_forming=True)
        assert await ingestion.ingest_ohlcv_candle(forming) is Ingested.FORMING
        assert await ingestion.ingest_ohlcv_candle(candle(1)) is Ingested.ACCEPTED
        assert ingestion.statistics.forming == 1
    assert cache.items == [forming, candle(1)]
    assert await stored_closes(engine) == {1: 11.0}


BAD: dict[str, Any] = {
    "high_ge_low": candle(high=1.0),
    "ts": {"symbol": BTC, "timeframe": "1m", "open": 1.0},
    "representable": candle(close=11.001),
    "on_grid": candle(ts=START + timedelta(seconds=1)),
    "timeframe": {"symbol": BTC, "timeframe": "7m", "ts": START},
    "symbol": {"symbol": "?", "timeframe": "1m", "ts": START},
}


@WITH_AND_WITHOUT
@pytest.mark.usefixtures("outbox")
async def test_what_a_rule_refuses_is_in_quarantine_and_not_in_the_cache(
    engine: AsyncEngine, path: Path | None
) -> None:
    cache = RecordingCache()
    counted: Counter[RejectKey] = Counter()

    def count(key: RejectKey, n: int) -> None:
        counted[key] += n

    async with pipeline(engine, path, cache=cache, hooks=IngestionHooks(on_rejected=count)) as ingestion:
        await ingestion.ingest_ohlcv_candle(candle(5))
        for record in BAD.values():
            assert await ingestion.ingest_ohlcv_candle(record, received='{"k": 1}') is Ingested.REJECTED
        assert await ingestion.ingest_trade(trade(price=-1.0)) is Ingested.REJECTED
        crossed = book(ask_prices=np.array([1.0, 2.0]))
        assert await ingestion.ingest_orderbook_snapshot(crossed) is Ingested.REJECTED
        await ingestion.flush()
        assert ingestion.statistics.rejected == len(BAD) + 2
    kept = await rejects(engine)
    assert {reject.rule for reject in kept if reject.kind == "candle"} == {
        "high_ge_low",
        "present",
        "representable",
        "on_grid",
        "timeframe",
        "symbol",
    }
    assert [reject.kind for reject in kept][-2:] == ["trade", "order_book"]
    assert {reject.decoded().received for reject in kept if reject.kind == "candle"} == {b'{"k": 1}'}
    assert kept[0].decoded().record["high"] == 1.0
    assert counted[RejectKey("feed", "trade", "positive_price")] == 1
    assert sum(counted.values()) == len(kept)
    assert cache.items == [candle(5)]


async def test_unknown_instruments_are_rejected_unless_the_settings_register_them(
    engine: AsyncEngine, path: Path
) -> None:
    strict = IngestionSettings(flush_after_s=0.05)
    async with pipeline(engine, path, strict) as ingestion:
        for n in range(3):
            assert await ingestion.ingest_trade(trade(n)) is Ingested.REJECTED
    (first, *_) = await rejects(engine)
    assert (first.rule, first.symbol) == ("symbol", BTC)
    assert "ensure" in first.message
    assert await scalar(engine, "SELECT count(*) FROM instruments") == 0
    async with pipeline(engine, path, replace(QUICK, scales={})) as ingestion:
        assert await ingestion.ingest_trade(trade(7, 11.25)) is Ingested.ACCEPTED
    async with UnitOfWork(engine) as uow:
        instrument = await uow.instruments.get(BTC)
        assert (instrument.price_scale, instrument.size_scale) == (4, 3)  # its own digits and two more
        retried = await retry_rejects(uow.connection)
        await uow.commit()
    assert len(retried.stored) == 3
    assert await stored_trades(engine) == [0, 1, 2, 7]


async def test_scales_that_are_widened_under_way_hold_for_what_was_accepted_before(
    engine: AsyncEngine, path: Path
) -> None:
    slow = replace(QUICK, flush_after_s=60)
    async with pipeline(engine, path, slow) as ingestion:
        await ingestion.ingest_ohlcv_candle(candle(0, 11.25))
        await ingestion.flush()
        await ingestion.ingest_ohlcv_candle(candle(1, 11.25))
        assert await ingestion.ingest_ohlcv_candle(candle(2, 11.255)) is Ingested.REJECTED
        async with UnitOfWork(engine) as uow:
            await widen_scales(uow.connection, BTC, price_scale=3)
            await uow.commit()
        await ingestion.flush()
        assert await ingestion.ingest_ohlcv_candle(candle(3, 11.255)) is Ingested.ACCEPTED
    assert await stored_closes(engine) == {0: 11.25, 1: 11.25, 3: 11.255}


async def test_what_the_registered_scale_does_not_hold_is_in_quarantine(
    engine: AsyncEngine, path: Path
) -> None:
    """Registered by somebody else with smaller scales, after the record was accepted by the settings' own."""
    cache = RecordingCache()
    slow = replace(QUICK, flush_after_s=60)
    async with pipeline(engine, path, slow, cache=cache) as ingestion:
        await ingestion.ingest_trade(trade(0, 11.25))
        await ingestion.ingest_trade(trade(1, 11.5))
        async with UnitOfWork(engine) as uow:
            await uow.instruments.ensure(BTC, 1, 5)
            await uow.commit()
        await ingestion.flush()
        assert await stored_trades(engine) == [1]
        assert cache.items == [trade(1, 11.5)]
        assert await ingestion.ingest_trade(trade(2, 11.25)) is Ingested.REJECTED
    kept = await rejects(engine)
    assert [reject.decoded().record["price"] for reject in kept] == [Decimal("11.25"), 11.25]
    assert "widen" in kept[0].message


@WITH_AND_WITHOUT
@pytest.mark.usefixtures("outbox")
async def test_poison_is_isolated_and_its_batch_goes_on(engine: AsyncEngine, path: Path | None) -> None:
    """The server refuses what no rule of ours does: three records in a batch of a thousand."""
    poison = {0, 417, 999}
    cache = RecordingCache()
    await execute(engine, "ALTER TABLE candles ADD CONSTRAINT poison CHECK (volume <> 66600000)")
    try:
        async with pipeline(engine, path, replace(QUICK, flush_after_s=60), cache=cache) as ingestion:
            records = [candle(n, volume=666.0 if n in poison else 1.0) for n in range(1000)]
            assert await ingestion.ingest_ohlcv_candles(records) == {Ingested.ACCEPTED: 1000}
            assert len(cache.items) == 1000
            await ingestion.flush()
            assert ingestion.statistics.lanes[EventKind.CANDLE].quarantined == 3
    finally:
        await execute(engine, "ALTER TABLE candles DROP CONSTRAINT poison")
    assert set(await stored_closes(engine)) == set(range(1000)) - poison
    assert [item.ts for item in cache.items] == [r.ts for n, r in enumerate(records) if n not in poison]
    kept = await rejects(engine)
    assert [reject.rule for reject in kept] == ["database"] * 3
    assert "poison" in kept[0].message
    async with UnitOfWork(engine) as uow:
        retried = await retry_rejects(uow.connection)
        await uow.commit()
    assert len(retried.stored) == 3
    assert set(await stored_closes(engine)) == set(range(1000))


async def test_poison_of_any_kind_leaves_the_cache(engine: AsyncEngine, path: Path) -> None:
    """Imbalances were never handed in: they are left out, and the log tells."""
    cache = RecordingCache()
    poison = {
        "trades": "price <> 1300",
        "order_books": "best_bid <> 1300",
        "order_book_imbalances": f"ts <> '{book(3).ts}'",
    }
    await execute(
        engine,
        *(f"ALTER TABLE {table} ADD CONSTRAINT poison CHECK ({rule})" for table, rule in poison.items()),
    )
    try:
        async with pipeline(engine, path, replace(QUICK, flush_after_s=60), cache=cache) as ingestion:
            for n in range(5):
                await ingestion.ingest_trade(trade(n, 13.0 if n == 1 else 11.0))
                await ingestion.ingest_orderbook_snapshot(book(n, 13.0 if n == 2 else 11.0))
            await ingestion.flush()
            quarantined = {
                kind: lane.quarantined
                for kind, lane in ingestion.statistics.lanes.items()
                if lane.quarantined
            }
            assert quarantined == dict.fromkeys(
                (EventKind.TRADE, EventKind.ORDER_BOOK, EventKind.IMBALANCE), 1
            )
    finally:
        await execute(engine, *(f"ALTER TABLE {table} DROP CONSTRAINT poison" for table in poison))
    assert [item.trade_id for item in cache.of(Trade)] == await stored_trades(engine) == [0, 2, 3, 4]
    assert [item.last_update_id for item in cache.of(OrderBook)] == [0, 1, 3, 4]
    assert [item.ts for item in cache.of(OrderBookImbalances)] == [book(n).ts for n in (0, 1, 2, 4)]
    assert await scalar(engine, "SELECT count(*) FROM order_book_imbalances") == 4
    assert {reject.kind for reject in await rejects(engine)} == {"trade", "order_book"}  # kinds have no order


async def test_one_outbox_belongs_to_one_pipeline(engine: AsyncEngine, path: Path) -> None:
    async with pipeline(engine, path):
        with pytest.raises(OutboxInUseError):
            await DataIngestionPipeline(engine, outbox=path).open()


async def test_nothing_is_taken_in_before_open_and_after_drain(engine: AsyncEngine, path: Path) -> None:
    ingestion = DataIngestionPipeline(engine, outbox=path, settings=QUICK)
    with pytest.raises(IngestionClosedError):
        await ingestion.ingest_trade(trade())
    async with ingestion:
        await ingestion.ingest_trade(trade(1))
        await ingestion.drain()
        assert await stored_trades(engine) == [1]
        for call in (ingestion.ingest_trade(trade(2)), ingestion.ingest_trades([trade(3)])):
            with pytest.raises(IngestionClosedError):
                await call
    assert await ingestion.close() == {}
    assert await stored_trades(engine) == [1]


async def test_many_symbols_and_timeframes_go_in_one_batch(engine: AsyncEngine, path: Path) -> None:
    frames = (Timeframe.S1, Timeframe.M1, Timeframe.H1, Timeframe.D1)
    day = START.replace(hour=0)
    records = [
        candle(symbol=symbol, timeframe=frame, ts=day, close=10.0 + place)
        for place, frame in enumerate(frames)
        for symbol in (ETH, BTC)
    ]
    async with pipeline(engine, path, replace(QUICK, flush_after_s=60)) as ingestion:
        await ingestion.ingest_ohlcv_candles(records)
    async with UnitOfWork(engine) as uow:
        for place, frame in enumerate(frames):
            for symbol in (ETH, BTC):
                found = await uow.candles.query_ohlcv_data(symbol, frame)
                assert list(found["close"]) == [10.0 + place]
