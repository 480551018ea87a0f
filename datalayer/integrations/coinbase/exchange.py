"""Coinbase Exchange: what `Feed` has to know of it.

Its socket has no candles: those of a second are made from the trades, and longer ones from these. Ids of trades rise by one,
and a heartbeat each second names the last one, so that a trade is missed even if none follows. Its order book has no numbers:
subscribing brings the whole of it, and the exchange promises every update from there on.
Socket: https://docs.cdp.coinbase.com/exchange/websocket-feed/channels
REST: https://docs.cdp.coinbase.com/exchange/reference/exchangerestapi_getproducttrades
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from datalayer.domain.instrument import ListedInstrument
from datalayer.domain.scales import Scales, scale_of_step
from datalayer.domain.symbols import SymbolSpelling, canonical_symbol, spell_symbol
from datalayer.integrations.coinbase.messages import read_event, read_trade
from datalayer.integrations.coinbase.order_book import SocketOrderBook
from datalayer.integrations.feeds.exchange import Channel, Exchange, Limits, RestRequest, Stream
from datalayer.integrations.fields import fault, parse_json, read_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from datalayer.domain.timeframe import Timeframe
    from datalayer.domain.trade import Trade
    from datalayer.integrations.depth import BookRules
    from datalayer.integrations.feeds.events import FeedEvent

SOCKET_URL: Final = "wss://ws-feed.exchange.coinbase.com"
REST_URL: Final = "https://api.exchange.coinbase.com"

_PER_REQUEST: Final = 1_000
_CHANNELS: Final = {
    Channel.TRADES: "matches",
    Channel.ORDER_BOOK: "level2_batch",
    Channel.QUOTES: "ticker",
}


@dataclass(frozen=True, slots=True)
class CoinbaseExchange(Exchange):
    """Coinbase Exchange: trades, order books in batches of 50 ms, best bid and ask; no candles.

    Attributes:
        socket_url: address of the market data feed.
        rest_url: address of the REST interface.
    """

    name: ClassVar[str] = "coinbase"
    limits: ClassVar[Limits] = Limits(
        streams_per_connection=100,  # no limit is documented; a connection for each few dozen products is advised
        messages_per_s=100,
        connection_age_s=None,
        rest_weight=10,
        rest_window_s=1,
    )
    timeframes: ClassVar[frozenset[Timeframe]] = frozenset()

    socket_url: str = SOCKET_URL
    rest_url: str = REST_URL

    @property
    def socket_address(self) -> str:
        """The feed, which is subscribed to by messages."""
        return self.socket_url

    def spell(self, symbol: str) -> str:
        """Return a symbol as in `BTC-USD`."""
        return spell_symbol(symbol, SymbolSpelling.DASHED)

    def subscribe(self, streams: Sequence[Stream]) -> list[str]:
        """Return one message for all; heartbeats are subscribed to with the rest."""
        return [self._call("subscribe", streams)]

    def unsubscribe(self, streams: Sequence[Stream]) -> list[str]:
        """Return one message for all; heartbeats go on."""
        return [self._call("unsubscribe", streams)]

    def parse(self, frame: str | bytes, symbols: Mapping[str, str]) -> Sequence[FeedEvent]:
        """Return what a frame says; see `Exchange.parse`."""
        document = parse_json(frame, "message")
        if not isinstance(document, dict):
            raise fault("message", document, "must be a JSON object")
        return [read_event(document, symbols)]

    def new_book(self) -> BookRules:
        """Return a book that begins with a snapshot from the socket."""
        return SocketOrderBook()

    def trades_request(self, symbol: str, first_id: int, last_id: int) -> RestRequest:
        """Return how to ask for the last trades of a range of ids: those before an id, the newest first."""
        count = min(last_id - first_id + 1, _PER_REQUEST)
        return RestRequest(f"/products/{self.spell(symbol)}/trades", {"after": last_id + 1, "limit": count})

    def parse_trades(self, body: bytes, symbol: str) -> list[Trade]:
        """Return the trades, descending by id."""
        rows = parse_json(body, "message")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise fault("trades", rows, "must be a list of objects")
        return [read_trade(row, symbol) for row in rows]

    def candles_request(self, symbol: str, timeframe: Timeframe, start: datetime, end: datetime) -> None:
        """Return nothing: its candles are not subscribed to, so that none can be missing."""

    def parse_candles(self, body: bytes, symbol: str, timeframe: Timeframe) -> list[Any]:  # noqa: ARG002
        """Return nothing; see `candles_request`."""
        return []

    def instrument_request(self, symbol: str) -> RestRequest:
        """Return how to ask for a product."""
        return RestRequest(f"/products/{self.spell(symbol)}")

    def parse_instrument(self, body: bytes, symbol: str) -> ListedInstrument:
        """Return the scales of a product."""
        product = parse_json(body, "message")
        if not isinstance(product, dict) or read_text(product, "id", "id") != self.spell(symbol):
            raise fault("product", product, f"must be that of {symbol}")
        steps = {name: read_text(product, name, name) for name in ("quote_increment", "base_increment")}
        scales = Scales(scale_of_step(steps["quote_increment"]), scale_of_step(steps["base_increment"]))
        return ListedInstrument(
            canonical_symbol(symbol), scales, {"exchange_symbol": self.spell(symbol)} | steps
        )

    def _call(self, kind: str, streams: Sequence[Stream]) -> str:
        wanted: dict[str, list[str]] = {}
        for stream in streams:
            wanted.setdefault(_CHANNELS[stream.channel], []).append(self.spell(stream.symbol))
        if kind == "subscribe":
            wanted["heartbeat"] = sorted({product for products in wanted.values() for product in products})
        channels = [{"name": name, "product_ids": products} for name, products in wanted.items()]
        return json.dumps({"type": kind, "channels": channels})
