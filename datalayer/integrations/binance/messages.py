"""The messages of Binance spot, from JSON to small values.

Prices and sizes are exact: integer counts of 1e-8, which is how finely Binance quotes spot markets (names end in `_e8`).
Times are microseconds since 1970 UTC, whichever `timeUnit` a stream was asked for. Fields that a message gained later are ignored; a stream that is not
known here becomes `UnknownMessage`, so that it can be counted and kept.
Format: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from datalayer.integrations.binance.klines import Kline, read_kline
from datalayer.integrations.depth import DepthDiff, DepthSnapshot
from datalayer.integrations.fields import (
    INT64_MAX,
    fault,
    parse_json,
    read_book,
    read_boolean,
    read_e8,
    read_integer,
    read_levels,
    read_text,
    read_time_us,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

BUY: Final = 1
SELL: Final = -1

_KIND_CHARS: Final = 80


@dataclass(frozen=True, slots=True)
class Trade:
    """One trade.

    Attributes:
        symbol: as Binance writes it, `BTCUSDT`.
        event_time_us: when the message was made.
        trade_time_us: when the trade happened; many trades share a moment, `trade_id` orders them.
        trade_id: rises by one with each trade of the symbol.
        side: who took liquidity, `BUY` or `SELL`.
    """

    symbol: str
    event_time_us: int
    trade_time_us: int
    trade_id: int
    price_e8: int
    size_e8: int
    side: int


@dataclass(frozen=True, slots=True)
class AggregateTrade:
    """Trades of one order at one price, taken together.

    Attributes:
        symbol: as Binance writes it, `BTCUSDT`.
        event_time_us: when the message was made.
        trade_time_us: when the trades happened.
        aggregate_id: rises by one with each aggregate of the symbol; it is no trade id.
        first_trade_id: of the trades in it, as is `last_trade_id`.
        side: who took liquidity, `BUY` or `SELL`.
    """

    symbol: str
    event_time_us: int
    trade_time_us: int
    aggregate_id: int
    first_trade_id: int
    last_trade_id: int
    price_e8: int
    size_e8: int
    side: int


@dataclass(frozen=True, slots=True)
class BookTicker:
    """Best bid and ask after one update of the book. Spot sends no time with it."""

    symbol: str
    update_id: int
    bid_price_e8: int
    bid_size_e8: int
    ask_price_e8: int
    ask_size_e8: int


@dataclass(frozen=True, slots=True)
class UnknownMessage:
    """Well-formed JSON of a kind that is not read here, such as the answer to a subscription.

    Attributes:
        kind: event type or stream name as far as the message says, else `""`.
    """

    kind: str


Message: TypeAlias = Trade | AggregateTrade | DepthDiff | DepthSnapshot | BookTicker | Kline | UnknownMessage


@dataclass(frozen=True, slots=True)
class CaptureLine:
    """One line of a recording.

    Attributes:
        receive_time_ns: receiver's clock, nanoseconds since 1970 UTC; it may be behind the exchange's.
    """

    receive_time_ns: int
    message: Message


def parse_capture_line(line: str | bytes) -> CaptureLine:
    """Parse a line `receive_time_ns json` of a recorded stream.

    Raises:
        InvalidInputError: names the field that is malformed.
    """
    stamp, _, payload = line.strip().partition(b" " if isinstance(line, bytes) else " ")  # type: ignore[arg-type]
    digits = stamp.isascii() and stamp.isdigit() and len(stamp) <= len(str(INT64_MAX))
    if not digits or int(stamp) > INT64_MAX:
        raise fault(
            "receive_time_ns", stamp, "a line starts with the receive time in nanoseconds, then a space"
        )
    return CaptureLine(int(stamp), parse_message(payload))


def parse_message(text: str | bytes) -> Message:
    """Parse what a raw stream, a combined stream or the REST depth request sends.

    Raises:
        InvalidInputError: names the field that is malformed.
    """
    document = parse_json(text, "message")
    if not isinstance(document, dict):
        raise fault("message", document, "must be a JSON object")
    return _parse_document(document)


def _parse_document(document: Mapping[str, Any]) -> Message:
    stream = document.get("stream", "")
    body = document.get("data") if stream else document
    if not isinstance(stream, str) or not isinstance(body, dict):
        raise fault("data", body, "a combined stream has a name and an object `data`")
    # In a named stream this is a partial book of 5, 10 or 20 levels, on which no diff may be applied.
    if "lastUpdateId" in body and not stream:
        return _snapshot(body)
    kind = body.get("e") or stream.partition("@")[2].partition("@")[0] or _kind_without_name(body)
    parser = _PARSERS.get(kind) if isinstance(kind, str) else None
    return parser(body) if parser else UnknownMessage(_shown_kind(kind))


def _shown_kind(kind: Any) -> str:
    # Kinds are counted and logged, so a malformed one must neither be long nor hold what no log or database takes.
    if not isinstance(kind, str | int):
        return ""
    short = str(kind)[:_KIND_CHARS] if isinstance(kind, str) or abs(kind) <= INT64_MAX else ""
    return short if short.isprintable() else ""


def _kind_without_name(body: Mapping[str, Any]) -> str:
    # A raw (not combined) bookTicker stream is the only one without event type and without stream name.
    return "bookTicker" if body.keys() >= {"u", "s", "b", "B", "a", "A"} else ""


def _trade(body: Mapping[str, Any]) -> Trade:
    return Trade(
        symbol=read_text(body, "s", "symbol"),
        event_time_us=read_time_us(body, "E", "event_time_us"),
        trade_time_us=read_time_us(body, "T", "trade_time_us"),
        trade_id=read_integer(body, "t", "trade_id"),
        price_e8=read_e8(body, "p", "price", positive=True),
        size_e8=read_e8(body, "q", "size", positive=True),
        # `m`: the buyer's order was resting, so the seller took liquidity.
        side=SELL if read_boolean(body, "m", "buyer_is_maker") else BUY,
    )


def _aggregate_trade(body: Mapping[str, Any]) -> AggregateTrade:
    return AggregateTrade(
        symbol=read_text(body, "s", "symbol"),
        event_time_us=read_time_us(body, "E", "event_time_us"),
        trade_time_us=read_time_us(body, "T", "trade_time_us"),
        aggregate_id=read_integer(body, "a", "aggregate_id"),
        first_trade_id=read_integer(body, "f", "first_trade_id"),
        last_trade_id=read_integer(body, "l", "last_trade_id"),
        price_e8=read_e8(body, "p", "price", positive=True),
        size_e8=read_e8(body, "q", "size", positive=True),
        side=SELL if read_boolean(body, "m", "buyer_is_maker") else BUY,
    )


def _depth_diff(body: Mapping[str, Any]) -> DepthDiff:
    first = read_integer(body, "U", "first_update_id")
    last = read_integer(body, "u", "last_update_id")
    if last < first:
        raise fault("last_update_id", last, f"must not be less than first_update_id {first}")
    return DepthDiff(
        symbol=read_text(body, "s", "symbol"),
        event_time_us=read_time_us(body, "E", "event_time_us"),
        first_update_id=first,
        last_update_id=last,
        bids=read_levels(body, "b", "bids"),
        asks=read_levels(body, "a", "asks"),
    )


def _snapshot(body: Mapping[str, Any]) -> DepthSnapshot:
    return DepthSnapshot(read_integer(body, "lastUpdateId", "last_update_id"), *read_book(body))


def _book_ticker(body: Mapping[str, Any]) -> BookTicker:
    return BookTicker(
        symbol=read_text(body, "s", "symbol"),
        update_id=read_integer(body, "u", "update_id"),
        bid_price_e8=read_e8(body, "b", "bid_price", positive=False),
        bid_size_e8=read_e8(body, "B", "bid_size", positive=False),
        ask_price_e8=read_e8(body, "a", "ask_price", positive=False),
        ask_size_e8=read_e8(body, "A", "ask_size", positive=False),
    )


_PARSERS: Final[Mapping[str, Callable[[Mapping[str, Any]], Message]]] = {
    "trade": _trade,
    "aggTrade": _aggregate_trade,
    "depthUpdate": _depth_diff,
    "bookTicker": _book_ticker,
    "kline": read_kline,
}
