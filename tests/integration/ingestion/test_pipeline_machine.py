"""The pipeline against a plain oracle: any order of records, faults, waiting and restarts, by a clock that is put forward.

Database and outbox are real. Time passes only where a rule says so: what is due after a minute is never written by accident.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import text

from datalayer import Candle, DataIngestionPipeline, OrderBook, Trade, UnitOfWork
from datalayer.db.connection import create_engine
from datalayer.errors import DatabaseUnavailableError
from datalayer.ingestion import EventKind, Ingested, IngestionSettings
from tests.integration.ingestion.market import BTC, ETH, QUICK, RecordingCache, book, candle, trade
from tests.shifted_clock import ShiftedLoop

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from datalayer import Settings

FLUSH_AFTER_S = 60.0
FLUSH_ROWS = 12
BUFFER = 8
POISON = 13.0
EXAMPLES = int(os.environ.get("DATALAYER_TEST_EXAMPLES", "6"))
"""How many histories are tried for each setting; a hundred take minutes."""
SYMBOLS = st.sampled_from([BTC, ETH])
PLACES = st.integers(0, 4)
PRICES = st.sampled_from([10.0, 11.0, 12.0, POISON])


class _Machine(RuleBasedStateMachine):
    settings: Settings
    when_full: Any
    has_outbox: bool

    def __init__(self) -> None:
        super().__init__()
        self.loop = ShiftedLoop()
        self.folder = tempfile.TemporaryDirectory()
        self.fault: str | None = None
        # A clock that jumps must not cut off what is under way.
        patient = dict.fromkeys(("connect_timeout_s", "ping_timeout_s", "pool_timeout_s"), 1e6)
        self.engine = create_engine(self.settings.require_url(), self.settings.model_copy(update=patient))
        self.cache = RecordingCache()
        self.cached: list[Any] = []
        self.candles: dict[tuple[str, int], float] = {}
        self.trades: dict[tuple[str, int], float] = {}
        self.books: dict[tuple[str, int], float] = {}
        self.rejected = self.poison = 0
        self.patch = pytest.MonkeyPatch()
        self._inject_faults()

    def _inject_faults(self) -> None:
        commit = UnitOfWork.commit

        async def faulty(uow: UnitOfWork) -> None:
            if self.fault == "before commit":
                raise DatabaseUnavailableError(self.fault)
            await commit(uow)
            if self.fault == "after commit":
                raise DatabaseUnavailableError(self.fault)

        self.patch.setattr(UnitOfWork, "commit", faulty)

    def run(self, work: Awaitable[Any]) -> Any:
        async def limited() -> Any:
            async with asyncio.timeout(1e6):
                return await work

        return self.loop.run_until_complete(limited())

    @initialize()
    def begin(self) -> None:
        self.run(self._empty())
        self._open()

    async def _empty(self) -> None:
        async with self.engine.begin() as conn:
            await conn.execute(text("ALTER TABLE candles DROP CONSTRAINT IF EXISTS poison"))
            await conn.execute(
                text(f"ALTER TABLE candles ADD CONSTRAINT poison CHECK (close <> {POISON * 100})")
            )
            for table in ("candles", "trades", "order_books", "order_book_imbalances", "rejected_records"):
                await conn.execute(text(f"DELETE FROM {table}"))

    def _open(self) -> None:
        options = IngestionSettings(
            flush_after_s=FLUSH_AFTER_S,
            flush_rows=FLUSH_ROWS,
            buffer_events=BUFFER,
            when_full=self.when_full,
            unknown_instruments="register",
            scales=QUICK.scales,
            attempt_s=1e6,
            lookup_s=1e6,
            retry_wait_max_s=1.0,
        )
        path = Path(self.folder.name) / "outbox" if self.has_outbox else None
        self.pipeline = DataIngestionPipeline(self.engine, outbox=path, cache=self.cache, settings=options)
        self.run(self.pipeline.open())

    def _room(self, kind: EventKind) -> bool:
        """Tell whether a record is taken in at once, though the database is away."""
        lanes = self.pipeline.statistics.lanes
        return (
            self.when_full == "spill"
            or not self.fault
            or all(
                lanes[other].buffered + lanes[other].spilled < BUFFER for other in (kind, EventKind.REJECT)
            )
        )

    @rule(symbol=SYMBOLS, place=PLACES, close=PRICES, forming=st.booleans())
    def send_candle(self, symbol: str, place: int, close: float, forming: bool) -> None:
        if not self._room(EventKind.CANDLE):
            return
        record = candle(place, close, symbol, is_forming=forming)
        outcome = self.run(self.pipeline.ingest_ohlcv_candle(record))
        assert outcome is (Ingested.FORMING if forming else Ingested.ACCEPTED)
        if not forming and close == POISON:
            self.poison += 1  # refused by the server, unless a later revision was in the same batch
            return
        self.cached.append(record)
        if not forming:
            self.candles[symbol, place] = close

    @rule(symbol=SYMBOLS, place=PLACES, price=PRICES)
    def send_trade(self, symbol: str, place: int, price: float) -> None:
        if self._room(EventKind.TRADE):
            record = trade(place, price, symbol)
            assert self.run(self.pipeline.ingest_trade(record)) is Ingested.ACCEPTED
            self.cached.append(record)
            self.trades.setdefault((symbol, place), price)

    @rule(symbol=SYMBOLS, place=PLACES, bid=PRICES)
    def send_book(self, symbol: str, place: int, bid: float) -> None:
        if self._room(EventKind.ORDER_BOOK) and self._room(EventKind.IMBALANCE):
            record = book(place, bid, symbol)
            assert self.run(self.pipeline.ingest_orderbook_snapshot(record)) is Ingested.ACCEPTED
            self.cached.append(record)
            self.books.setdefault((symbol, place), bid)

    @rule(count=st.integers(1, 30), symbol=SYMBOLS)
    def send_many(self, count: int, symbol: str) -> None:
        if self.fault and self.when_full != "spill":
            return
        records = [trade(100 + n, 10.0, symbol) for n in range(count)]
        assert self.run(self.pipeline.ingest_trades(records)) == {Ingested.ACCEPTED: count}
        self.cached += records
        for n in range(count):
            self.trades.setdefault((symbol, 100 + n), 10.0)

    @rule(symbol=SYMBOLS, place=PLACES)
    def send_nonsense(self, symbol: str, place: int) -> None:
        if self._room(EventKind.TRADE):
            self.rejected += 1
            nonsense = trade(place, -float(self.rejected), symbol)
            assert self.run(self.pipeline.ingest_trade(nonsense)) is Ingested.REJECTED

    @rule(fault=st.sampled_from(["before commit", "after commit", None]))
    def change_fortune(self, fault: str | None) -> None:
        self.fault = fault

    @rule()
    def let_time_pass(self) -> None:
        """Everything that was accepted until now is due."""
        self.loop.advance(FLUSH_AFTER_S)
        if self.fault is None:
            self.run(self._until_settled())
            self.check_database()

    async def _until_settled(self) -> None:
        while any(lane.buffered or lane.spilled for lane in self.pipeline.statistics.lanes.values()):
            self.loop.advance(1.0)  # pauses between attempts, and rejects that came of others
            await asyncio.sleep(0.001)

    @rule(call=st.sampled_from(["flush", "drain"]))
    @precondition(lambda self: self.fault is None)
    def flush(self, call: str) -> None:
        self.run(self._with_pauses(getattr(self.pipeline, call)()))
        self.check_database()
        if call == "drain":
            self.restart()

    async def _with_pauses(self, work: Awaitable[Any]) -> None:
        task = asyncio.ensure_future(work)
        while not task.done():
            await asyncio.sleep(0.001)
            self.loop.advance(0.1)
        await task

    @rule()
    @precondition(lambda self: self.has_outbox)
    def restart(self) -> None:
        """End without waiting for the database, and begin again on the same outbox."""
        self.run(self.pipeline.close(timeout_s=0))
        self._open()

    @invariant()
    def the_cache_has_what_was_accepted_at_once(self) -> None:
        items = [item for item in self.cache.items if type(item) in {Candle, Trade, OrderBook}]
        assert [item for item in items if not _is_poison(item)] == self.cached

    @invariant()
    def memory_is_bounded(self) -> None:
        if hasattr(self, "pipeline"):
            for lane in self.pipeline.statistics.lanes.values():
                assert lane.buffered <= BUFFER + FLUSH_ROWS
                assert self.when_full == "spill" or lane.buffered + lane.spilled <= BUFFER + FLUSH_ROWS

    def check_database(self) -> None:
        *stored, rejected = self.run(self._stored())
        assert stored == [self.candles, self.trades, self.books]
        assert self.rejected <= rejected <= self.rejected + self.poison

    async def _stored(self) -> Any:
        async with UnitOfWork(self.engine) as uow:
            conn = uow.connection
            candles = await conn.execute(
                text(
                    "SELECT symbol, CAST(extract(epoch FROM ts - '2024-08-08 10:00+00') / 60 AS int), close / 100.0"
                    " FROM candles JOIN instruments ON id = instrument_id"
                )
            )
            trades = await conn.execute(
                text(
                    "SELECT symbol, trade_id, price / 100.0 FROM trades JOIN instruments ON id = instrument_id"
                )
            )
            books = await conn.execute(
                text(
                    "SELECT symbol, last_update_id, best_bid / 100.0 FROM order_books JOIN instruments ON id = instrument_id"
                )
            )
            kept = await conn.scalar(text("SELECT count(*) FROM rejected_records"))
        found = [{(row[0], row[1]): float(row[2]) for row in rows} for rows in (candles, trades, books)]
        return (*found, kept)

    async def _remove_poison(self) -> None:
        async with self.engine.begin() as conn:
            await conn.execute(text("ALTER TABLE candles DROP CONSTRAINT IF EXISTS poison"))

    def teardown(self) -> None:
        self.fault = None
        if hasattr(self, "pipeline"):
            self.run(self._with_pauses(self.pipeline.close(timeout_s=1e5)))
            self.check_database()
        self.run(self._remove_poison())
        self.run(self.engine.dispose())
        self.patch.undo()
        self.folder.cleanup()
        self.loop.close()


def _is_poison(item: Any) -> bool:
    return type(item) is Candle and item.close == POISON and not item.is_forming


@pytest.fixture
def _database(settings: Settings) -> None:
    _Machine.settings = settings


@pytest.mark.parametrize(
    ("when_full", "has_outbox"), [("spill", True), ("backpressure", True), ("backpressure", False)]
)
@pytest.mark.usefixtures("_database")
def test_the_pipeline_does_what_the_oracle_says(when_full: str, has_outbox: bool) -> None:
    machine = type("Machine", (_Machine,), {"when_full": when_full, "has_outbox": has_outbox})
    machine.TestCase.settings = hypothesis_settings(
        max_examples=EXAMPLES, stateful_step_count=30, deadline=None
    )
    machine.TestCase("runTest").runTest()
