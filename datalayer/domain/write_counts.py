"""What a write did."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class WriteCounts:
    """Rows of one write by what became of them; together they are the rows handed in.

    Attributes:
        inserted: rows whose key was new.
        updated: rows whose key was stored with other values, which were replaced.
        unchanged: rows that were stored already, or repeat another row of the same write; nothing was written for them.
    """

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0

    def __add__(self, other: Self) -> WriteCounts:
        return WriteCounts(
            self.inserted + other.inserted, self.updated + other.updated, self.unchanged + other.unchanged
        )
