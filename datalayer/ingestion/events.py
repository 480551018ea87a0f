"""Kinds of events that the pipeline takes in."""

from __future__ import annotations

from enum import IntEnum


class EventKind(IntEnum):
    """What an event is; the value is what the outbox keeps, and never changes."""

    CANDLE = 1
    TRADE = 2
    ORDER_BOOK = 3
    IMBALANCE = 4
    REJECT = 5

    # An enumeration hashes its name, in Python; this is asked for several times an event.
    __hash__ = int.__hash__

    @property
    def label(self) -> str:
        """The name in statistics and logs, such as `order_book`."""
        return self.name.lower()
