"""What an adapter of an exchange says; it is pure, and `Feed` does the rest once for all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from datalayer.domain.candle import Candle
    from datalayer.domain.instrument import ListedInstrument
    from datalayer.domain.timeframe import Timeframe
    from datalayer.domain.trade import Trade
    from datalayer.integrations.depth import BookRules, DepthSnapshot
    from datalayer.integrations.feeds.events import FeedEvent


class Channel(StrEnum):
    """What can be subscribed to."""

    TRADES = "trades"
    CANDLES = "candles"
    ORDER_BOOK = "order_book"
    QUOTES = "quotes"


@dataclass(frozen=True, slots=True)
class Stream:
    """One subscription.

    Attributes:
        symbol: canonical.
        channel: what of it.
        timeframe: of candles; None for other channels.
    """

    symbol: str
    channel: Channel
    timeframe: Timeframe | None = None


@dataclass(frozen=True, slots=True)
class RestRequest:
    """A GET request.

    Attributes:
        path: below the address of the REST interface.
        params: of the query.
        weight: what it costs of `Limits.rest_weight`.
    """

    path: str
    params: Mapping[str, str | int] = field(default_factory=dict)
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Limits:
    """What an exchange allows.

    Attributes:
        streams_per_connection: subscriptions of one connection.
        messages_per_s: messages that a client may send on a connection each second.
        connection_age_s: age in seconds at which the exchange closes a connection; None: it does not.
        rest_weight: weight of the requests that may be made in `rest_window_s` seconds.
    """

    streams_per_connection: int
    messages_per_s: float
    connection_age_s: float | None
    rest_weight: int
    rest_window_s: float


class Exchange(ABC):
    """What `Feed` has to know of an exchange: no I/O, no clock, no state.

    Attributes:
        name: how it is called in records and logs.
        limits: what it allows.
        timeframes: of candles that its socket sends.
        socket_url: address of the socket.
        rest_url: address of the REST interface.
        headers: sent with each request.
    """

    name: ClassVar[str]
    limits: ClassVar[Limits]
    timeframes: ClassVar[frozenset[Timeframe]]
    socket_url: str
    rest_url: str

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of REST requests."""
        return {}

    @property
    @abstractmethod
    def socket_address(self) -> str:
        """What to connect to, options included."""

    @abstractmethod
    def spell(self, symbol: str) -> str:
        """Return a canonical symbol as messages of the exchange write it."""

    @abstractmethod
    def subscribe(self, streams: Sequence[Stream]) -> list[str]:
        """Return the messages that subscribe to streams; each is answered by one `Subscribed` or `Refused`."""

    @abstractmethod
    def unsubscribe(self, streams: Sequence[Stream]) -> list[str]:
        """Return the messages that end subscriptions."""

    @abstractmethod
    def parse(self, frame: str | bytes, symbols: Mapping[str, str]) -> Sequence[FeedEvent]:
        """Return what a frame says.

        Args:
            frame: as it came.
            symbols: canonical symbols by the spelling of the exchange; others are `Unknown`.

        Raises:
            InvalidInputError: names the field that is malformed.
        """

    @abstractmethod
    def new_book(self) -> BookRules:
        """Return an empty local order book."""

    def book_request(self, symbol: str) -> RestRequest | None:  # noqa: ARG002
        """Return how to ask for a snapshot of the order book; None: subscribing brings one."""
        return None

    def parse_book(self, body: bytes) -> DepthSnapshot:
        """Return the answer to `book_request`; raises InvalidInputError as `parse`."""
        raise NotImplementedError

    @abstractmethod
    def trades_request(self, symbol: str, first_id: int, last_id: int) -> RestRequest | None:
        """Return how to ask for trades of a range of ids, or for one end of it; None: the exchange does not have them."""

    @abstractmethod
    def parse_trades(self, body: bytes, symbol: str) -> list[Trade]:
        """Return the answer to `trades_request`, in any order; raises InvalidInputError as `parse`."""

    @abstractmethod
    def candles_request(
        self, symbol: str, timeframe: Timeframe, start: datetime, end: datetime
    ) -> RestRequest | None:
        """Return how to ask for the first candles that open in `[start, end)`; None: the exchange does not have them."""

    @abstractmethod
    def parse_candles(self, body: bytes, symbol: str, timeframe: Timeframe) -> list[Candle]:
        """Return the answer to `candles_request`, in any order; raises InvalidInputError as `parse`."""

    @abstractmethod
    def instrument_request(self, symbol: str) -> RestRequest:
        """Return how to ask what the exchange says of an instrument."""

    @abstractmethod
    def parse_instrument(self, body: bytes, symbol: str) -> ListedInstrument:
        """Return the answer to `instrument_request`; raises InvalidInputError as `parse`."""
