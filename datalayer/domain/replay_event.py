"""One event of a replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from datetime import datetime

    from datalayer.domain.candle import Candle
    from datalayer.domain.order_book import OrderBook
    from datalayer.domain.trade import Trade

ReplayKind: TypeAlias = Literal["candle", "trade", "order_book"]


class ReplayEvent(NamedTuple):
    """What became visible at one moment.

    Attributes:
        visible_at: when, in UTC: the close of a candle, the time of a trade or an order book.
        symbol: canonical, as in `BTC/USDT`.
        kind: what `record` is.
        record: the candle, trade or order book.
    """

    visible_at: datetime
    symbol: str
    kind: ReplayKind
    record: Candle | Trade | OrderBook
