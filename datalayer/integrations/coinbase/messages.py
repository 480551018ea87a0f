"""The messages of Coinbase Exchange, from JSON to events.

Prices and sizes are read exactly, up to eight decimals, and times to the microsecond; a trade names the side of the resting
order, so the aggressor's is the other one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from datalayer.domain.moments import to_microseconds
from datalayer.domain.trade import Side, Trade
from datalayer.integrations.depth import DepthDiff, DepthSnapshot
from datalayer.integrations.feeds.events import (
    BookSnapshot,
    BookUpdate,
    FeedEvent,
    Heartbeat,
    Quote,
    Refused,
    Subscribed,
    Unknown,
)
from datalayer.integrations.fields import E8, fault, read, read_book, read_e8, read_integer, read_text, to_e8

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from datalayer.integrations.fields import Levels

_AGGRESSOR: Final = {"buy": Side.SELL, "sell": Side.BUY}
_CHANGE_ITEMS: Final = 3
_SHOWN_CHARS: Final = 80


def read_event(message: Mapping[str, Any], symbols: Mapping[str, str]) -> FeedEvent:
    """Return what a message says.

    Args:
        message: as it came.
        symbols: canonical symbols by the spelling of the exchange.

    Raises:
        InvalidInputError: names the field that is malformed.
    """
    kind = read_text(message, "type", "type")
    if kind == "subscriptions":
        return Subscribed()
    if kind == "error":
        return Refused(f"{message.get('message')}: {message.get('reason')}"[:_SHOWN_CHARS])
    if kind not in _READERS:
        return Unknown(kind[:_SHOWN_CHARS])
    product = read_text(message, "product_id", "product_id")
    symbol = symbols.get(product)
    return Unknown(product[:_SHOWN_CHARS]) if symbol is None else _READERS[kind](message, symbol)


def read_trade(message: Mapping[str, Any], symbol: str) -> Trade:
    """Return a trade.

    Raises:
        InvalidInputError: names the field that is malformed.
    """
    side = _AGGRESSOR.get(read_text(message, "side", "side"))
    if side is None:
        raise fault("side", message["side"], "must be buy or sell")
    return Trade(
        symbol,
        _read_time(message),
        read_integer(message, "trade_id", "trade_id"),
        read_e8(message, "price", "price", positive=True) / E8,
        read_e8(message, "size", "size", positive=True) / E8,
        side,
    )


def _heartbeat(message: Mapping[str, Any], symbol: str) -> Heartbeat:
    return Heartbeat(symbol, _time_us(message), read_integer(message, "last_trade_id", "last_trade_id"))


def _snapshot(message: Mapping[str, Any], symbol: str) -> BookSnapshot:
    return BookSnapshot(symbol, DepthSnapshot(0, *read_book(message)))


def _update(message: Mapping[str, Any], symbol: str) -> BookUpdate:
    changes = read(message, "changes", "changes")
    if not isinstance(changes, list):
        raise fault("changes", changes, "must be a list of changes")
    sides: dict[str, list[tuple[int, int]]] = {"buy": [], "sell": []}
    for place, change in enumerate(changes):
        field = f"changes[{place}]"
        if not isinstance(change, list) or len(change) != _CHANGE_ITEMS or change[0] not in ("buy", "sell"):
            raise fault(field, change, "must be a side, a price and a size")
        sides[change[0]].append((to_e8(change[1], f"{field}.price"), to_e8(change[2], f"{field}.size")))
    bids: Levels = tuple(sides["buy"])
    return BookUpdate(symbol, DepthDiff(symbol, _time_us(message), 0, 0, bids, tuple(sides["sell"])))


def _quote(message: Mapping[str, Any], symbol: str) -> Quote:
    names = ("best_bid", "best_bid_size", "best_ask", "best_ask_size")
    bid, bid_size, ask, ask_size = (read_e8(message, name, name, positive=False) / E8 for name in names)
    return Quote(symbol, bid, bid_size, ask, ask_size)


def _time_us(message: Mapping[str, Any]) -> int:
    return to_microseconds(_read_time(message))


def _read_time(message: Mapping[str, Any]) -> datetime:
    text = read_text(message, "time", "time")
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise fault("time", text, "must be a time as ISO 8601 writes it") from None
    if time.tzinfo is None:
        raise fault("time", text, "must say its zone")
    return time.astimezone(UTC)


_READERS: Final[Mapping[str, Callable[[Mapping[str, Any], str], FeedEvent]]] = {
    "match": read_trade,
    "last_match": read_trade,
    "heartbeat": _heartbeat,
    "snapshot": _snapshot,
    "l2update": _update,
    "ticker": _quote,
}
