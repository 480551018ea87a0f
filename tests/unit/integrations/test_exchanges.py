"""What the adapters say and read; the frames are those of the exchanges' documentation and of real recordings."""

from __future__ import annotations

import importlib
import json
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from datalayer import Candle, Timeframe, Trade
from datalayer.domain.trade import Side
from datalayer.errors import ConfigurationError, InvalidInputError
from datalayer.integrations.binance.spot import BinanceSpot
from datalayer.integrations.coinbase import CoinbaseExchange
from datalayer.integrations.depth import Applied, CrossedBook, DepthDiff, DepthSnapshot, Ignored
from datalayer.integrations.feeds import Channel, Stream, extra
from datalayer.integrations.feeds.events import (
    BookSnapshot,
    BookUpdate,
    GoingAway,
    Heartbeat,
    Quote,
    Refused,
    Subscribed,
    Unknown,
)

BTC = "BTC/USDT"
BINANCE, COINBASE = BinanceSpot(), CoinbaseExchange()
AT = datetime(2024, 8, 8, 23, 54, 15, 342000, tzinfo=UTC)
MS = 1723161255342
STREAMS = [
    Stream(BTC, Channel.TRADES),
    Stream(BTC, Channel.ORDER_BOOK),
    Stream(BTC, Channel.QUOTES),
]


def binance(document: Any) -> Any:
    (event,) = BINANCE.parse(json.dumps(document), {"BTCUSDT": BTC})
    return event


def coinbase(document: Any) -> Any:
    (event,) = COINBASE.parse(json.dumps(document), {"BTC-USDT": BTC})
    return event


def test_binance_subscribes_in_messages_of_200_streams() -> None:
    streams = [*STREAMS, *(Stream(BTC, Channel.CANDLES, timeframe) for timeframe in Timeframe)] * 40
    messages = [json.loads(message) for message in BINANCE.subscribe(streams)]

    assert [len(message["params"]) for message in messages] == [200, 200]
    assert messages[0]["method"] == "SUBSCRIBE"
    assert messages[0]["params"][:5] == [
        "btcusdt@trade",
        "btcusdt@depth@100ms",
        "btcusdt@bookTicker",
        "btcusdt@kline_1s",
        "btcusdt@kline_1m",
    ]
    assert BINANCE.socket_address == "wss://stream.binance.com:9443/stream?timeUnit=MICROSECOND"
    assert BinanceSpot(time_unit="ms").socket_address == "wss://stream.binance.com:9443/stream"
    assert json.loads(BinanceSpot(trades="aggTrade").subscribe(STREAMS[:1])[0])["params"] == [
        "btcusdt@aggTrade"
    ]


@pytest.mark.parametrize("factor", [1, 1_000])
def test_binance_trades_in_both_units(factor: int) -> None:
    body = {
        "e": "trade",
        "E": MS * factor,
        "s": "BTCUSDT",
        "t": 7,
        "p": "61837.63",
        "q": "0.02",
        "T": MS * factor,
        "m": True,
    }

    assert binance({"stream": "btcusdt@trade", "data": body}) == Trade(BTC, AT, 7, 61837.63, 0.02, Side.SELL)
    aggregate = body | {"e": "aggTrade", "a": 3, "f": 7, "l": 9}
    assert binance(aggregate).trade_id == 3
    assert binance(body | {"s": "ETHUSDT"}) == Unknown("ETHUSDT")


def test_binance_candles_and_forming_ones() -> None:
    candle = {
        "t": MS // 60_000 * 60_000,
        "i": "1m",
        "o": "1",
        "h": "3",
        "l": "0.5",
        "c": "2",
        "v": "4",
        "n": 5,
        "x": False,
    }
    body = {"e": "kline", "E": MS, "s": "BTCUSDT", "k": candle}

    ts = AT.replace(second=0, microsecond=0)
    assert binance(body) == Candle(BTC, Timeframe.M1, ts, 1.0, 3.0, 0.5, 2.0, 4.0, 5, is_forming=True)
    assert not binance(body | {"k": candle | {"x": True}}).is_forming
    assert binance(body | {"k": candle | {"i": "3m"}}) == Unknown("kline_3m")


def test_binance_says_what_became_of_a_request() -> None:
    assert binance({"result": None, "id": 1}) == Subscribed()
    assert isinstance(binance({"error": {"code": 2, "msg": "no"}, "id": 1}), Refused)
    assert binance({"e": "serverShutdown", "E": MS}) == GoingAway()
    assert binance({"stream": "x", "data": {"e": "serverShutdown", "E": MS}}) == GoingAway()
    assert binance({"e": "24hrTicker"}) == Unknown("24hrTicker")
    ticker = {"u": 7, "s": "BTCUSDT", "b": "1.0", "B": "2.0", "a": "1.5", "A": "3.0"}
    assert binance(ticker) == Quote(BTC, 1.0, 2.0, 1.5, 3.0, 7)


