"""Numbers that follow one another, and the holes in them: ids of trades, and candles counted since 1970."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from datalayer.domain.feed_gap import GapCause


class Seen(Enum):
    """What a number is to a sequence."""

    NEXT = auto()
    """It is beyond all before."""
    MISSED = auto()
    """It was missing."""
    REPEATED = auto()
    """It was there before."""
    RESTARTED = auto()
    """It is lower and yet later: the numbers have begun anew."""


@dataclass(slots=True, eq=False)
class Hole:
    """Numbers that are missing.

    Attributes:
        first: the first of them.
        last: the last of them, included.
        start: time of what came before, or of what is missing first; not after `end`.
        end: time of what came after.
        cause: why they are missing.
        missing: ranges that are still missing, ascending, both ends included.
    """

    first: int
    last: int
    start: datetime
    end: datetime
    cause: GapCause
    missing: list[tuple[int, int]] = field(init=False)

    def __post_init__(self) -> None:
        self.missing = [(self.first, self.last)]

    @property
    def size(self) -> int:
        """How many numbers were missing."""
        return self.last - self.first + 1

    @property
    def remaining(self) -> int:
        """How many are missing still."""
        return sum(last - first + 1 for first, last in self.missing)

    def take(self, number: int) -> bool:
        """Note that a number came; tell whether it was missing."""
        for place, (first, last) in enumerate(self.missing):
            if first <= number <= last:
                rest = [(first, number - 1), (number + 1, last)]
                self.missing[place : place + 1] = [part for part in rest if part[0] <= part[1]]
                return True
        return False


class Sequence:
    """Numbers that rise by one, as far as nothing is lost.

    Args:
        last: the last one that is there already; None: the first to come is the beginning.
        time: when that was.

    Attributes:
        holes: those that are not filled.
        cause: why numbers would be missing before the next one.
    """

    def __init__(self, last: int | None = None, time: datetime | None = None) -> None:
        self.last, self.time = last, time
        self.holes: list[Hole] = []
        self.cause: GapCause = "restart"

    def see(self, number: int, time: datetime) -> tuple[Seen, Hole | None]:
        """Note a number.

        Returns:
            What it is, and the hole that it opens (NEXT) or helps to fill (MISSED).
        """
        if self.last is None or self.time is None or number > self.last:
            hole = self.expect(number, time)
            self.last, self.time = number, time
            return Seen.NEXT, hole
        for hole in self.holes:
            if hole.take(number):
                if not hole.missing:
                    self.holes.remove(hole)
                return Seen.MISSED, hole
        if time > self.time:
            self.last, self.time = number, time
            return Seen.RESTARTED, None
        return Seen.REPEATED, None

    def expect(self, number: int, time: datetime) -> Hole | None:
        """Note that a number is the next to come: what is missing before it is a hole."""
        hole = None
        if self.last is not None and self.time is not None and number > self.last + 1:
            # Numbers rule: an exchange's clock may go back between two of them.
            start, end = sorted((self.time, time))
            hole = Hole(self.last + 1, number - 1, start, end, self.cause)
            self.holes.append(hole)
        if self.last is None or number > self.last + 1:
            self.last, self.time = number - 1, time
        self.cause = "sequence"
        return hole
