"""Imbalances: by columns, event by event and by a plain oracle, the same to the last bit."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalayer.domain.imbalance_tracker import ImbalanceTracker
from datalayer.domain.imbalances import IMBALANCE_PARTS, WINDOWS_S, OrderBookImbalances
from datalayer.domain.imbalances_by_columns import imbalances_at_books
from datalayer.domain.order_book import OrderBook, OrderBookColumns
from datalayer.domain.order_book_frame import IMBALANCES, OrderBookDataFrame
from datalayer.domain.trade import Side, Trade
from datalayer.errors import InvalidInputError, ScaleError
from tests.market_books import capture_books, capture_trades

BTC = "BTC/USDT"
SCALE = 3
START = datetime(2024, 8, 8, tzinfo=UTC)
MOMENTS = st.integers(0, 200).map(lambda n: START + timedelta(milliseconds=500 * n))
SIZES = st.integers(1, 10**6).map(lambda steps: steps / 10**SCALE)


@dataclass(frozen=True)
class Event:
    """A book, or else a trade."""

    ts: datetime
    bids: tuple[float, ...] = ()
    asks: tuple[float, ...] = ()
    trade: Trade | None = None

    @property
    def book(self) -> OrderBook:
        bids, asks = np.array(self.bids), np.array(self.asks)
        return OrderBook(BTC, self.ts, 100.0 - np.arange(len(bids)), bids, 101.0 + np.arange(len(asks)), asks)


BOOKS = st.builds(
    Event,
    MOMENTS,
    st.lists(SIZES, max_size=3).map(tuple),
    st.lists(SIZES, max_size=3).map(tuple),
)
TRADES = st.builds(
    lambda ts, number, size, side: Event(ts, trade=Trade(BTC, ts, number, 100.0, size, side)),
    MOMENTS,
    st.integers(0, 3),
    SIZES,
    st.sampled_from(Side),
)
EVENTS = st.lists(BOOKS | TRADES, max_size=30)


def columns_of(events: list[Event]) -> OrderBookColumns:
    width = max((max(len(e.bids), len(e.asks)) for e in events), default=0)

    def padded(rows: list[Any]) -> Any:
        full = [[*row, *[np.nan] * (width - len(row))] for row in rows]
        return np.array(full, np.float64).reshape(len(events), width)

    books = [event.book for event in events]
    return OrderBookColumns(
        np.array([event.ts.replace(tzinfo=None) for event in events], "datetime64[us]"),
        *(padded([getattr(book, name) for book in books]) for name in OrderBookColumns.__slots__[1:5]),
        np.full(len(events), -1),
    )


def frame_of(trades: list[Trade]) -> pd.DataFrame:
    data = {
        "trade_id": np.array([t.trade_id for t in trades], np.int64),
        "price": np.array([t.price for t in trades], np.float64),
        "size": np.array([t.size for t in trades], np.float64),
        "side": np.array([t.side for t in trades], np.int8),
    }
    times = np.array([t.ts.replace(tzinfo=None) for t in trades], "datetime64[us]")
    return pd.DataFrame(data, index=pd.DatetimeIndex(times, tz="UTC", name="timestamp"))


def by_columns(events: list[Event], since: datetime) -> pd.DataFrame:
    books = columns_of([event for event in events if event.trade is None])
    return imbalances_at_books(
        books, frame_of([e.trade for e in events if e.trade]), size_scale=SCALE, since=since
    )


def oracle(events: list[Event], at: datetime, since: datetime) -> list[float]:
    """The definition, spelled out for one moment: event by event, in integers."""
    books: dict[datetime, int] = {}
    trades: dict[tuple[datetime, int], int] = {}
    for event in events:
        if event.trade is not None:
            steps = round(Decimal(repr(event.trade.size)) * 10**SCALE) * event.trade.side
            trades.setdefault((event.ts, event.trade.trade_id), steps)
        else:
            bid, ask = (sum(round(size * 10**SCALE) for size in side) for side in (event.bids, event.asks))
            share = (bid - ask) / (bid + ask) if bid + ask else 0.0
            books.setdefault(event.ts, round(share * IMBALANCE_PARTS))
    found = []
    for window in WINDOWS_S:
        start = at - timedelta(seconds=window)
        parts = [value for ts, value in books.items() if start < ts <= at and start >= since]
        found.append(sum(parts) / len(parts) / IMBALANCE_PARTS if parts else math.nan)
    for window in WINDOWS_S:
        start = at - timedelta(seconds=window)
        steps_in = [value for (ts, _), value in trades.items() if start < ts <= at and start >= since]
        total = sum(map(abs, steps_in))
        found.append(sum(steps_in) / total if total else math.nan)
    return found


def assert_same(left: Any, right: Any) -> None:
    np.testing.assert_array_equal(np.asarray(left, np.float64), np.asarray(right, np.float64))


def answers(
    events: list[Event], since: datetime, late_s: float = 60.0
) -> list[tuple[Event, OrderBookImbalances]]:
    tracker = ImbalanceTracker("btcusdt", size_scale=SCALE, since=since, late_s=late_s)
    found = []
    for event in events:
        if event.trade is not None:
            tracker.add_trade(event.trade)
        else:
            found.append((event, tracker.add_book(event.book)))
    return found


@given(EVENTS, MOMENTS)
def test_by_columns_is_the_definition(events: list[Event], since: datetime) -> None:
    frame = by_columns(events, since)
    assert frame.index.is_unique
    assert frame.index.is_monotonic_increasing
    assert set(frame.index) == {event.ts for event in events if event.trade is None}
    for moment, row in frame.iterrows():
        assert_same(row, oracle(events, moment.to_pydatetime(), since))  # type: ignore[attr-defined]


@given(EVENTS, MOMENTS)
def test_in_order_event_by_event_is_by_columns(events: list[Event], since: datetime) -> None:
    in_order = sorted(events, key=lambda event: (event.ts, event.trade is None))
    frame = by_columns(in_order, since)
    for event, answer in answers(in_order, since, late_s=0):
        assert (answer.symbol, answer.ts) == (BTC, event.ts)
        assert_same(list(answer.values().values()), frame.loc[pd.Timestamp(event.ts)])


@given(EVENTS, MOMENTS, st.sampled_from([0.0, 0.5, 10.0, 60.0, 1e6]))
def test_in_any_order_an_answer_is_the_definition_over_what_was_added_so_far(
    events: list[Event], since: datetime, late_s: float
) -> None:
    found = iter(answers(events, since, late_s))
    newest = since
    for place, event in enumerate(events, 1):
        newest = max(newest, event.ts)
        if event.trade is None:
            known = oracle(events[:place], event.ts, since)
            too_late = event.ts < newest - timedelta(seconds=late_s)
            assert_same(list(next(found)[1].values().values()), [math.nan] * 8 if too_late else known)


@given(EVENTS, st.randoms(use_true_random=False))
def test_by_columns_asks_for_no_order(events: list[Event], random: Any) -> None:
    unique = list({(event.ts, event.trade and event.trade.trade_id): event for event in events}.values())
    shuffled = unique.copy()
    random.shuffle(shuffled)
    pd.testing.assert_frame_equal(by_columns(unique, START), by_columns(shuffled, START), check_exact=True)


@given(EVENTS, MOMENTS, MOMENTS)
def test_what_comes_later_changes_no_row(events: list[Event], since: datetime, as_of: datetime) -> None:
    visible = [event for event in events if event.ts <= as_of]
    pd.testing.assert_frame_equal(
        by_columns(events, since).loc[:as_of], by_columns(visible, since), check_exact=True
    )


def test_the_real_capture_live_and_later() -> None:
    books, trades = capture_books("BTCUSDT"), capture_trades("BTCUSDT")
    since = min(books.timestamps[0], trades.index.tz_localize(None).to_numpy()[0]).item().replace(tzinfo=UTC)  # type: ignore[attr-defined]
    later = imbalances_at_books(books, trades, size_scale=5, since=since)
    tracker = ImbalanceTracker(BTC, size_scale=5, since=since)
    rows = [(book.ts, 1, book) for book in (books.book(row, BTC) for row in range(len(books)))]
    for ts, number, price, size, side in zip(
        trades.index.to_pydatetime(),  # type: ignore[attr-defined]
        *(trades[name].tolist() for name in ("trade_id", "price", "size", "side")),
        strict=True,
    ):
        rows.append((ts, 0, Trade(BTC, ts, number, price, size, Side(side))))  # type: ignore[arg-type]
    live = []
    for _, is_book, event in sorted(rows, key=lambda row: row[:2]):
        if is_book:
            live.append(tracker.add_book(event).values())
        else:
            tracker.add_trade(event)  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(pd.DataFrame(live, index=later.index), later, check_exact=True)
    assert later.iloc[-1].notna().all()
    assert len(later) == 1301
    assert later["book_imbalance_60s"].isna().sum() == (later.index < since + timedelta(seconds=60)).sum()
    # The last row again, from the floats as they are.
    end = books.timestamps[-1]
    in_window = (books.timestamps > end - np.timedelta64(60, "s")) & (books.timestamps <= end)
    bid, ask = books.bid_sizes[in_window].sum(axis=1), books.ask_sizes[in_window].sum(axis=1)
    assert later["book_imbalance_60s"].iloc[-1] == pytest.approx(
        np.mean((bid - ask) / (bid + ask)), abs=1e-12
    )
    last = trades.loc[pd.Timestamp(end, tz="UTC") - pd.Timedelta(5, "s") : pd.Timestamp(end, tz="UTC")]  # type: ignore[misc]
    assert later["volume_imbalance_5s"].iloc[-1] == pytest.approx(
        (last["size"] * last["side"]).sum() / last["size"].sum(), abs=1e-12
    )


def test_memory_is_bounded_by_time() -> None:
    tracker = ImbalanceTracker(BTC, size_scale=SCALE, since=START, late_s=10)
    for second in range(2_000):
        ts = START + timedelta(seconds=second)
        tracker.add_trade(Trade(BTC, ts, second, 100.0, 1.0, Side.BUY))
        tracker.add_book(Event(ts, (1.0,), (1.0,)).book)
        kept = [len(tracker._books._times), len(tracker._trades._times), len(tracker._trade_ids)]
        assert max(kept) <= 2 * 70 + 1


def test_a_trade_of_unknown_side_says_nothing() -> None:
    tracker = ImbalanceTracker(BTC, size_scale=SCALE, since=START - timedelta(minutes=1))
    tracker.add_trade(Trade(BTC, START, 1, 100.0, 5.0, Side.UNKNOWN))
    book = Event(START, (3.0,), (1.0,)).book
    assert math.isnan(tracker.add_book(book).volume_imbalance_60s)
    tracker.add_trade(Trade(BTC, START, 2, 100.0, Decimal("1.5"), Side.SELL))
    again = tracker.add_book(book)
    assert (again.volume_imbalance_60s, again.book_imbalance_1s) == (-1.0, 0.5)
    assert OrderBookDataFrame.from_book(book, imbalances=again.values()).imbalances == again.values()


def test_nan_equals_nan() -> None:
    one = OrderBookImbalances(BTC, START, book_imbalance_1s=0.5)
    assert one == replace(one, volume_imbalance_60s=float("nan"))
    assert hash(one) == hash(replace(one))
    assert one != replace(one, book_imbalance_1s=0.25)
    assert one != replace(one, ts=START + timedelta(1))
    assert one != 0.5


def test_times_of_any_timezone_are_the_same_moment() -> None:
    tracker = ImbalanceTracker(BTC, size_scale=SCALE, since=START - timedelta(minutes=1))
    east = START.astimezone(timezone(timedelta(hours=9)))
    tracker.add_trade(Trade(BTC, east, 1, 100.0, 1.0, Side.BUY))
    assert tracker.add_book(Event(START, (1.0,)).book).volume_imbalance_1s == 1.0


BAD_TRADE = Trade(BTC, START, 1, 100.0, 1.0, Side.BUY)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"symbol": "ETH/USDT"}, InvalidInputError, "symbol='ETH/USDT': this is the tracker of BTC/USDT"),
        ({"ts": START.replace(tzinfo=None)}, InvalidInputError, "naive"),
        ({"size": 0.0001}, ScaleError, r"size=0\.0001: row 0 has more than 3 decimals"),
        ({"size": math.nan}, ScaleError, "size=nan"),
        ({"size": math.inf}, ScaleError, "size=inf"),
    ],
)
def test_a_bad_trade_is_named_and_not_taken_in(change: Any, error: Any, message: str) -> None:
    tracker = ImbalanceTracker(BTC, size_scale=SCALE, since=START - timedelta(minutes=1))
    with pytest.raises(error, match=message):
        tracker.add_trade(replace(BAD_TRADE, **change))
    assert math.isnan(tracker.add_book(Event(START, (1.0,)).book).volume_imbalance_60s)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"late_s": -1}, "late_s=-1"),
        ({"late_s": math.nan}, "late_s=nan"),
        ({"late_s": math.inf}, "late_s=inf"),
        ({"since": START.replace(tzinfo=None)}, "since=.*naive"),
        ({"size_scale": 19}, "size_scale=19"),
    ],
)
def test_a_tracker_refuses_what_it_cannot_work_with(change: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        ImbalanceTracker(BTC, **{"size_scale": SCALE, "since": START, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.tz_localize(None), "trades.index=.*aware"),
        (lambda frame: frame.reset_index(drop=True), "trades.index=.*aware"),
        (lambda frame: frame.drop(columns="side"), "trades=.*missing: side"),
        (lambda frame: frame.assign(side="buy"), "trades.side=.*give integers"),
        (lambda frame: frame.assign(side=2), r"side=2: row 0 is not in -1 … 1"),
        (lambda frame: frame.assign(trade_id=0.5), "trades.trade_id='float64': give integers"),
        (lambda frame: frame.assign(size=0.0001), r"size=0\.0001: row 0 has more than 3 decimals"),
    ],
)
def test_bad_columns_are_named(change: Any, message: str) -> None:
    trades = change(frame_of([BAD_TRADE]))
    with pytest.raises(InvalidInputError, match=message):
        imbalances_at_books(columns_of([]), trades, size_scale=SCALE, since=START)


def test_sums_beyond_64_bits_are_an_error_and_no_wrap_around() -> None:
    trades = pd.concat([frame_of([BAD_TRADE])] * 1025).assign(trade_id=range(1025), size=2**53)
    with pytest.raises(InvalidInputError, match="do not add up in 64 bits"):
        imbalances_at_books(columns_of([]), trades, size_scale=0, since=START)


def test_nothing_is_an_empty_frame() -> None:
    frame = by_columns([], START)
    assert tuple(frame.columns) == IMBALANCES
    assert (len(frame), str(frame.index.dtype), frame.index.name) == (0, "datetime64[us, UTC]", "timestamp")
    assert set(map(str, frame.dtypes)) == {"float64"}
