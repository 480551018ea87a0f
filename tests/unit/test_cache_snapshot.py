"""Everything of one moment at once, and those who are told of what comes in."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from datalayer.cache import DataCacheManager
from datalayer.domain.candle import Candle
from datalayer.domain.imbalances import OrderBookImbalances
from datalayer.domain.order_book import OrderBook
from datalayer.domain.timeframe import Timeframe
from datalayer.domain.trade import Side, Trade
from datalayer.errors import InvalidInputError
from tests.fake_clock import Clock

BTC, ETH = "BTC/USDT", "ETH/USDT"
START = datetime(2024, 8, 8, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def clock() -> Clock:
    return Clock(START)


@pytest.fixture
def cache(clock: Clock) -> DataCacheManager:
    return DataCacheManager(clock=clock)


def second(number: int) -> Candle:
    value = number + 1.0
    return Candle(BTC, Timeframe.S1, START + number * SECOND, value, value, value, value, value, 1)


def book(number: int) -> OrderBook:
    levels = np.array([number + 1.0])
    return OrderBook(BTC, START + (number + 1) * SECOND, levels, levels, levels + 1, levels)


def imbalances(number: int) -> OrderBookImbalances:
    return OrderBookImbalances(BTC, START + (number + 1) * SECOND, (number + 1) / 10_000)


def put_all(cache: DataCacheManager, clock: Clock, number: int) -> None:
    clock.now = START + (number + 1) * SECOND
    cache.put_candle(second(number))
    cache.put_orderbook(book(number))
    cache.put_imbalances(imbalances(number))


@pytest.mark.parametrize("back_s", [None, 0.0, 33.3, 2_000.0])
def test_a_snapshot_has_what_the_single_questions_have(
    cache: DataCacheManager, clock: Clock, back_s: float | None
) -> None:
    for number in range(700):
        put_all(cache, clock, number)
    as_of = None if back_s is None else clock.now - timedelta(seconds=back_s)
    found = cache.get_snapshot("btcusdt", ["1min", *Timeframe], 20, include_forming=True, as_of=as_of)
    assert (found.symbol, found.as_of) == (BTC, as_of or clock.now)
    assert list(found.candles) == [Timeframe.M1, *(t for t in Timeframe if t is not Timeframe.M1)]
    for timeframe, arrays in found.candles.items():
        alone = cache.get_latest_ohlcv(BTC, timeframe, 20, include_forming=True, as_of=as_of)
        pd.testing.assert_frame_equal(arrays.to_frame(with_forming=True), alone, check_exact=True)
    assert found.order_book == cache.get_latest_orderbook(BTC, as_of=as_of)
    assert found.imbalances == cache.get_latest_imbalances(BTC, as_of=as_of)
    np.testing.assert_equal(dict(found.ages_s), cache.get_ages(BTC, as_of=as_of))


def test_a_snapshot_of_what_is_not_kept_has_nothing(cache: DataCacheManager) -> None:
    found = cache.get_snapshot("eth-usdt", ["1m"], 5)
    assert (found.symbol, found.order_book, found.imbalances) == (ETH, None, None)
    assert (len(found.candles[Timeframe.M1]), found.candles[Timeframe.M1].complete_from) == (0, None)
    assert np.isnan(list(found.ages_s.values())).all()
    assert cache.statistics.symbols == 0
    misses = {kind: one.misses for kind, one in cache.statistics.kinds.items()}
    assert misses == {"candles": 1, "trades": 0, "order_books": 1, "imbalances": 1}


def test_a_snapshot_for_a_timeframe_that_is_none_is_refused(cache: DataCacheManager) -> None:
    with pytest.raises(InvalidInputError, match="7m"):
        cache.get_snapshot(BTC, ["1m", "7m"], 5)


def test_nothing_is_written_while_a_snapshot_is_taken(cache: DataCacheManager, clock: Clock) -> None:
    """The writer writes second, book and imbalances in turn: a snapshot sees them in that order, whatever happens."""
    done = threading.Event()

    def write() -> None:
        for number in range(2_000):
            put_all(cache, clock, number)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    taken = 0
    while not done.is_set():
        found = cache.get_snapshot(BTC, list(Timeframe), 400, include_forming=True)
        candles = {timeframe: arrays for timeframe, arrays in found.candles.items() if len(arrays)}
        if found.imbalances is None or found.order_book is None:
            continue
        last = {timeframe: int(arrays.close[-1]) for timeframe, arrays in candles.items()}
        of_book = int(found.order_book.bid_prices[0])
        of_imbalances = round(found.imbalances.book_imbalance_1s * 10_000)
        assert len(set(last.values())) == 1, last
        assert last[Timeframe.S1] - 1 <= of_imbalances <= of_book <= last[Timeframe.S1]
        taken += 1
    writer.join()
    assert taken > 0


def test_a_listener_is_told_of_what_is_new_once_and_finds_it_in_the_cache(
    cache: DataCacheManager, clock: Clock
) -> None:
    told: list[tuple[str, Any]] = []
    shown: list[Any] = []

    def listen(symbol: str, item: Any) -> None:
        told.append((symbol, item))
        shown.append(cache.get_latest_orderbook(symbol))

    remove = cache.add_listener(listen)
    clock.now = START + 5 * SECOND
    trade = Trade("btcusdt", START, 7, 1.0, 2.0, Side.BUY)
    forming = replace(second(5), timeframe=Timeframe.M1, ts=START, is_forming=True)
    for _ in range(2):
        cache.put_candle(second(0))
        cache.put_trade(trade)
        cache.put_orderbook(book(0))
        cache.put_imbalances(imbalances(0))
    cache.put_candle(forming)
    cache.mark_complete(BTC, until=clock.now)
    expected = [second(0), trade, book(0), imbalances(0), forming, None]
    assert told == [(BTC, item) for item in expected]
    assert shown[2] == book(0)
    remove()
    remove()
    cache.put_candle(second(1))
    assert len(told) == len(expected)


def test_a_listener_is_told_of_the_rows_of_a_frame(cache: DataCacheManager, clock: Clock) -> None:
    told: list[Any] = []
    clock.now = START + 5 * SECOND
    cache.put_candle(second(1))
    cache.add_listener(lambda _, item: told.append(item))
    seconds = [replace(second(0), trade_count=None), second(1), second(2)]
    names = ["open", "high", "low", "close", "volume", "trade_count"]
    candles = pd.DataFrame(
        {name: [getattr(one, name) for one in seconds] for name in names},
        index=pd.DatetimeIndex([one.ts for one in seconds]),
    )
    cache.put_candles("btcusdt", "1s", candles)
    trades = [Trade(BTC, START, trade_id, 1.0, 2.0, Side.SELL) for trade_id in (3, 4)]
    columns = {name: [getattr(one, name) for one in trades] for name in ("trade_id", "price", "size", "side")}
    cache.put_trades("btcusdt", pd.DataFrame(columns, index=pd.DatetimeIndex([START, START])))
    assert told == [seconds[0], seconds[2], *trades]


def test_a_listener_that_fails_stops_neither_the_feed_nor_the_others(
    cache: DataCacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Any] = []

    def fail(symbol: str, item: Any) -> None:
        raise LookupError(symbol, item.trade_id)

    cache.add_listener(fail)
    cache.add_listener(lambda _, item: told.append(item))
    trade = Trade(BTC, START, 7, 1.0, 2.0)
    cache.put_trade(trade)
    assert told == [trade]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "Trade of BTC/USDT" in caplog.text
    assert "LookupError: ('BTC/USDT', 7)" in caplog.text


def test_listeners_come_and_go_while_others_write(cache: DataCacheManager) -> None:
    done = threading.Event()

    def come_and_go() -> None:
        while not done.is_set():
            cache.add_listener(lambda *_: None)()

    told: list[int] = []
    cache.add_listener(lambda _, item: told.append(item.trade_id))  # type: ignore[union-attr]
    threads = [threading.Thread(target=come_and_go) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(3_000):
        cache.put_trade(Trade(BTC, START, number, 1.0, 1.0))
    done.set()
    for thread in threads:
        thread.join()
    assert told == list(range(3_000))
