"""Imbalances at each book as books and trades come in; what they mean stands in `datalayer.domain.imbalances`."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import numpy as np

from datalayer.domain.imbalances import IMBALANCE_PARTS, WINDOWS_S, OrderBookImbalances
from datalayer.domain.moments import EPOCH, utc_moment
from datalayer.domain.steps import check_scale, to_steps
from datalayer.domain.symbols import canonical_symbol
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from decimal import Decimal

    from datalayer.domain.order_book import OrderBook
    from datalayer.domain.trade import Trade

_SECOND_US: Final = 1_000_000
_WINDOWS_US: Final = tuple(window * _SECOND_US for window in WINDOWS_S)
_LONGEST_US: Final = max(_WINDOWS_US)
_SAFE_PRODUCT: Final = 2.0**51


class ImbalanceTracker:
    """Imbalances of one instrument at each of its books, from events one by one, in memory.

    What it returns is, bit by bit, what `imbalances_at_books` finds in the events that were added until then.

    *Order.* Events may come late and in any order. A late one takes its place by its exchange time and counts in every
    answer from then on; answers given before stay as they were given. No answer holds an event later than its book; a
    trade of the very time of a book counts if it was added before it. A book more than `late_s` behind the newest event is
    answered by NaN, since what its windows held may be forgotten; an event that no answer can hold any more is ignored.

    *Repeats.* A trade of a time and id that were added already, or a book of such a time, changes nothing, as it changes
    nothing in the database.

    *Memory.* What is kept reaches back 60 s and `late_s` from the newest event, at most twice that.

    One thread or task at a time. The events have been checked before (`DataValidator`): one with a time in the future would
    make all others late.

    Args:
        symbol: of the instrument, in any known spelling.
        size_scale: decimal digits of its sizes.
        since: from when on every event is added, aware: windows that begin earlier give NaN. After a gap in the feed
            begin again with a new tracker; if the database has the last minute, add that first and lose none.
        late_s: how late a book may be, in seconds.

    Raises:
        InvalidInputError: `since` is naive, `late_s` negative, the scale not 0 to 18, or the symbol names no pair.
    """

    __slots__ = ("_books", "_late_us", "_newest", "_scale", "_since", "_symbol", "_trade_ids", "_trades")

    def __init__(self, symbol: str, *, size_scale: int, since: datetime, late_s: float = 60.0) -> None:
        check_scale(size_scale, "size_scale")
        if not 0 <= late_s < math.inf:
            raise InvalidInputError("late_s", late_s, "give seconds, 0 or more")
        self._symbol = canonical_symbol(symbol)
        self._scale = size_scale
        self._since = self._newest = _microseconds(utc_moment(since, "since"))
        self._late_us = round(late_s * _SECOND_US)
        self._books = _Sums()
        self._trades = _Sums()
        self._trade_ids: dict[int, set[int]] = {}

    def add_trade(self, trade: Trade) -> None:
        """Take a trade in.

        Raises:
            ScaleError: its size has more decimals than the instrument's.
            InvalidInputError: it is of another instrument, or its time is naive.
        """
        at = self._time(trade)
        steps = _steps_of(trade.size, self._scale)
        if at <= self._advance(at):
            return
        ids = self._trade_ids.setdefault(at, set())
        if trade.trade_id not in ids:
            ids.add(trade.trade_id)
            self._trades.add(at, steps * trade.side, steps * abs(trade.side))

    def add_book(self, book: OrderBook) -> OrderBookImbalances:
        """Take a book in, and return the imbalances at its time; NaN: see the class, or nothing was traded.

        Raises:
            ScaleError: a size has more decimals than the instrument's.
            InvalidInputError: it is of another instrument, or its time is naive.
        """
        at = self._time(book)
        parts = self._parts(book)
        if at > self._advance(at) and not self._books.has(at):
            self._books.add(at, parts, 1)
        return OrderBookImbalances(self._symbol, book.ts, *self._means(at), *self._shares(at))

    def _time(self, event: OrderBook | Trade) -> int:
        if event.symbol != self._symbol:
            raise InvalidInputError("symbol", event.symbol, f"this is the tracker of {self._symbol}")
        return _microseconds(event.ts if event.ts.tzinfo is UTC else utc_moment(event.ts, "ts"))

    def _advance(self, at: int) -> int:
        """Move on to a time if it is newer; return up to when no answer can hold an event any more."""
        self._newest = max(self._newest, at)
        needless = max(self._since, self._newest - self._late_us - _LONGEST_US)
        self._books.forget(needless, self._late_us + _LONGEST_US)
        for gone in self._trades.forget(needless, self._late_us + _LONGEST_US):
            del self._trade_ids[gone]
        return needless

    def _parts(self, book: OrderBook) -> int:
        bids = len(book.bid_sizes)
        steps = to_steps(
            np.concatenate((book.bid_sizes, book.ask_sizes)), self._scale, field="sizes"
        ).tolist()
        bid, ask = sum(steps[:bids]), sum(steps[bids:])
        return round(float(bid - ask) / float(max(bid + ask, 1)) * IMBALANCE_PARTS)

    def _means(self, at: int) -> list[float]:
        sums = self._books.between(self._starts(at), at)
        return [float(parts) / count / IMBALANCE_PARTS if count else math.nan for parts, count in sums]

    def _shares(self, at: int) -> list[float]:
        sums = self._trades.between(self._starts(at), at)
        return [float(signed) / float(total) if total else math.nan for signed, total in sums]

    def _starts(self, at: int) -> list[int]:
        """Return where the windows begin; at `at` itself, so that they are empty, where not all of them is known."""
        if at < self._newest - self._late_us:
            return [at] * len(_WINDOWS_US)
        return [at - length if at - length >= self._since else at for length in _WINDOWS_US]


class _Sums:
    """Pairs of integers at ascending times, kept as running sums: the sum over any window is one difference."""

    __slots__ = ("_first", "_second", "_times")

    def __init__(self) -> None:
        self._times: list[int] = []
        # One longer: the sums of all before each time, and of all.
        self._first = [0]
        self._second = [0]

    def has(self, at: int) -> bool:
        place = bisect_left(self._times, at)
        return place < len(self._times) and self._times[place] == at

    def add(self, at: int, first: int, second: int) -> None:
        times, place = self._times, len(self._times)
        if times and at <= times[-1]:
            place = bisect_left(times, at)
        if place == len(times) or times[place] != at:
            times.insert(place, at)
            self._first.insert(place + 1, self._first[place])
            self._second.insert(place + 1, self._second[place])
        for later in range(place + 1, len(self._first)):
            self._first[later] += first
            self._second[later] += second

    def between(self, starts: list[int], until: int) -> list[tuple[int, int]]:
        """Return the sums over `(start, until]` for each of the starts."""
        end = bisect_right(self._times, until)
        first, second = self._first[end], self._second[end]
        places = [bisect_right(self._times, start, 0, end) for start in starts]
        return [(first - self._first[place], second - self._second[place]) for place in places]

    def forget(self, until: int, slack: int) -> list[int]:
        """Drop what is at `until` or before, once it reaches further back than `slack`; return the times dropped."""
        if not self._times or self._times[0] > until - slack:
            return []
        end = bisect_right(self._times, until)
        gone = self._times[:end]
        del self._times[:end], self._first[:end], self._second[:end]
        return gone


def _steps_of(size: float | Decimal, scale: int) -> int:
    # What `to_steps` does with the usual float, in a tenth of the time that an array of one takes.
    if isinstance(size, float) and abs(scaled := size * 10.0**scale) < _SAFE_PRODUCT:
        count = round(scaled)
        if count / 10.0**scale == size:
            return count
    return int(to_steps(np.array([size]), scale, field="size")[0])


def _microseconds(utc: datetime) -> int:
    since = utc - EPOCH
    return (since.days * 86_400 + since.seconds) * _SECOND_US + since.microseconds
