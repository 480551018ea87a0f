"""What comes in, as the plain dictionaries that old callbacks take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datalayer.domain.candle import Candle
from datalayer.domain.order_book_frame import OrderBookDataFrame
from datalayer.integrations.data_provider.settings import VALUES

if TYPE_CHECKING:
    from datalayer.domain.trade import Trade
    from datalayer.integrations.data_provider.settings import LegacySettings


def event_of(update: Candle | OrderBookDataFrame | Trade, settings: LegacySettings) -> dict[str, Any]:
    """Return an update as a callback gets it; see `DataProviderMixin.subscribe`."""
    if isinstance(update, OrderBookDataFrame):
        return book_of(update, settings)
    symbol, time = settings.spelled(update.symbol), settings.time(update.ts)
    if isinstance(update, Candle):
        names, values = settings.columns[1:], [float(getattr(update, name)) for name in VALUES]
        labels = {"symbol": symbol, "timeframe": update.timeframe.label, settings.columns[0]: time}
        return labels | dict(zip(names, values, strict=True))
    return {
        "symbol": symbol,
        "timestamp": time,
        "price": float(update.price),
        "volume": float(update.size),
        "side": update.side.name.lower(),
        "trade_id": update.trade_id,
    }


def book_of(book: OrderBookDataFrame, settings: LegacySettings, depth: int | None = None) -> dict[str, Any]:
    """Return a book; see `DataProviderMixin.get_order_book`."""
    return {
        "symbol": settings.spelled(book.symbol),
        "timestamp": settings.time(book.timestamp),
        "bids": book.bids[["price", "size"]].to_numpy()[:depth].tolist(),
        "asks": book.asks[["price", "size"]].to_numpy()[:depth].tolist(),
    }
