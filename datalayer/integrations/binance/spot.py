"""Binance spot: what `Feed` has to know of it.

Sockets: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
REST: https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from datalayer.domain.candle import Candle
from datalayer.domain.moments import EPOCH, from_microseconds
from datalayer.domain.symbols import SymbolSpelling, spell_symbol
from datalayer.domain.timeframe import Timeframe
from datalayer.domain.trade import Side, Trade
from datalayer.errors import InvalidInputError
from datalayer.integrations.binance import messages
from datalayer.integrations.binance.exchange_info import read_exchange_info
from datalayer.integrations.binance.klines import Kline
from datalayer.integrations.binance.rest_answers import (
    AGGREGATE_KEYS,
    TRADE_KEYS,
    read_candles,
    read_trades,
)
from datalayer.integrations.depth import BookRules, DepthDiff, DepthSnapshot, LocalOrderBook
from datalayer.integrations.feeds.events import (
    BookUpdate,
    FeedEvent,
    GoingAway,
    Quote,
    Refused,
    Subscribed,
    Unknown,
)
from datalayer.integrations.feeds.exchange import Channel, Exchange, Limits, RestRequest, Stream
from datalayer.integrations.fields import E8, fault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from datalayer.domain.instrument import ListedInstrument

SOCKET_URL: Final = "wss://stream.binance.com:9443"
REST_URL: Final = "https://api.binance.com"

_PER_REQUEST: Final = 1_000
_STREAMS_PER_MESSAGE: Final = 200


@dataclass(frozen=True, slots=True)
class BinanceSpot(Exchange):
    """Binance spot: trades or aggregate trades, candles of all timeframes, order books by depth diffs, best bid and ask.

    Attributes:
        socket_url: address of the streams.
        rest_url: address of the REST interface.
        trades: "trade" for every trade; "aggTrade" for the trades of one order at one price as one. Their ids are counted
            apart, so a symbol must stay with one of the two.
        time_unit: what is asked of the streams; the values tell by their size which they are.
        book_depth: levels of the snapshot from which an order book begins, at most 5,000. When the best levels that are stored
            have moved beyond it, another one is asked for; it should be many times `FeedSettings.book_levels`.
        api_key: sent with REST requests; market data need none.
    """

    name: ClassVar[str] = "binance"
    limits: ClassVar[Limits] = Limits(
        streams_per_connection=1_024,
        messages_per_s=4,  # five are allowed, pings and pongs included
        connection_age_s=86_400,
        rest_weight=6_000,
        rest_window_s=60,
    )
    timeframes: ClassVar[frozenset[Timeframe]] = frozenset(Timeframe)

    socket_url: str = SOCKET_URL
    rest_url: str = REST_URL
    trades: Literal["trade", "aggTrade"] = "trade"
    time_unit: Literal["ms", "us"] = "us"
    book_depth: int = 1_000
    api_key: str | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of REST requests."""
        return {} if self.api_key is None else {"X-MBX-APIKEY": self.api_key}

    @property
    def socket_address(self) -> str:
        """The combined streams, which are subscribed to by messages."""
        unit = "?timeUnit=MICROSECOND" if self.time_unit == "us" else ""
        return f"{self.socket_url.rstrip('/')}/stream{unit}"

    def spell(self, symbol: str) -> str:
        """Return a symbol as in `BTCUSDT`."""
        return spell_symbol(symbol, SymbolSpelling.JOINED)

    def subscribe(self, streams: Sequence[Stream]) -> list[str]:
        """Return SUBSCRIBE messages of up to 200 streams."""
        return self._calls("SUBSCRIBE", streams)

    def unsubscribe(self, streams: Sequence[Stream]) -> list[str]:
        """Return UNSUBSCRIBE messages of up to 200 streams."""
        return self._calls("UNSUBSCRIBE", streams)

    def parse(self, frame: str | bytes, symbols: Mapping[str, str]) -> Sequence[FeedEvent]:
        """Return what a frame says; see `Exchange.parse`."""
        message = messages.parse_message(frame)
        if isinstance(message, messages.UnknownMessage):
            return [_control(frame, message.kind)]
        if isinstance(message, DepthSnapshot):
            return [Unknown("depthSnapshot")]
        symbol = symbols.get(message.symbol)
        return [Unknown(message.symbol) if symbol is None else _event(message, symbol)]

    def new_book(self) -> BookRules:
        """Return a book that follows update ids."""
        return LocalOrderBook(depth=self.book_depth)

    def book_request(self, symbol: str) -> RestRequest:
        """Return how to ask for a snapshot."""
        weight = next(weight for most, weight in _DEPTH_WEIGHTS if self.book_depth <= most)
        params: dict[str, str | int] = {"symbol": self.spell(symbol), "limit": self.book_depth}
        return RestRequest("/api/v3/depth", params, weight)

    def parse_book(self, body: bytes) -> DepthSnapshot:
        """Return the snapshot."""
        message = messages.parse_message(body)
        if not isinstance(message, DepthSnapshot):
            raise fault("depth", body, "is no snapshot of an order book")
        return message

    def trades_request(self, symbol: str, first_id: int, last_id: int) -> RestRequest:
        """Return how to ask for the first trades of a range of ids."""
        limit = min(last_id - first_id + 1, _PER_REQUEST)
        params: dict[str, str | int] = {"symbol": self.spell(symbol), "fromId": first_id, "limit": limit}
        if self.trades == "trade":
            return RestRequest("/api/v3/historicalTrades", params, 25)
        return RestRequest("/api/v3/aggTrades", params, 4)

    def parse_trades(self, body: bytes, symbol: str) -> list[Trade]:
        """Return the trades, ascending by id."""
        keys = TRADE_KEYS if self.trades == "trade" else AGGREGATE_KEYS
        return read_trades(body, symbol, keys)

    def candles_request(
        self, symbol: str, timeframe: Timeframe, start: datetime, end: datetime
    ) -> RestRequest:
        """Return how to ask for the first candles of a range; `endTime` is included there."""
        params: dict[str, str | int] = {
            "symbol": self.spell(symbol),
            "interval": timeframe.label,
            "startTime": _ms(start),
            "endTime": _ms(end) - 1,
            "limit": min((end - start) // timeframe.length, _PER_REQUEST),
        }
        return RestRequest("/api/v3/klines", params, 2)

    def parse_candles(self, body: bytes, symbol: str, timeframe: Timeframe) -> list[Candle]:
        """Return the candles, ascending."""
        return read_candles(body, symbol, timeframe)

    def instrument_request(self, symbol: str) -> RestRequest:
        """Return how to ask for the rules of a symbol."""
        return RestRequest("/api/v3/exchangeInfo", {"symbol": self.spell(symbol)}, 20)

    def parse_instrument(self, body: bytes, symbol: str) -> ListedInstrument:
        """Return the scales of a symbol."""
        return read_exchange_info(body, symbol)

    def _calls(self, method: str, streams: Sequence[Stream]) -> list[str]:
        names = [self._stream_name(stream) for stream in streams]
        parts = [names[n : n + _STREAMS_PER_MESSAGE] for n in range(0, len(names), _STREAMS_PER_MESSAGE)]
        return [
            json.dumps({"method": method, "params": part, "id": place})
            for place, part in enumerate(parts, start=1)
        ]

    def _stream_name(self, stream: Stream) -> str:
        kinds = {
            Channel.TRADES: self.trades,
            Channel.ORDER_BOOK: "depth@100ms",
            Channel.QUOTES: "bookTicker",
            Channel.CANDLES: f"kline_{stream.timeframe.label}" if stream.timeframe else "",
        }
        return f"{self.spell(stream.symbol).lower()}@{kinds[stream.channel]}"


_DEPTH_WEIGHTS: Final = ((100, 5), (500, 25), (1_000, 50), (5_000, 250))


def _control(frame: str | bytes, kind: str) -> FeedEvent:
    document = json.loads(frame)
    body = document.get("data", document)
    if "error" in document:
        return Refused(str(document["error"])[:200])
    if "result" in document:
        return Subscribed()
    return GoingAway() if isinstance(body, dict) and body.get("e") == "serverShutdown" else Unknown(kind)


def _event(message: Any, symbol: str) -> FeedEvent:
    match message:
        case messages.Trade():
            return _made_trade(symbol, message, message.trade_id)
        case messages.AggregateTrade():
            return _made_trade(symbol, message, message.aggregate_id)
        case Kline():
            return _made_candle(symbol, message)
        case DepthDiff():
            return BookUpdate(symbol, message)
        case messages.BookTicker():
            bid = message.bid_price_e8 / E8, message.bid_size_e8 / E8
            return Quote(symbol, *bid, message.ask_price_e8 / E8, message.ask_size_e8 / E8, message.update_id)
    return Unknown(type(message).__name__)


def _made_trade(symbol: str, message: messages.Trade | messages.AggregateTrade, trade_id: int) -> Trade:
    ts = from_microseconds(message.trade_time_us)
    return Trade(symbol, ts, trade_id, message.price_e8 / E8, message.size_e8 / E8, Side(message.side))


def _made_candle(symbol: str, kline: Kline) -> FeedEvent:
    try:
        timeframe = Timeframe.parse(kline.interval)
    except InvalidInputError:
        return Unknown(f"kline_{kline.interval}"[:80])
    return Candle(
        symbol,
        timeframe,
        from_microseconds(kline.open_time_us),
        *(kline.open_e8 / E8, kline.high_e8 / E8, kline.low_e8 / E8, kline.close_e8 / E8),
        kline.volume_e8 / E8,
        kline.trade_count,
        is_forming=not kline.is_closed,
    )


def _ms(time: datetime) -> int:
    return (time - EPOCH) // timedelta(milliseconds=1)