def test_binance_asks_for_what_is_missing() -> None:
    trades = BINANCE.trades_request(BTC, 10, 5_000)
    assert (trades.path, trades.weight) == ("/api/v3/historicalTrades", 25)
    assert trades.params == {"symbol": "BTCUSDT", "fromId": 10, "limit": 1_000}
    start = datetime(2024, 8, 8, tzinfo=UTC)
    candles = BINANCE.candles_request(BTC, Timeframe.M1, start, start.replace(minute=3))
    assert candles.params == {
        "symbol": "BTCUSDT",
        "interval": "1m",
        "startTime": 1723075200000,
        "endTime": 1723075379999,
        "limit": 3,
    }
    assert [BinanceSpot(book_depth=n).book_request(BTC).weight for n in (100, 500, 1_000, 5_000)] == [
        5,
        25,
        50,
        250,
    ]

    rows = [
        {
            "id": 28457,
            "price": "4.00000100",
            "qty": "12.0",
            "time": MS,
            "isBuyerMaker": True,
            "isBestMatch": True,
        }
    ]
    assert BINANCE.parse_trades(json.dumps(rows).encode(), BTC) == [
        Trade(BTC, AT, 28457, 4.000001, 12.0, Side.SELL)
    ]
    kline = [[1723075200000, "1", "3", "0.5", "2", "4", 1723075259999, "9", 5, "1", "2", "0"]]
    assert BINANCE.parse_candles(json.dumps(kline).encode(), BTC, Timeframe.M1) == [
        Candle(BTC, Timeframe.M1, start, 1.0, 3.0, 0.5, 2.0, 4.0, 5)
    ]
    for wrong in (b"[1]", b"{}", b"[[1]]", b"nonsense"):
        with pytest.raises(InvalidInputError):
            BINANCE.parse_candles(wrong, BTC, Timeframe.M1)
        with pytest.raises(InvalidInputError):
            BINANCE.parse_trades(wrong, BTC)


def test_the_extra_is_named_where_its_packages_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "websockets", None)
    with pytest.raises(
        ConfigurationError, match=r"need the package websockets; run `pip install 'datalayer\[feeds\]'`"
    ):
        importlib.reload(extra)


def test_coinbase_subscribes_to_heartbeats_too() -> None:
    (message,) = COINBASE.subscribe(STREAMS)

    assert {channel["name"] for channel in json.loads(message)["channels"]} == {
        "matches",
        "level2_batch",
        "ticker",
        "heartbeat",
    }
    (message,) = COINBASE.unsubscribe(STREAMS[1:2])
    assert json.loads(message) == {
        "type": "unsubscribe",
        "channels": [{"name": "level2_batch", "product_ids": ["BTC-USDT"]}],
    }


def test_coinbase_messages() -> None:
    product = {"product_id": "BTC-USDT", "time": "2024-08-08T23:54:15.342000Z"}
    match = product | {
        "type": "match",
        "trade_id": 10,
        "sequence": 50,
        "size": "5.23512",
        "price": "400.23",
        "side": "sell",
    }

    assert coinbase(match) == Trade(BTC, AT, 10, 400.23, 5.23512, Side.BUY)  # a resting sell order was hit
    assert coinbase(match | {"type": "last_match", "side": "buy"}).side is Side.SELL
    assert coinbase(product | {"type": "heartbeat", "sequence": 90, "last_trade_id": 20}) == Heartbeat(
        BTC, MS * 1_000, 20
    )
    snapshot = product | {"type": "snapshot", "bids": [["10.1", "2"]], "asks": [["10.2", "3"]]}
    levels = ((1_010_000_000, 200_000_000),), ((1_020_000_000, 300_000_000),)
    assert coinbase(snapshot) == BookSnapshot(BTC, DepthSnapshot(0, *levels))
    update = product | {"type": "l2update", "changes": [["buy", "10.1", "0"], ["sell", "10.3", "1"]]}
    changes = ((1_010_000_000, 0),), ((1_030_000_000, 100_000_000),)
    assert coinbase(update) == BookUpdate(BTC, DepthDiff(BTC, MS * 1_000, 0, 0, *changes))
    assert coinbase({"type": "subscriptions", "channels": []}) == Subscribed()
    assert isinstance(coinbase({"type": "error", "message": "no", "reason": "why"}), Refused)
    assert coinbase(match | {"product_id": "ETH-USDT"}) == Unknown("ETH-USDT")
    assert coinbase({"type": "auction"}) == Unknown("auction")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"side": "up"}, "side"),
        ({"time": "2024-08-08T00:00:00"}, "time"),
        ({"time": "noon"}, "time"),
        ({"price": 4.5}, "price"),
        ({"trade_id": "10"}, "trade_id"),
        ({"size": "0"}, "size"),
    ],
)
def test_a_malformed_field_of_coinbase_is_named(change: dict[str, Any], field: str) -> None:
    match = {
        "type": "match",
        "trade_id": 10,
        "product_id": "BTC-USDT",
        "time": "2024-08-08T23:54:15Z",
        "size": "5.2",
        "price": "400.23",
        "side": "sell",
    }
    with pytest.raises(InvalidInputError) as caught:
        coinbase(match | change)
    assert caught.value.field == field


def test_the_book_of_coinbase_counts_for_itself() -> None:
    book = COINBASE.new_book()
    update = DepthDiff(BTC, 5, 0, 0, ((50, 7),), ())

    assert book.apply_diff(update) is Ignored.WAITING
    book.apply_snapshot(DepthSnapshot(0, ((50, 1),), ((51, 2),)))
    assert book.apply_diff(update) == Applied(1, 5)
    assert book.last_update_id is None
    assert book.find_top_levels(1).bids == ((50, 7),)  # type: ignore[union-attr]
    assert isinstance(book.apply_diff(DepthDiff(BTC, 6, 0, 0, ((51, 1),), ())), CrossedBook)
    assert not book.is_valid


def test_coinbase_asks_for_trades_from_the_end() -> None:
    request = COINBASE.trades_request(BTC, 10, 5_000)

    assert (request.path, request.params) == ("/products/BTC-USDT/trades", {"after": 5_001, "limit": 1_000})
    product = {"id": "BTC-USDT", "quote_increment": "0.01", "base_increment": "0.00000001"}
    scales = COINBASE.parse_instrument(json.dumps(product).encode(), BTC).scales
    assert (scales.price, scales.size) == (2, 8)
