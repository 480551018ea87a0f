"""Threads that write and read at once: nobody ever sees a half-written row, and all ends as if one had written."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from datalayer.cache import CacheSettings, DataCacheManager
from datalayer.domain.candle import Candle
from datalayer.domain.order_book import OrderBook
from datalayer.domain.timeframe import Timeframe
from datalayer.domain.trade import Trade
from tests.fake_clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BTC = "BTC/USDT"
START = datetime(2024, 8, 8, tzinfo=UTC)
SECOND = timedelta(seconds=1)
SECONDS = 3_000


def second(number: int, extra: float = 0.0) -> Candle:
    """All prices and the volume tell which second it is, and a correction tells that in all of them."""
    value = float(number + 1) + extra
    return Candle(BTC, Timeframe.S1, START + number * SECOND, value, value, value, value, value, number)


@pytest.fixture(autouse=True)
def _switch_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def clock() -> Clock:
    return Clock(START)


@pytest.fixture
def cache(clock: Clock) -> DataCacheManager:
    return DataCacheManager(CacheSettings(max_trades=500, max_order_books=200), clock=clock)


def run_all(*workers: Callable[[], None]) -> None:
    with ThreadPoolExecutor(len(workers)) as pool:
        for future in [pool.submit(worker) for worker in workers]:
            future.result()


def check_answers(cache: DataCacheManager) -> None:
    for timeframe in (Timeframe.S1, Timeframe.M1, Timeframe.M5):
        arrays = cache.get_latest_ohlcv_arrays(BTC, timeframe, 300, include_forming=True)
        assert (np.diff(arrays.timestamps.astype(np.int64)) > 0).all()
        assert (arrays.high - arrays.low < timeframe.value).all()
        if timeframe is Timeframe.S1:
            assert (arrays.open == arrays.volume).all()
            assert (arrays.open == arrays.close).all()
            assert set(np.unique(arrays.open - arrays.trade_count)) <= {1.0, 1.5}
    trades = cache.get_recent_trades(BTC)
    assert (trades["price"] == trades["size"]).all()
    assert trades["trade_id"].is_monotonic_increasing
    assert cache.statistics.symbols <= 1


def test_rows_are_never_half_written_and_minutes_are_whole(cache: DataCacheManager, clock: Clock) -> None:
    done = threading.Event()

    def write() -> None:
        for number in range(SECONDS):
            clock.now = START + (number + 1) * SECOND
            cache.put_candle(second(number))
            cache.put_trade(Trade(BTC, clock.now, number, number + 1.0, number + 1.0))
        done.set()

    def correct() -> None:
        random = np.random.default_rng(1)
        while not done.is_set():
            number = max(int((clock.now - START) / SECOND) - int(random.integers(1, 200)), 0)
            correction = second(number, 0.5)
            cache.put_candle(correction)
            cache.discard(correction)

    def read() -> None:
        while not done.is_set():
            check_answers(cache)

    run_all(write, correct, read, read)
    alone = DataCacheManager(clock=clock)
    for number in range(SECONDS):
        alone.put_candle(second(number))
    for timeframe in Timeframe:
        pd.testing.assert_frame_equal(
            cache.get_latest_ohlcv(BTC, timeframe, 60, include_forming=True),
            alone.get_latest_ohlcv(BTC, timeframe, 60, include_forming=True),
            check_exact=True,
        )


def test_writers_of_one_symbol_and_of_many_lose_nothing(cache: DataCacheManager, clock: Clock) -> None:
    clock.now = START + timedelta(minutes=2)
    symbols = [f"COIN{number}/USDT" for number in range(8)]

    def write(part: int) -> Callable[[], None]:
        def work() -> None:
            for number in range(part, 100, 4):
                for symbol in symbols:
                    cache.put_trade(Trade(symbol, START + number * SECOND, number, 1.0, 1.0))
                    levels = np.array([float(number + 1)])
                    ts = START + number * SECOND
                    cache.put_orderbook(OrderBook(symbol, ts, levels, levels, levels + 1, levels))

        return work

    run_all(*(write(part) for part in range(4)))
    for symbol in symbols:
        assert cache.get_recent_trades(symbol)["trade_id"].tolist() == list(range(100))
        assert [book.bid_prices[0] for book in cache.get_recent_orderbooks(symbol)] == [
            n + 1.0 for n in range(100)
        ]
