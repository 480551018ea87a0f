"""From messages of a stream to the columns that are stored: trades, and samples of the order book."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from datalayer.domain.order_book import UNKNOWN_UPDATE_ID, OrderBookColumns
from datalayer.errors import InvalidInputError
from datalayer.integrations.binance.messages import Message, Trade, UnknownMessage
from datalayer.integrations.book_sampling import BookSampler
from datalayer.integrations.depth import CrossedBook, DepthDiff, DepthSnapshot, LocalOrderBook, SequenceGap
from datalayer.integrations.fields import E8, Levels, fault
from datalayer.integrations.tick_aggregation import TradeColumns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from datalayer.integrations.book_sampling import BookSample


class StreamReplay:
    """Collects what the messages of one symbol amount to.

    Args:
        sampler: when to take a sample of the order book.

    Attributes:
        books: samples of the order book, in order of time.
        faults: gaps and crossings of the book, in the order met; a snapshot is needed after each.
        counts: messages seen, by the name of their type.
    """

    def __init__(self, sampler: BookSampler | None = None) -> None:
        self.books: list[BookSample] = []
        self.faults: list[SequenceGap | CrossedBook] = []
        self.counts: Counter[str] = Counter()
        self._sampler = sampler or BookSampler()
        self._book = LocalOrderBook()
        self._trades: list[Trade] = []
        self._symbol: str | None = None

    @property
    def symbol(self) -> str | None:
        """The symbol of the messages as Binance writes it; None before the first that names one."""
        return self._symbol

    def feed(self, message: Message) -> None:
        """Take one message.

        Raises:
            InvalidInputError: it belongs to another symbol than those before.
        """
        self.counts[type(message).__name__] += 1
        if not isinstance(message, DepthSnapshot | UnknownMessage):
            self._check_symbol(message.symbol)
        if isinstance(message, Trade):
            self._trades.append(message)
        elif isinstance(message, DepthDiff):
            event = self._book.apply_diff(message)
            self._note(event)
            if sample := self._sampler.find_sample(message.event_time_us, event, self._book):
                self.books.append(sample)
        elif isinstance(message, DepthSnapshot):
            self._note(self._book.apply_snapshot(message))

    def trades(self) -> TradeColumns:
        """Return the trades so far in the order of arrival, prices and sizes in counts of 1e-8."""
        return trade_columns(self._trades)

    def _check_symbol(self, symbol: str) -> None:
        self._symbol = self._symbol or symbol
        if symbol != self._symbol:
            raise InvalidInputError(
                "symbol", symbol, f"this replay is of {self._symbol}; use one for each symbol"
            )

    def _note(self, event: object) -> None:
        if isinstance(event, SequenceGap | CrossedBook):
            self.faults.append(event)


def book_columns(samples: Sequence[BookSample]) -> OrderBookColumns:
    """Return samples by columns, as `OrderBookRepository` stores them; prices and sizes are the nearest doubles.

    Args:
        samples: in any order; sides that are shorter than the longest one are padded with NaN.
    """
    bids = [sample.levels.bids for sample in samples]
    asks = [sample.levels.asks for sample in samples]
    ids = [UNKNOWN_UPDATE_ID if s.last_update_id is None else s.last_update_id for s in samples]
    return OrderBookColumns(
        timestamps=np.array([s.event_time_us for s in samples], np.int64).astype("datetime64[us]"),
        bid_prices=_padded(bids, 0),
        bid_sizes=_padded(bids, 1),
        ask_prices=_padded(asks, 0),
        ask_sizes=_padded(asks, 1),
        last_update_ids=np.array(ids, np.int64),
    )


def _padded(sides: Sequence[Levels], place: int) -> NDArray[np.float64]:
    values = np.full((len(sides), max(map(len, sides), default=0)), np.nan)
    for row, side in enumerate(sides):
        values[row, : len(side)] = [level[place] / E8 for level in side]
    return values


def trade_columns(trades: Sequence[Trade]) -> TradeColumns:
    """Return trades by columns, in the order given; prices and sizes in counts of 1e-8.

    Raises:
        InvalidInputError: a price or size does not fit into 64 bits as a count of 1e-8 (above 92 billion).
    """
    try:
        return TradeColumns(
            timestamps=np.array([t.trade_time_us for t in trades], np.int64).astype("datetime64[us]"),
            trade_ids=np.array([t.trade_id for t in trades], np.int64),
            prices=np.array([t.price_e8 for t in trades], np.int64),
            sizes=np.array([t.size_e8 for t in trades], np.int64),
            sides=np.array([t.side for t in trades], np.int8),
        )
    except OverflowError:
        largest, field = max(max((t.price_e8, "price_e8"), (t.size_e8, "size_e8")) for t in trades)
        raise fault(field, largest, "too large for 64 bits in counts of 1e-8") from None
