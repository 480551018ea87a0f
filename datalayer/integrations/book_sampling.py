"""Samples of an order book at a steady pace, by the exchange's clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from datalayer.errors import InvalidInputError
from datalayer.integrations.depth import Applied

if TYPE_CHECKING:
    from datalayer.integrations.depth import BookEvent, BookRules, TopLevels

DEFAULT_SAMPLE_MS: Final = 500
DEFAULT_LEVELS: Final = 20


@dataclass(frozen=True, slots=True)
class BookSample:
    """The best levels of the book right after one message.

    Attributes:
        event_time_us: exchange time of that message, microseconds since 1970 UTC.
        last_update_id: last update contained; None: the exchange has no such ids.
    """

    event_time_us: int
    last_update_id: int | None
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
        self._sample_us = sample_ms * 1_000
        self._levels = levels
        self._interval: int | None = None

    def find_sample(self, event_time_us: int, event: BookEvent, book: BookRules) -> BookSample | None:
        """Return the sample that is due after a message, or None if none is due or the message did not change the book.

        Args:
            event_time_us: of the message.
            event: what the book said to it. A book that is ahead of the message (a snapshot ran ahead of the stream) would
                be stamped with too early a time.
            book: after the message.
        """
        interval = event_time_us // self._sample_us
        due = self._interval is not None and interval > self._interval
        self._interval = max(interval, self._interval or interval)
        top = book.find_top_levels(self._levels) if due and isinstance(event, Applied) else None
        return None if top is None else BookSample(event_time_us, book.last_update_id, top)
