"""The old component's tests. They run unchanged on what replaces it; see `conftest.py`."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.legacy.local_exchange import LocalExchange

COLUMNS = ["open", "high", "low", "close", "volume"]
THREADS = 8


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


def test_history_has_the_old_shape(provider: Any, exchange: LocalExchange) -> None:
    df = provider.get_historical_data("BTC/USDT", "1m", limit=100)
    assert list(df.columns) == COLUMNS
    assert df.index.name == "timestamp"
    assert df.index.dtype == "datetime64[ns]"
    assert set(df.dtypes) == {df["close"].dtype}
    pd.testing.assert_frame_equal(df, exchange.history("1m").tail(100))
    assert df.index.astype("int64")[-1] // 10**9 == exchange.now.timestamp() - 60


def test_history_is_as_long_as_asked_for(provider: Any) -> None:
    assert len(provider.get_historical_data("BTC/USDT", "1m", limit=7)) == 7
    assert len(provider.get_historical_data("BTC/USDT", "1m")) == 600
    assert len(provider.get_historical_data("BTC/USDT", "1h")) == 10


def test_a_symbol_may_be_spelled_without_a_slash(provider: Any) -> None:
    slashed, joined = (provider.get_historical_data(s, "1m", 5) for s in ("BTC/USDT", "BTCUSDT"))
    pd.testing.assert_frame_equal(slashed, joined)


def test_what_is_not_there_is_empty_and_what_is_wrong_is_refused(provider: Any) -> None:
    assert provider.get_historical_data("ETH/USDT", "1m").empty
    assert provider.get_latest_candles("ETH/USDT", "1m").empty
    assert provider.get_current_price("ETH/USDT") is None
    assert provider.get_order_book("ETH/USDT") is None
    assert provider.get_data("ETH/USDT") is None
    for symbol, timeframe in (("XRP/USDT", "1m"), ("BTC/USDT", "3m"), ("BTC/USDT", "1d")):
        with pytest.raises(ValueError, match=r"XRP|3m|1d"):
            provider.get_historical_data(symbol, timeframe)


def test_what_is_returned_is_the_callers_own(provider: Any) -> None:
    df = provider.get_historical_data("BTC/USDT", "1m", 5)
    df["close"] = 0.0
    df.loc[df.index[0], "open"] = -1.0
    again = provider.get_historical_data("BTC/USDT", "1m", 5)
    assert (again[["open", "close"]] > 0).all(axis=None)


def test_refresh_asks_the_exchange(provider: Any, exchange: LocalExchange) -> None:
    exchange.trade(1.0, after_s=300)  # five minutes in which nobody listens
    before = provider.get_historical_data("BTC/USDT", "1m", 600)
    assert before.index[-1] == exchange.history("1m").index[-6]
    calls = exchange.calls
    after = provider.get_historical_data("BTC/USDT", "1m", 605, refresh=True)
    assert exchange.calls > calls
    pd.testing.assert_frame_equal(after, exchange.history("1m"))
    assert len(provider.get_historical_data("BTC/USDT", "1m")) == 605


def test_several_timeframes_at_once(provider: Any, exchange: LocalExchange) -> None:
    found = provider.get_multi_timeframe_data("BTC/USDT", limit=8)
    assert list(found) == ["1m", "1h"]
    for timeframe, df in found.items():
        expected = exchange.history(timeframe).tail(8)
        pd.testing.assert_frame_equal(df, expected)
    assert list(provider.get_multi_timeframe_data("BTC/USDT", ["1h"])) == ["1h"]


def test_everything_of_one_moment(provider: Any, exchange: LocalExchange) -> None:
    now = provider.get_data("BTC/USDT", limit=5)
    assert now["symbol"] == "BTC/USDT"
    assert now["candles"]["1m"].index[-1] == exchange.history("1m").index[-1]
    then = exchange.history("1m").index[300] + pd.Timedelta("30s")
    data = provider.get_data("BTC/USDT", then, limit=5)
    assert data["candles"]["1m"].index.tolist() == exchange.history("1m").index[295:300].tolist()
    assert (data["candles"]["1h"].index + pd.Timedelta("1h") <= then).all()


def test_prices_follow_trades(provider: Any, exchange: LocalExchange) -> None:
    assert provider.get_current_price("BTC/USDT") == exchange.history("1m")["close"].iloc[-1]
    provider.start_real_time_streaming()
    for price in (64_000.5, 64_001.25):
        exchange.trade(price)
        wait_for(lambda price=price: provider.get_current_price("BTCUSDT") == price)


def test_the_last_candle_forms_and_becomes_history(provider: Any, exchange: LocalExchange) -> None:
    provider.start_real_time_streaming()
    opened = pd.Timestamp(exchange.minute(closed=False, price=64_444.25)).tz_localize(None)
    wait_for(lambda: provider.get_latest_candles("BTC/USDT", "1m", 3).index[-1] == opened)
    df = provider.get_latest_candles("BTC/USDT", "1m", 3)
    assert df["close"].iloc[-1] == 64_444.25
    assert len(df) == 3
    exchange.minute(closed=False, price=64_333.25)
    wait_for(lambda: provider.get_latest_candles("BTC/USDT", "1m", 3)["close"].iloc[-1] == 64_333.25)
    assert provider.get_historical_data("BTC/USDT", "1m").index[-1] < opened
    exchange.minute(closed=True)
    wait_for(lambda: provider.get_historical_data("BTC/USDT", "1m").index[-1] == opened)
    expected = exchange.history("1m").tail(601)
    df = provider.get_historical_data("BTC/USDT", "1m")
    pd.testing.assert_frame_equal(df, expected)


def test_the_order_book(provider: Any, exchange: LocalExchange) -> None:
    assert provider.get_order_book("BTC/USDT") is None
    provider.start_real_time_streaming()
    exchange.book(64_000.0)
    wait_for(lambda: provider.get_order_book("BTC/USDT"))
    book = provider.get_order_book("BTC/USDT", depth=2)
    assert book["bids"] == [[64_000.0, 1.0], [63_999.0, 2.0]]
    assert book["asks"] == [[64_001.0, 2.0], [64_002.0, 3.0]]
    assert book["symbol"] == "BTC/USDT"
    assert book["timestamp"] == exchange.now.replace(tzinfo=None)


def test_each_subscriber_gets_every_trade_in_order(provider: Any, exchange: LocalExchange) -> None:
    one: list[dict[str, Any]] = []
    other: list[dict[str, Any]] = []
    provider.subscribe(one.append)
    ended = provider.subscribe(other.append, symbols=["BTC/USDT"])
    elsewhere: list[Any] = []
    provider.subscribe(elsewhere.append, symbols=["ETH/USDT"])
    provider.start_real_time_streaming()
    ids = [exchange.trade(64_000.0 + n) for n in range(200)]
    wait_for(lambda: len(one) == len(other) == 200)
    assert [event["trade_id"] for event in one] == ids
    assert one == other
    last = exchange.now.replace(tzinfo=None)
    assert one[-1] == {
        "symbol": "BTC/USDT",
        "timestamp": last,
        "price": 64_199.0,
        "volume": 0.5,
        "trade_id": ids[-1],
        "side": "buy",
    }
    assert provider.unsubscribe(ended) is True
    assert provider.unsubscribe(ended) is False
    exchange.trade(65_000.0)
    wait_for(lambda: len(one) == 201)
    assert len(other) == 200
    assert not elsewhere


def test_closed_candles_come_once(provider: Any, exchange: LocalExchange) -> None:
    candles: list[dict[str, Any]] = []
    provider.subscribe(candles.append, stream="1m")
    provider.start_real_time_streaming()
    opened = []
    for _ in range(3):
        exchange.minute(closed=False, price=64_500.0)
        opened.append(pd.Timestamp(exchange.minute(closed=True)).tz_localize(None))
    wait_for(lambda: len(candles) == 3)
    assert [candle["timestamp"] for candle in candles] == opened
    assert candles[0]["timeframe"] == "1m"
    history = exchange.history("1m")
    assert [[c[name] for name in COLUMNS] for c in candles] == history.tail(3)[COLUMNS].to_numpy().tolist()


def test_a_callback_that_raises_stops_nobody(provider: Any, exchange: LocalExchange) -> None:
    seen: list[Any] = []

    def broken(event: dict[str, Any]) -> None:
        raise KeyError(event["price"])

    provider.subscribe(broken)
    provider.subscribe(seen.append)
    provider.start_real_time_streaming()
    for n in range(5):
        exchange.trade(64_000.0 + n)
    wait_for(lambda: len(seen) == 5)
    assert provider.is_streaming


def test_streaming_starts_once_and_stops_and_starts_again(provider: Any, exchange: LocalExchange) -> None:
    seen: list[Any] = []
    provider.subscribe(seen.append)
    provider.stop_real_time_streaming()
    for round_ in (1, 2):
        provider.start_real_time_streaming()
        provider.start_real_time_streaming()
        assert provider.is_streaming
        exchange.trade(64_000.0)
        wait_for(lambda round_=round_: len(seen) == round_)
        provider.stop_real_time_streaming()
        provider.stop_real_time_streaming()
        assert not provider.is_streaming
    exchange.trade(64_001.0)
    assert len(seen) == 2


def test_many_threads_at_once(provider: Any, exchange: LocalExchange) -> None:
    provider.start_real_time_streaming()
    is_over = threading.Event()

    def work(number: int) -> int:
        rounds = 0
        while not is_over.is_set() or not rounds:
            df = provider.get_latest_candles("BTC/USDT", "1m", 20 + number)
            assert df.index.is_monotonic_increasing
            assert df.index.is_unique
            assert len(df) == 20 + number
            assert (df["high"] >= df["low"]).all()
            found = provider.get_multi_timeframe_data("BTC/USDT", limit=3 + number)
            assert [len(df) for df in found.values()] == [3 + number, min(3 + number, 10)]
            assert provider.get_current_price("BTC/USDT") > 0
            key = provider.subscribe(lambda event: event["price"])
            assert provider.get_order_book("BTC/USDT") is not None
            assert provider.unsubscribe(key)
            rounds += 1
        return rounds

    exchange.book(64_000.0)
    wait_for(lambda: provider.get_order_book("BTC/USDT"))
    with ThreadPoolExecutor(THREADS) as pool:
        working = [pool.submit(work, number) for number in range(THREADS)]
        for n in range(40):
            exchange.trade(64_000.0 + n)
            exchange.minute(closed=n % 8 == 7, price=64_000.0 + n)
            exchange.book(64_000.0 + n)
            time.sleep(0.02)
        wait_for(lambda: provider.get_current_price("BTC/USDT") == 64_039.0)
        is_over.set()
        assert all(task.result() for task in working)
