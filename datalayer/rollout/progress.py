"""How far a migration is, how fast it goes, and how long it will take."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class MigrationProgress:
    """How far a migration is.

    Attributes:
        at: the file, and what is done with it.
        done: rows written or verified; a row that is migrated counts for both.
        total: of how many.
        rows_per_s: since the beginning.
        left_s: seconds that remain at this rate.
    """

    at: str
    done: int
    total: int
    rows_per_s: float
    left_s: float


class ProgressMeter:
    """Counts rows, and tells of them.

    Args:
        total: how many there will be.
        tell: called after each step; None: nobody wants to know.
    """

    def __init__(self, total: int, tell: Callable[[MigrationProgress], None] | None) -> None:
        self._total = total
        self._tell = tell
        self._done = 0
        self._begin = monotonic()

    def add(self, at: str, rows: int) -> None:
        """Count rows."""
        self._done += rows
        if self._tell is not None:
            rate = self._done / max(monotonic() - self._begin, 1e-9)
            left = max(self._total - self._done, 0) / max(rate, 1e-9)
            self._tell(MigrationProgress(at, self._done, self._total, rate, left))
