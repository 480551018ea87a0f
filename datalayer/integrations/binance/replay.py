"""From messages of a stream to the columns that are stored: trades, and samples of the order book."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from datalayer.domain.order_book import OrderBookColumns
from datalayer.errors import InvalidInputError
from datalayer.integrations.binance.depth import (
    CrossedBook,
    LocalOrderBook,
    SequenceGap,
    TopLevels,
)
from datalayer.integrations.binance.fields import E8, fault
from datalayer.integrations.binance.messages import (
    DepthDiff,
    DepthSnapshot,
    Levels,
    Message,
    Trade,
    UnknownMessage,
)
from datalayer.integrations.tick_aggregation import TradeColumns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

DEFAULT_SAMPLE_MS: Final = 500
DEFAULT_LEVELS: Final = 20


@dataclass(frozen=True, slots=True)
class BookSample:
    """The best levels of the book right after one message.

    Attributes:
        event_time_ms: exchange time of that message, milliseconds since 1970 UTC.
        last_update_id: last update contained.
    """

    event_time_ms: int
    last_update_id: int
    levels: TopLevels


class BookSampler:
    """Takes a sample of a book each time the exchange's clock enters a new interval.

    Intervals are whole multiples of `sample_ms` since 1970. The sample is the book after the first message of the
    interval; the interval in which the first message falls gives none, since its beginning was not seen.

    Args:
        sample_ms: length of an interval, milliseconds.
        levels: how many levels of each side a sample has.
    """

    def __init__(self, *, sample_ms: int = DEFAULT_SAMPLE_MS, levels: int = DEFAULT_LEVELS) -> None:
        if sample_ms < 1 or levels < 1:
            field = "sample_ms" if sample_ms < 1 else "levels"
            raise InvalidInputError(field, min(sample_ms, levels), "must be at least 1")
        self._sample_ms = sample_ms
        self._levels = levels
        self._interval: int | None = None

    def find_sample(self, diff: DepthDiff, book: LocalOrderBook) -> BookSample | None:
        """Return the sample due after `diff` was handed to `book`, or None if none is due or the book is invalid."""
        interval = diff.event_time_ms // self._sample_ms
        due = self._interval is not None and interval > self._interval
        self._interval = max(interval, self._interval or interval)
        # A book that is ahead of this message (a snapshot ran ahead of the stream) would be stamped with too early a time.
        top = (
            book.find_top_levels(self._levels) if due and book.last_update_id == diff.last_update_id else None
        )
        return None if top is None else BookSample(diff.event_time_ms, diff.last_update_id, top)


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
            self._note(self._book.apply_diff(message))
            if sample := self._sampler.find_sample(message, self._book):
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
    return OrderBookColumns(
        timestamps=np.array([s.event_time_ms * 1_000 for s in samples], np.int64).astype("datetime64[us]"),
        bid_prices=_padded(bids, 0),
        bid_sizes=_padded(bids, 1),
        ask_prices=_padded(asks, 0),
        ask_sizes=_padded(asks, 1),
        last_update_ids=np.array([s.last_update_id for s in samples], np.int64),
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
            timestamps=np.array([t.trade_time_ms * 1_000 for t in trades], np.int64).astype("datetime64[us]"),
            trade_ids=np.array([t.trade_id for t in trades], np.int64),
            prices=np.array([t.price_e8 for t in trades], np.int64),
            sizes=np.array([t.size_e8 for t in trades], np.int64),
            sides=np.array([t.side for t in trades], np.int8),
        )
    except OverflowError:
        largest, field = max(max((t.price_e8, "price_e8"), (t.size_e8, "size_e8")) for t in trades)
        raise fault(field, largest, "too large for 64 bits in counts of 1e-8") from None
