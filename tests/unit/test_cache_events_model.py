"""Trades, order books and imbalances of the cache against plain dictionaries, under a clock that jumps either way."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import Any

import hypothesis.strategies as st
import numpy as np
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from datalayer.cache import CacheSettings, DataCacheManager
from datalayer.domain.imbalances import OrderBookImbalances
from datalayer.domain.order_book import OrderBook
from datalayer.domain.trade import Side, Trade

BTC = "BTC/USDT"
START = datetime(2024, 8, 8, tzinfo=UTC)
WINDOW = timedelta(seconds=60)
LIMITS = CacheSettings(window_s=60, max_trades=12, max_order_books=8)
KEPT_REVISIONS = 5
VALUES = st.sampled_from([math.nan, 0.25, -0.5, 1.0])


@dataclass
class EventOracle:
    """Revisions by key, ascending; the oldest go when there are too many."""

    limit: int
    kept: dict[Any, list[Any]] = field(default_factory=dict)

    def put(self, key: Any, value: Any) -> None:
        self.kept.setdefault(key, [value])
        while len(self.kept) > self.limit:
            del self.kept[min(self.kept)]

    def between(self, begin: datetime, end: datetime) -> list[tuple[Any, Any]]:
        return [(key, found[-1]) for key, found in sorted(self.kept.items()) if begin <= key[0] <= end]


@dataclass
class ImbalanceOracle(EventOracle):
    """What is not known replaces nothing; a revision that says nothing new is none; the last few can be taken back."""

    def put(self, key: Any, value: Any) -> None:
        super().put(key, value)
        revisions = self.kept.get(key, [value])
        if reduce(completed, [*revisions, value]) != reduce(completed, revisions):
            revisions.append(value)
        if len(revisions) > KEPT_REVISIONS:
            revisions[:2] = [completed(*revisions[:2])]

    def between(self, begin: datetime, end: datetime) -> list[tuple[Any, Any]]:
        found = super().between(begin, end)
        return [(key, reduce(completed, self.kept[key])) for key, _ in found]


def completed(earlier: OrderBookImbalances, later: OrderBookImbalances) -> OrderBookImbalances:
    known = {name: value for name, value in later.values().items() if not math.isnan(value)}
    return replace(earlier, **known)


class EventMachine(RuleBasedStateMachine):
    """What is too old for the latest time that the clock ever showed may be gone; all else must be there, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.latest = START
        self.cache = DataCacheManager(LIMITS, clock=lambda: self.now)
        self.told: Counter[str] = Counter()
        self.cache.add_listener(lambda _, item: self.told.update([type(item).__name__]))
        self.trades = EventOracle(LIMITS.max_trades)
        self.books = EventOracle(LIMITS.max_order_books)
        self.imbalances = ImbalanceOracle(LIMITS.max_order_books)
        self.taken_out: Counter[str] = Counter()
        self.too_old: Counter[str] = Counter()

    def is_kept(self, item: Any) -> bool:
        if item.ts < self.now - WINDOW:
            self.too_old[type(item).__name__] += 1
        return bool(item.ts >= self.now - WINDOW)

    @rule(step=st.sampled_from([0.0, 0.1, 1, 29, 31, 61, 130, -0.1, -45, -3600]))
    def the_clock_moves(self, step: float) -> None:
        self.now += timedelta(seconds=step)
        self.latest = max(self.latest, self.now)

    def moment(self, back: float) -> datetime:
        return self.now - timedelta(seconds=back)

    BACK = st.sampled_from([0.0, 0.0, 0.1, 1, 2, 30, 59, 60, 60.1, 100, -0.1, -1.3, -70])

    @rule(back=BACK, trade_id=st.integers(1, 4), price=st.integers(1, 3))
    def a_trade(self, back: float, trade_id: int, price: int) -> None:
        trade = Trade(BTC, self.moment(back), trade_id, float(price), 0.5, Side.SELL)
        self.cache.put_trade(trade)
        if self.is_kept(trade):
            self.trades.put((trade.ts, trade.trade_id), trade)

    @rule(back=BACK, price=st.integers(1, 3))
    def a_book(self, back: float, price: int) -> None:
        levels = np.array([float(price)])
        book = OrderBook(BTC, self.moment(back), levels, levels, levels + 1, levels)
        self.cache.put_orderbook(book)
        if self.is_kept(book):
            self.books.put((book.ts,), book)

    @rule(back=BACK, values=st.lists(VALUES, min_size=2, max_size=2))
    def imbalances_come(self, back: float, values: list[float]) -> None:
        imbalances = OrderBookImbalances(BTC, self.moment(back), *values)
        self.cache.put_imbalances(imbalances)
        if self.is_kept(imbalances):
            self.imbalances.put((imbalances.ts,), imbalances)

    @rule(data=st.data())
    def one_is_refused(self, data: st.DataObject) -> None:
        oracle = data.draw(st.sampled_from([self.trades, self.books, self.imbalances]))
        recent = [key for key in oracle.kept if key[0] >= self.latest - WINDOW]
        if recent:
            key = data.draw(st.sampled_from(recent))
            item = data.draw(st.sampled_from(oracle.kept[key]))
            revisions = oracle.kept[key]
            del revisions[max(place for place, one in enumerate(revisions) if one == item)]
            if not revisions:
                del oracle.kept[key]
                self.taken_out[type(item).__name__] += 1
            assert self.cache.discard(item)

    @rule()
    def all_that_is_old_is_dropped(self) -> None:
        self.cache.evict()

    @rule(back=st.sampled_from([None, 0.0, 0.05, 1, 10, 59.9, 75, -0.1, -40]))
    def somebody_asks(self, back: float | None) -> None:
        as_of = None if back is None else self.moment(back)
        end = as_of or self.now
        begin = max(self.now, end) - WINDOW
        frame = self.cache.get_recent_trades(BTC, as_of=as_of)
        times = (ts.to_pydatetime() for ts in frame.index)
        trades = [
            ((ts, row.trade_id), Trade(BTC, ts, row.trade_id, row.price, row.size, Side(row.side)))
            for ts, row in zip(times, frame.itertuples(), strict=True)
        ]
        books = [((book.ts,), book) for book in self.cache.get_recent_orderbooks(BTC, as_of=as_of)]
        table = self.cache.get_recent_imbalances(BTC, as_of=as_of)
        imbalances = [
            ((row[0].to_pydatetime(),), OrderBookImbalances(BTC, row[0].to_pydatetime(), *row[1:]))
            for row in table.itertuples()
        ]
        for found, oracle in ((trades, self.trades), (books, self.books), (imbalances, self.imbalances)):
            self.check(found, oracle.between(begin, end))
        for latest, found in (
            (self.cache.get_latest_orderbook(BTC, as_of=as_of), books),
            (self.cache.get_latest_imbalances(BTC, as_of=as_of), imbalances),
        ):
            assert latest == (found[-1][1] if found else None)

    def check(self, found: list[tuple[Any, Any]], expected: list[tuple[Any, Any]]) -> None:
        surely = self.latest - WINDOW
        assert [one for one in found if one[0][0] >= surely] == [
            one for one in expected if one[0][0] >= surely
        ]
        assert found == sorted(found, key=lambda one: one[0])

    @invariant()
    def none_is_lost_uncounted(self) -> None:
        kinds = self.cache.statistics.kinds
        for kind, name in (("trades", "Trade"), ("order_books", "OrderBook")):
            came = self.told[name] - self.taken_out[name]
            assert kinds[kind].items + kinds[kind].evictions == came + self.too_old[name]
        assert kinds["trades"].items <= LIMITS.max_trades
        assert kinds["order_books"].items <= LIMITS.max_order_books
        assert kinds["imbalances"].items <= LIMITS.max_order_books


TestEvents = EventMachine.TestCase
TestEvents.settings = settings(max_examples=40, stateful_step_count=50)
