"""Single candles, trades and books: immutable values that the validator takes as they are."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from datalayer.domain.candle import Candle
from datalayer.domain.instrument import Instrument
from datalayer.domain.order_book import OrderBook
from datalayer.domain.timeframe import Timeframe
from datalayer.domain.trade import Side, Trade
from datalayer.domain.validation import DataValidator

TS = datetime(2024, 8, 8, 10, tzinfo=UTC)
CANDLE = Candle("BTC/USDT", Timeframe.M1, TS, 100.0, 102.5, Decimal("99.5"), 101.0, 3.5, 12)
TRADE = Trade("BTC/USDT", TS, 7, 100.5, Decimal("0.00001"), Side.BUY)
BOOK = OrderBook("BTC/USDT", TS, *(np.array([value]) for value in (100.0, 1.0, 101.0, 2.0)))
VALIDATOR = DataValidator(Instrument(1, "BTC/USDT", 2, 5))


def test_a_candle_is_visible_from_its_close_on() -> None:
    assert CANDLE.closed_at == TS + timedelta(minutes=1)
    assert not CANDLE.is_visible_at(CANDLE.closed_at - timedelta(microseconds=1))
    assert CANDLE.is_visible_at(CANDLE.closed_at)


@pytest.mark.parametrize("value", [CANDLE, TRADE, BOOK], ids=lambda value: type(value).__name__)
def test_values_are_immutable_equal_by_value_and_go_between_processes(
    value: Candle | Trade | OrderBook,
) -> None:
    with pytest.raises((FrozenInstanceError, AttributeError)):
        value.symbol = "ETH/USDT"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(value)) == value  # noqa: S301 (our own bytes)


def test_the_validator_takes_them_as_they_are() -> None:
    candles = VALIDATOR.validate_candle(CANDLE, "1m").accepted
    assert candles[["open", "high", "low", "close", "volume", "trade_count"]].to_numpy().tolist() == [
        [100.0, 102.5, 99.5, 101.0, 3.5, 12]
    ]
    trades = VALIDATOR.validate_trade(TRADE).accepted
    assert trades[["trade_id", "price", "size", "side"]].to_numpy().tolist() == [[7, 100.5, 1e-05, 1]]
    books = VALIDATOR.validate_order_book(BOOK).accepted
    assert books.book(0, "BTC/USDT") == BOOK


def test_a_book_does_not_change_with_the_arrays_that_it_was_made_of() -> None:
    prices, size = np.array([100.0]), np.array([1.0])
    book = OrderBook("BTC/USDT", TS, prices, size, prices + 1, size)
    prices[0] = 999.0
    assert book.bid_prices.tolist() == [100.0]
    with pytest.raises(ValueError, match="read-only"):
        book.bid_sizes[0] = 2.0
