"""What a feed remembers of one symbol, over all connections."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from datalayer.domain.moments import EPOCH, from_microseconds
from datalayer.domain.order_book import OrderBook
from datalayer.integrations.book_sampling import BookSampler
from datalayer.integrations.depth import Applied
from datalayer.integrations.fields import E8

if TYPE_CHECKING:
    from datetime import datetime

    from datalayer.domain.feed_gap import GapCause
    from datalayer.domain.timeframe import Timeframe
    from datalayer.integrations.book_sampling import BookSample
    from datalayer.integrations.depth import BookEvent, BookRules
    from datalayer.integrations.feeds.seconds import SecondBuilder
    from datalayer.integrations.feeds.sequence import Sequence
    from datalayer.integrations.feeds.settings import FeedSettings

# A step between samples is a little longer than it should be where the exchange's messages come late.
_STEPS_WITHOUT_A_HOLE = 2


class BookSampling:
    """Samples of the order book of one symbol, of whichever connection has a valid one.

    Args:
        settings: pace and levels.
    """

    def __init__(self, settings: FeedSettings) -> None:
        self._step = timedelta(milliseconds=settings.book_sample_ms)
        self._sampler = BookSampler(sample_ms=settings.book_sample_ms, levels=settings.book_levels)
        self._valid: set[object] = set()
        self._dark: GapCause | None = None
        self.last: datetime | None = None

    @property
    def is_valid(self) -> bool:
        """Whether there is a valid book."""
        return bool(self._valid)

    def resume(self, last: datetime | None) -> None:
        """Go on from the last stored sample."""
        self.last, self._dark = last, "restart"

    def join(self, book: object) -> None:
        """Note that a book is valid."""
        self._valid.add(book)

    def leave(self, book: object, cause: GapCause) -> None:
        """Note that a book is valid no longer."""
        self._valid.discard(book)
        if not self._valid and self._dark is None:
            self._dark = cause

    def find_sample(self, time_us: int, event: BookEvent, book: BookRules) -> BookSample | None:
        """Return the sample that is due after a message, if one is."""
        if self._valid and not isinstance(event, Applied):
            return None  # another connection has the book, and must not lose its turn
        return self._sampler.find_sample(time_us, event, book)

    def find_hole(self, ts: datetime) -> tuple[datetime, GapCause, int] | None:
        """Note the time of a sample; return since when there was no book, why, and how many samples are missing."""
        last, cause = self.last, self._dark
        self.last, self._dark = ts, None
        if cause is None or last is None or ts - last <= _STEPS_WITHOUT_A_HOLE * self._step:
            return None
        return last, cause, (ts - last) // self._step - 1


@dataclass(slots=True, eq=False)
class SymbolState:
    """What is remembered.

    Attributes:
        trades: ids of trades.
        candles: by timeframe, open times counted in candles since 1970.
        books: samples of the order book.
        seconds: makes 1s candles; None: the exchange sends them, or nobody wants them.
        whole_from: the second of the first stored trade may be incomplete; those from this time on are not.
    """

    trades: Sequence
    candles: dict[Timeframe, Sequence]
    books: BookSampling
    seconds: SecondBuilder | None
    whole_from: datetime = EPOCH


def order_book(symbol: str, sample: BookSample) -> OrderBook:
    """Return a sample as what is stored; each value is the double nearest to the exact decimal."""
    bids, asks = (
        np.array(side, dtype=np.float64).reshape(-1, 2) / E8
        for side in (sample.levels.bids, sample.levels.asks)
    )
    ts = from_microseconds(sample.event_time_us)
    return OrderBook(symbol, ts, bids[:, 0], bids[:, 1], asks[:, 0], asks[:, 1], sample.last_update_id)
