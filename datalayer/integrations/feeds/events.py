"""What the frames of an exchange amount to, in the terms of this library.

Trades and candles are the values that the pipeline takes; the rest is named here. Symbols are canonical.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from datalayer.domain.candle import Candle
from datalayer.domain.trade import Trade

if TYPE_CHECKING:
    from datalayer.integrations.depth import DepthDiff, DepthSnapshot


@dataclass(frozen=True, slots=True)
class BookUpdate:
    """Changed levels of an order book."""

    symbol: str
    diff: DepthDiff


@dataclass(frozen=True, slots=True)
class BookSnapshot:
    """A whole order book that came over the socket."""

    symbol: str
    snapshot: DepthSnapshot


@dataclass(frozen=True, slots=True)
class Quote:
    """The best bid and ask; prices in the quote asset, sizes in the base asset.

    Attributes:
        update_id: update of the order book that it belongs to; None: the exchange does not say.
    """

    symbol: str
    bid_price: float
    bid_size: float
    ask_price: float
    ask_size: float
    update_id: int | None = None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The exchange's clock, and the last trade that it knows.

    Attributes:
        time_us: microseconds since 1970 UTC.
        last_trade_id: None: it does not say.
    """

    symbol: str
    time_us: int
    last_trade_id: int | None = None


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A subscription was accepted."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The exchange refuses what was asked of it, in its words."""

    reason: str


@dataclass(frozen=True, slots=True)
class GoingAway:
    """The exchange is about to close this connection."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A message of a kind, or of a symbol, that is not read here."""

    kind: str


FeedEvent: TypeAlias = (
    Trade
    | Candle
    | BookUpdate
    | BookSnapshot
    | Quote
    | Heartbeat
    | Subscribed
    | Refused
    | GoingAway
    | Unknown
)
