"""What is handed in to the pipeline: a cache, and hooks for metrics and alarms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from datalayer.domain.candle import Candle
    from datalayer.domain.imbalances import OrderBookImbalances
    from datalayer.domain.order_book import OrderBook
    from datalayer.domain.trade import Trade
    from datalayer.domain.write_counts import WriteCounts
    from datalayer.ingestion.events import EventKind
    from datalayer.ingestion.outbox import OnAlarm
    from datalayer.repositories.reject_report import RejectHook


class LiveCache(Protocol):
    """The writing side of a cache, as `DataCacheManager` has it. It must be quick; what it raises is logged."""

    def put_candle(self, candle: Candle) -> None:
        """Take in a candle, closed or forming."""

    def put_trade(self, trade: Trade) -> None:
        """Take in a trade."""

    def put_orderbook(self, book: OrderBook) -> None:
        """Take in a snapshot."""

    def put_imbalances(self, imbalances: OrderBookImbalances) -> None:
        """Take in imbalances."""

    def discard(self, item: Candle | Trade | OrderBook | OrderBookImbalances) -> object:
        """Take out again what was put in."""


class OnStored(Protocol):
    """Is told of each batch that the database has."""

    def __call__(self, kind: EventKind, counts: WriteCounts, duration_s: float) -> None:
        """Take what became of the rows, and how long it took, retries included."""


class OnRetry(Protocol):
    """Is told of each attempt that failed and is tried again."""

    def __call__(self, kind: EventKind, reason: str, sqlstate: str | None) -> None:
        """Take why: in words, and as the server's five-character code (None: it never answered, or it is not its fault)."""


class OnQueryable(Protocol):
    """Is told when events can be queried."""

    def __call__(self, kind: EventKind, known_at: NDArray[np.datetime64]) -> None:
        """Take since when each of them could be known by exchange time (UTC, microseconds): of a candle, its close."""


@dataclass(frozen=True, slots=True)
class IngestionHooks:
    """What is called by the pipeline, in its event loop; each may be None. They must be quick; what they raise is logged.

    Attributes:
        on_rejected: counts records that quarantine has taken.
        on_stored: counts what is stored.
        on_retry: counts attempts that failed.
        on_alarm: takes what somebody has to look after: a full outbox or disk, a database that is away.
        on_queryable: measures how old events are when their transaction is committed.
    """

    on_rejected: RejectHook | None = None
    on_stored: OnStored | None = None
    on_retry: OnRetry | None = None
    on_alarm: OnAlarm | None = None
    on_queryable: OnQueryable | None = None
