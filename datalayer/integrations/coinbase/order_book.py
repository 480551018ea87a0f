"""An order book whose updates have no numbers: a snapshot from the socket, and every update after it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from datalayer.integrations.depth import LocalOrderBook

if TYPE_CHECKING:
    from datalayer.integrations.depth import BookEvent, DepthDiff, DepthSnapshot, TopLevels


class SocketOrderBook:
    """Counts the updates of one connection itself. What is lost on the way shows only where the book crosses."""

    def __init__(self) -> None:
        self._book, self._count = LocalOrderBook(), 0

    @property
    def last_update_id(self) -> None:
        """None: the exchange has no such ids."""
        return

    @property
    def is_valid(self) -> bool:
        """True from a snapshot until the book crosses."""
        return self._book.is_valid

    def apply_snapshot(self, snapshot: DepthSnapshot) -> BookEvent:
        """Start anew from a snapshot."""
        self._book, self._count = LocalOrderBook(), 0
        return self._book.apply_snapshot(replace(snapshot, last_update_id=0))

    def apply_diff(self, diff: DepthDiff) -> BookEvent:
        """Apply an update, which is the next one."""
        self._count += 1
        return self._book.apply_diff(replace(diff, first_update_id=self._count, last_update_id=self._count))

    def find_top_levels(self, count: int) -> TopLevels | None:
        """Return the best levels; None: the book is invalid."""
        return self._book.find_top_levels(count)

    def reaches(self, count: int) -> bool:
        """Tell whether the best levels are all known, as they are: its snapshots have all levels."""
        return self._book.reaches(count)
