"""Models and single rows for tests, valid unless a test makes one wrong."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import factory

from datalayer.models import Candle, OrderBook, Trade

MOMENT = datetime(2024, 3, 1, 12, tzinfo=UTC)


class CandleFactory(factory.Factory):
    """Consecutive candles of one minute."""

    class Meta:
        model = Candle

    instrument_id = 1
    timeframe = 60
    ts = factory.Sequence(lambda n: MOMENT + timedelta(minutes=n))
    open = 15
    high = 20
    low = 10
    close = 12
    volume = 7
    trade_count = 3


class TradeFactory(factory.Factory):
    """Trades that share a millisecond, as real ones do."""

    class Meta:
        model = Trade

    instrument_id = 1
    ts = MOMENT
    trade_id = factory.Sequence(lambda n: n)
    price = 100
    size = 5
    side = 1


class OrderBookFactory(factory.Factory):
    """Books of two levels a side, 100 to 103."""

    class Meta:
        model = OrderBook

    instrument_id = 1
    ts = factory.Sequence(lambda n: MOMENT + timedelta(milliseconds=100 * n))
    bid_prices = factory.LazyFunction(lambda: [100, 99])
    bid_sizes = factory.LazyFunction(lambda: [1, 2])
    ask_prices = factory.LazyFunction(lambda: [103, 104])
    ask_sizes = factory.LazyFunction(lambda: [3, 4])
    best_bid = 100
    best_ask = 103
    bid_volume = 3
    ask_volume = 7
    last_update_id = factory.Sequence(lambda n: n)


def candle(**change: Any) -> dict[str, Any]:
    """Return the columns of a candle."""
    return factory.build(dict, FACTORY_CLASS=CandleFactory, **change)


def trade(**change: Any) -> dict[str, Any]:
    """Return the columns of a trade."""
    return factory.build(dict, FACTORY_CLASS=TradeFactory, **change)


def order_book(**change: Any) -> dict[str, Any]:
    """Return the columns of an order book."""
    return factory.build(dict, FACTORY_CLASS=OrderBookFactory, **change)


def rejected_record(**change: Any) -> dict[str, Any]:
    """Return the columns of a rejected record."""
    row = {
        "kind": "trade",
        "source": "test",
        "rule": "size",
        "message": "no size",
        "payload": b"\xff\x00",
        "status": "open",
    }
    return row | change


def dirty_range(*, empty: bool = False, **change: Any) -> dict[str, Any]:
    """Return the columns of a dirty range of one hour, or of none."""
    end = MOMENT if empty else MOMENT + timedelta(hours=1)
    return {"relation": "candles", "start_ts": MOMENT, "end_ts": end} | change


def annotation(**change: Any) -> dict[str, Any]:
    """Return the columns of an annotation; its data are not there."""
    row = {
        "id": uuid.uuid4(),
        "revision": 1,
        "symbol": "BTC/USDT",
        "timeframes": [60],
        "label": "up",
        "author": "test",
    }
    times = {"start_ts": MOMENT, "end_ts": MOMENT + timedelta(minutes=1)}
    return row | times | {"is_deleted": False, "content_hash": bytes(32)} | change
