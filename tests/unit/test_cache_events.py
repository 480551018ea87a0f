"""Trades, order books and imbalances in the cache, its statistics, and how many symbols it keeps."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given

from datalayer.cache import CacheSettings, DataCacheManager
from datalayer.domain.candle import Candle
from datalayer.domain.imbalances import OrderBookImbalances
from datalayer.domain.order_book import OrderBook
from datalayer.domain.order_book_frame import IMBALANCES
from datalayer.domain.timeframe import Timeframe
from datalayer.domain.trade import Side, Trade
from datalayer.errors import InvalidInputError
from tests.fake_clock import Clock

BTC, ETH = "BTC/USDT", "ETH/USDT"
START = datetime(2024, 8, 8, tzinfo=UTC)
MS = timedelta(milliseconds=1)


@pytest.fixture
def clock() -> Clock:
    return Clock(START)


@pytest.fixture
def cache(clock: Clock) -> DataCacheManager:
    return DataCacheManager(CacheSettings(max_trades=100, max_order_books=50), clock=clock)


def trade(ms: int, trade_id: int = 0, **change: Any) -> Trade:
    return replace(Trade(BTC, START + ms * MS, trade_id or ms, 100.0 + ms, 0.5, Side.BUY), **change)


def book(ms: int, price: float = 100.0) -> OrderBook:
    sizes = np.array([1.0, 2.0])
    return OrderBook(
        BTC, START + ms * MS, np.array([price, price - 1]), sizes, np.array([price + 1, price + 2]), sizes
    )


def imbalances(ms: int, *values: float) -> OrderBookImbalances:
    return OrderBookImbalances(BTC, START + ms * MS, *values)


@given(st.lists(st.tuples(st.integers(0, 400_000), st.integers(1, 3)), max_size=60), st.integers(0, 420_000))
def test_trades_are_those_of_the_window_by_time_and_id_each_once(
    put_in: list[tuple[int, int]], now_ms: int
) -> None:
    clock = Clock(START)
    cache = DataCacheManager(clock=clock)
    expected: dict[tuple[int, int], Trade] = {}
    for number, (ms, trade_id) in enumerate(put_in):
        one = trade(ms, trade_id, price=float(number + 1))
        cache.put_trade(one)
        expected.setdefault((ms, trade_id), one)
    clock.now = START + now_ms * MS
    found = cache.get_recent_trades(BTC)
    kept = [one for (ms, _), one in sorted(expected.items()) if now_ms - 300_000 <= ms <= now_ms]
    assert found["price"].tolist() == [one.price for one in kept]
    assert found["trade_id"].tolist() == [one.trade_id for one in kept]
    assert [moment.to_pydatetime() for moment in found.index] == [one.ts for one in kept]


def test_trades_look_as_from_the_repository(cache: DataCacheManager, clock: Clock) -> None:
    for _ in range(2):
        found = cache.get_recent_trades(BTC)
        assert list(map(str, found.dtypes)) == ["int64", "float64", "float64", "int8"]
        assert list(found.columns) == ["trade_id", "price", "size", "side"]
        assert found.index.dtype == pd.DatetimeTZDtype("us", "UTC")
        frame = pd.DataFrame(
            {"trade_id": [7, 8], "price": [1.5, 2.5], "size": [1, 2], "side": [1, -1]},
            index=pd.DatetimeIndex([START, START], name="timestamp"),
        )
        cache.put_trades("BTCUSDT", frame)
    clock.now = START
    assert cache.get_recent_trades("btcusdt").to_numpy().tolist() == [[7, 1.5, 1, 1], [8, 2.5, 2, -1]]


def test_what_is_refused_is_taken_out(cache: DataCacheManager, clock: Clock) -> None:
    clock.now = START + 10 * MS
    for ms in (1, 2, 3):
        cache.put_trade(trade(ms))
        cache.put_orderbook(book(ms))
        cache.put_imbalances(imbalances(ms, 0.1))
    assert not cache.discard(trade(2, price=7.0))
    assert not cache.discard(book(2, 50.0))
    assert not cache.discard(imbalances(2, 0.7))
    for gone in (trade(3), book(3), imbalances(3, 0.1)):
        assert cache.discard(gone)
        assert not cache.discard(gone)
    assert cache.get_recent_trades(BTC)["trade_id"].tolist() == [1, 2]
    assert cache.get_recent_orderbooks(BTC) == (book(1), book(2))
    assert cache.get_latest_imbalances(BTC) == imbalances(2, 0.1)
    assert not cache.discard(replace(trade(1), symbol=ETH))


def test_the_latest_book_is_the_last_that_was_visible_and_not_too_old(
    cache: DataCacheManager, clock: Clock
) -> None:
    assert cache.get_latest_orderbook(BTC) is None
    for ms in (100, 400, 250):
        cache.put_orderbook(book(ms))
    cache.put_orderbook(book(400, 999.0))  # the first of a time is kept
    assert cache.get_latest_orderbook(BTC) is None  # all are from the future
    clock.now = START + 300 * MS
    assert cache.get_latest_orderbook("btcusdt") == book(250)
    clock.now = START + 400 * MS
    assert cache.get_latest_orderbook(BTC) == book(400)
    assert cache.get_latest_orderbook(BTC, as_of=START + 249 * MS) == book(100)
    assert cache.get_recent_orderbooks(BTC) == (book(100), book(250), book(400))
    clock.now = START + timedelta(minutes=5, milliseconds=400)
    assert cache.get_latest_orderbook(BTC) == book(400)
    clock.now += timedelta(microseconds=1)
    assert cache.get_latest_orderbook(BTC) is None
    assert cache.get_recent_orderbooks(BTC) == ()
    assert cache.get_recent_orderbooks(BTC, as_of=START + timedelta(minutes=4)) == ()  # the window is of now


def test_before_the_window_there_is_nothing(cache: DataCacheManager, clock: Clock) -> None:
    cache.put_trade(trade(0))
    cache.put_orderbook(book(0))
    cache.put_imbalances(imbalances(0, 0.1))
    clock.now = START + timedelta(minutes=6)
    ago = START + timedelta(seconds=30)
    assert cache.get_recent_trades(BTC, as_of=ago).empty
    assert cache.get_recent_imbalances(BTC, as_of=ago - timedelta(minutes=2)).empty
    assert cache.get_recent_orderbooks(BTC, as_of=ago) == ()
    assert cache.get_latest_imbalances(BTC, as_of=ago) is None


def test_imbalances_that_are_not_known_replace_none(cache: DataCacheManager) -> None:
    assert cache.get_latest_imbalances(BTC) is None
    cache.put_imbalances(imbalances(0, 0.1, 0.2))
    cache.put_imbalances(imbalances(0, math.nan, 0.5, -1.0))
    assert cache.get_latest_imbalances(BTC) == imbalances(0, 0.1, 0.5, -1.0)
    assert cache.discard(imbalances(0, 0.1, 0.2))
    assert cache.get_latest_imbalances(BTC) == imbalances(0, math.nan, 0.5, -1.0)
    frame = cache.get_recent_imbalances(BTC)
    assert list(frame.columns) == list(IMBALANCES)
    assert frame.iloc[0].tolist()[1:3] == [0.5, -1.0]
    assert cache.get_recent_imbalances(ETH).dtypes.tolist() == frame.dtypes.tolist()


def test_revisions_of_imbalances_are_given_back_one_by_one(cache: DataCacheManager) -> None:
    revisions = [imbalances(0, value / 10) for value in range(8)]
    for revision in revisions:
        cache.put_imbalances(revision)
    for left in reversed(range(4, 8)):
        assert cache.get_latest_imbalances(BTC) == revisions[left]
        assert cache.discard(revisions[left])
    assert cache.get_latest_imbalances(BTC) == revisions[3]


def test_what_came_twice_is_one(cache: DataCacheManager) -> None:
    for _ in range(3):
        cache.put_imbalances(imbalances(0, 0.1))
    assert cache.discard(imbalances(0, 0.1))
    assert cache.get_latest_imbalances(BTC) is None


def test_more_than_fits_drops_the_oldest(cache: DataCacheManager, clock: Clock) -> None:
    clock.now = START + 1000 * MS
    for ms in range(150):
        cache.put_trade(trade(ms, ms + 1))
        cache.put_orderbook(book(ms))
        cache.put_imbalances(imbalances(ms, 0.1))
    assert cache.get_recent_trades(BTC)["trade_id"].tolist() == list(range(51, 151))
    assert cache.get_recent_orderbooks(BTC)[0] == book(100)
    assert len(cache.get_recent_imbalances(BTC)) == 50
    kinds = cache.statistics.kinds
    assert [kinds[kind].evictions for kind in ("trades", "order_books", "imbalances")] == [50, 100, 100]


def test_statistics_count_what_happened(cache: DataCacheManager, clock: Clock) -> None:
    cache.get_latest_orderbook(BTC)
    cache.get_latest_imbalances(BTC)
    cache.get_recent_trades(BTC)
    cache.get_latest_ohlcv(BTC, "1m", 5)
    assert [(one.hits, one.misses) for one in cache.statistics.kinds.values()] == [(0, 1)] * 4
    assert all(one.newest_age_s is None for one in cache.statistics.kinds.values())
    cache.put_orderbook(book(0))
    cache.put_imbalances(imbalances(200, 0.1))
    cache.put_trade(trade(700))
    cache.put_candle(Candle(BTC, Timeframe.S1, START, 1.0, 1.0, 1.0, 1.0, 1.0))
    clock.now = START + timedelta(seconds=3)
    cache.get_latest_orderbook(BTC)
    cache.get_recent_orderbooks(BTC)
    cache.get_latest_imbalances(BTC)
    cache.get_recent_trades(BTC)
    cache.get_latest_ohlcv_arrays(BTC, "1s", 5)
    kinds = cache.statistics.kinds
    assert {kind: (one.hits, one.items, one.newest_age_s) for kind, one in kinds.items()} == {
        "candles": (1, 1, 2.0),
        "trades": (1, 1, 2.3),
        "order_books": (2, 1, 3.0),
        "imbalances": (1, 1, 2.8),
    }
    assert cache.statistics.memory_bytes == sum(one.memory_bytes for one in kinds.values()) > 10_000


def test_ages_are_those_of_what_was_visible(cache: DataCacheManager, clock: Clock) -> None:
    assert set(map(math.isnan, cache.get_ages(BTC).values())) == {True}
    cache.put_orderbook(book(500))
    cache.put_trade(trade(2500))
    clock.now = START + timedelta(seconds=2)
    assert cache.get_ages(BTC)["order_book"] == 1.5
    assert math.isnan(cache.get_ages(BTC)["trades"])
    assert cache.get_ages(BTC, as_of=START + timedelta(seconds=3))["trades"] == 0.5


def test_memory_comes_back_when_the_data_are_gone(clock: Clock) -> None:
    cache = DataCacheManager(clock=clock)
    for ms in range(20_000):
        cache.put_trade(trade(ms))
    full = cache.statistics.kinds["trades"].memory_bytes
    assert full >= 20_000 * 5 * 8
    clock.now = START + timedelta(minutes=10)
    for number in range(20_000):
        clock.now += 50 * MS
        cache.put_trade(trade(600_000 + number * 50))
    kinds = cache.statistics.kinds["trades"]
    assert kinds.items <= 6201
    assert kinds.memory_bytes < full


def test_the_symbol_that_is_used_least_makes_room(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    cache = DataCacheManager(CacheSettings(max_symbols=2), clock=clock)
    for symbol in (BTC, ETH):
        cache.put_trade(trade(0, 1, symbol=symbol))
    cache.get_recent_trades(BTC)
    with caplog.at_level(logging.WARNING):
        cache.put_trade(trade(0, 1, symbol="SOL/USDT"))
    assert "ETH/USDT" in caplog.text
    assert [len(cache.get_recent_trades(symbol)) for symbol in (BTC, ETH, "SOL/USDT")] == [1, 0, 1]
    statistics = cache.statistics
    assert (statistics.symbols, statistics.evicted_symbols) == (2, 1)
    assert statistics.kinds["trades"].evictions == 1


def test_a_symbol_that_nothing_comes_for_is_forgotten(clock: Clock) -> None:
    cache = DataCacheManager(CacheSettings(symbol_ttl_s=600), clock=clock)
    cache.put_candle(Candle(BTC, Timeframe.H1, START - timedelta(hours=1), 1.0, 1.0, 1.0, 1.0, 1.0))
    clock.now = START + timedelta(seconds=500)
    cache.put_trade(trade(0, 1))
    clock.now = START + timedelta(seconds=1099)
    assert len(cache.get_latest_ohlcv(BTC, "1h", 5)) == 1
    clock.now = START + timedelta(seconds=1100)
    assert cache.get_latest_ohlcv(BTC, "1h", 5).empty
    assert cache.statistics.evicted_symbols == 1


def test_a_symbol_that_is_fed_is_kept_however_short_a_time_it_would_be_without(clock: Clock) -> None:
    cache = DataCacheManager(CacheSettings(symbol_ttl_s=10), clock=clock)
    for number in range(30):
        clock.now = START + timedelta(seconds=2 * number)
        cache.put_trade(trade(2_000 * number, number))
    assert len(cache.get_recent_trades(BTC)) == 30
    assert cache.statistics.evicted_symbols == 0


@pytest.mark.parametrize("item", [trade(0), book(0), imbalances(0, 0.1)], ids=["trade", "book", "imbalances"])
def test_a_naive_time_is_refused(cache: DataCacheManager, item: Any) -> None:
    put = {Trade: cache.put_trade, OrderBook: cache.put_orderbook, OrderBookImbalances: cache.put_imbalances}
    with pytest.raises(InvalidInputError, match="naive"):
        put[type(item)](replace(item, ts=datetime(2024, 8, 8)))  # noqa: DTZ001
