"""The recent order books of one symbol, as the immutable objects that they came as."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from datalayer.cache.times import microseconds

if TYPE_CHECKING:
    from datalayer.domain.order_book import OrderBook

_OBJECT_BYTES: Final = 700
"""About what a book takes beside the data of its arrays."""


class OrderBookSeries:
    """Order books ascending by time; of those of one time the first is kept, as in the database.

    Args:
        limit: most books.

    Attributes:
        evicted: number of books dropped for want of room or for their age.
        nbytes: about the memory that the books take, in bytes.
    """

    __slots__ = ("_books", "_limit", "_times", "evicted", "nbytes")

    def __init__(self, limit: int) -> None:
        self._times: list[int] = []
        self._books: list[OrderBook] = []
        self._limit = limit
        self.evicted = 0
        self.nbytes = 0

    def __len__(self) -> int:
        return len(self._times)

    @property
    def newest(self) -> int | None:
        """Time of the last book; None: there is none."""
        return self._times[-1] if self._times else None

    def put(self, since: int, time: int, book: OrderBook) -> bool:
        """Take in the book of a time, unless it is before `since`; tell whether it is a new one."""
        if time < since:
            self.evicted += 1
            return False
        position = bisect_left(self._times, time)
        if position < len(self._times) and self._times[position] == time:
            return False
        self._times.insert(position, time)
        self._books.insert(position, book)
        self.nbytes += _size(book)
        self._drop(len(self._times) - self._limit)
        return True

    def discard(self, book: OrderBook) -> bool:
        """Take a book out again; tell whether it was there."""
        time = microseconds(book.ts, "ts")
        position = bisect_left(self._times, time)
        if position == len(self._times) or self._books[position] != book:
            return False
        del self._times[position]
        self.nbytes -= _size(self._books.pop(position))
        return True

    def drop_before(self, time: int) -> None:
        """Drop the books before a time."""
        self._drop(bisect_left(self._times, time))

    def last_time(self, end: int) -> int | None:
        """Return the time of the last book before a time; None: there is none."""
        position = bisect_left(self._times, end) - 1
        return self._times[position] if position >= 0 else None

    def last(self, begin: int, end: int) -> OrderBook | None:
        """Return the last book with a time in `[begin, end)`; None: there is none."""
        position = bisect_left(self._times, end) - 1
        return self._books[position] if position >= 0 and self._times[position] >= begin else None

    def between(self, begin: int, end: int) -> tuple[OrderBook, ...]:
        """Return the books with times in `[begin, end)`."""
        return tuple(self._books[bisect_left(self._times, begin) : bisect_left(self._times, end)])

    def _drop(self, count: int) -> None:
        if count > 0:
            self.nbytes -= sum(map(_size, self._books[:count]))
            del self._times[:count], self._books[:count]
            self.evicted += count


def _size(book: OrderBook) -> int:
    arrays = (book.bid_prices, book.bid_sizes, book.ask_prices, book.ask_sizes)
    return _OBJECT_BYTES + sum(array.nbytes for array in arrays)
