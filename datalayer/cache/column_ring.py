"""Rows by columns in ascending order of time, cheap to append to and to drop the oldest of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_LEAST_ROOM: Final = 64


class ColumnRing:
    """A window of rows on arrays with room at both ends; row 0 of the integers is the time.

    The window slides through the arrays as rows come and go; at their end it moves to new ones of twice its size, which
    costs nothing a row and gives back what a burst took. So any part of it is one slice. Positions count from the oldest
    row. Views are valid until the next change; `copied` is for those who keep what they get.

    Args:
        ints: number of int64 columns.
        floats: number of float64 columns.

    Attributes:
        version: another number after every change.
    """

    __slots__ = ("_end", "_floats", "_ints", "_newest", "_start", "version")

    def __init__(self, ints: int, floats: int) -> None:
        self._ints = np.empty((ints, _LEAST_ROOM), np.int64)
        self._floats = np.empty((floats, _LEAST_ROOM), np.float64)
        self._start = self._end = 0
        self._newest = 0
        self.version = 0

    def __len__(self) -> int:
        return self._end - self._start

    @property
    def nbytes(self) -> int:
        """Memory of the arrays, in bytes."""
        return self._ints.nbytes + self._floats.nbytes

    @property
    def newest(self) -> int | None:
        """Time of the last row; None: there is none."""
        return self._newest if self._end > self._start else None

    def find(self, time: int) -> int:
        """Return the position of the first row at or after a time; the length if there is none."""
        if self._end == self._start or time > self._newest:
            return self._end - self._start
        return int(self._ints[0, self._start : self._end].searchsorted(time))

    def has(self, position: int, time: int) -> bool:
        """Tell whether the row at a position, perhaps behind the last one, is of that time."""
        return position < len(self) and self._ints.item(0, self._start + position) == time

    def ints(self, position: int) -> list[int]:
        """Return the integers of one row."""
        values: list[int] = self._ints[:, self._start + position].tolist()
        return values

    def floats(self, position: int) -> list[float]:
        """Return the floats of one row."""
        values: list[float] = self._floats[:, self._start + position].tolist()
        return values

    def columns(self, begin: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return views of the rows from position `begin` to before `end`: `[ints, n]` and `[floats, n]`."""
        rows = slice(self._start + begin, self._start + end)
        return self._ints[:, rows], self._floats[:, rows]

    def copied(
        self, begin: int, end: int, more: Sequence[tuple[Sequence[int], Sequence[float]]] = ()
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return copies, read-only, with `more` rows behind them."""
        count = max(end - begin, 0)
        views, room = self.columns(begin, end), count + len(more)
        ints, floats = np.empty((len(views[0]), room), np.int64), np.empty((len(views[1]), room))
        ints[:, :count], floats[:, :count] = views
        for place, row in enumerate(more, count):
            ints[:, place], floats[:, place] = row
        ints.flags.writeable = floats.flags.writeable = False
        return ints, floats

    def insert(self, position: int, ints: Sequence[int], floats: Sequence[float]) -> None:
        """Put a row in front of the one at `position`; the caller keeps the order."""
        if self._end == self._ints.shape[1]:
            self._move()
        place, end = self._start + position, self._end
        if place < end:
            self._ints[:, place + 1 : end + 1] = self._ints[:, place:end]
            self._floats[:, place + 1 : end + 1] = self._floats[:, place:end]
        else:
            self._newest = ints[0]
        self._end = end + 1
        self.replace(position, ints, floats)

    def extend(self, ints: NDArray[np.int64], floats: NDArray[np.float64]) -> None:
        """Put rows behind the last one, `[ints, n]` and `[floats, n]`, ascending and all later than it."""
        count = ints.shape[1]
        if self._end + count > self._ints.shape[1]:
            self._move(count)
        self.version += 1
        places = slice(self._end, self._end + count)
        self._ints[:, places] = ints
        self._floats[:, places] = floats
        self._end += count
        self._newest = ints.item(0, -1)

    def replace(self, position: int, ints: Sequence[int], floats: Sequence[float]) -> None:
        """Change a row; its time stays the same."""
        self.version += 1
        place = self._start + position
        self._ints[:, place] = ints
        self._floats[:, place] = floats

    def delete(self, position: int) -> None:
        """Take a row out."""
        self.version += 1
        place, end = self._start + position, self._end
        self._ints[:, place : end - 1] = self._ints[:, place + 1 : end]
        self._floats[:, place : end - 1] = self._floats[:, place + 1 : end]
        self._end = end - 1
        if self._end > self._start:
            self._newest = self._ints.item(0, self._end - 1)

    def drop_first(self, count: int) -> None:
        """Take the oldest rows out."""
        self.version += 1
        self._start += count

    def _move(self, more: int = 1) -> None:
        live = len(self)
        room = max(_LEAST_ROOM, 2 * live, live + more)
        for name, old in (("_ints", self._ints), ("_floats", self._floats)):
            new = np.empty((old.shape[0], room), old.dtype)
            new[:, :live] = old[:, self._start : self._end]
            setattr(self, name, new)
        self._start, self._end = 0, live
