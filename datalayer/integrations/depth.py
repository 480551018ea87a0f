"""A local copy of an order book, kept by the rules that Binance documents for update ids.

Diffs are collected until a snapshot is there. Those that end at or before the snapshot's update are dropped; the
first applied one must contain the update after the snapshot's, and each next one must begin right after the one before.
A message that was already seen is ignored, one that overlaps is applied, since sizes are absolute. Anything else is a
gap: the book says so once and is invalid until a new snapshot is applied.
Rules: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams#how-to-manage-a-local-order-book-correctly
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from datalayer.integrations.fields import INT64_MAX

if TYPE_CHECKING:
    from datalayer.integrations.fields import Levels

DEFAULT_BUFFER_DIFFS: Final = 3_000
"""Five minutes of the 100 ms stream: far longer than any REST snapshot takes."""


@dataclass(frozen=True, slots=True)
class DepthDiff:
    """Changed price levels of an order book, with their new absolute sizes; size 0 removes the level.

    Attributes:
        symbol: as the exchange writes it.
        event_time_us: when the message was made, microseconds since 1970 UTC.
        first_update_id: first update in this message.
        last_update_id: last update in this message.
        bids: levels as (price, size) in counts of 1e-8, as are `asks`.
    """

    symbol: str
    event_time_us: int
    first_update_id: int
    last_update_id: int
    bids: Levels
    asks: Levels


@dataclass(frozen=True, slots=True)
class DepthSnapshot:
    """The whole book up to some depth, best level first. It names no symbol and no time.

    Attributes:
        last_update_id: the last update contained.
        bids: levels as (price, size) in counts of 1e-8, as are `asks`.
    """

    last_update_id: int
    bids: Levels
    asks: Levels


class Ignored(StrEnum):
    """Why a diff did not change the book."""

    WAITING = "kept until a snapshot comes"
    OLD = "ends at or before the book's last update"


@dataclass(frozen=True, slots=True)
class Applied:
    """The book changed and is valid.

    Attributes:
        last_update_id: the last update that it contains.
        event_time_us: exchange time of that update; None after a snapshot alone, which carries no time; microseconds since 1970 UTC.
    """

    last_update_id: int
    event_time_us: int | None


@dataclass(frozen=True, slots=True)
class SequenceGap:
    """Updates are missing; the book is invalid until a new snapshot is applied.

    Attributes:
        expected_update_id: the update that should have come next.
        received_update_id: first update of the message that came instead.
        event_time_us: exchange time of that message.
    """

    expected_update_id: int
    received_update_id: int
    event_time_us: int


@dataclass(frozen=True, slots=True)
class CrossedBook:
    """Best bid and best ask crossed, so this copy is wrong; it is invalid until a new snapshot is applied.

    Attributes:
        last_update_id: the update that crossed it.
        best_bid_e8: in counts of 1e-8, as is `best_ask_e8`.
    """

    last_update_id: int
    best_bid_e8: int
    best_ask_e8: int


BookEvent: TypeAlias = Applied | SequenceGap | CrossedBook | Ignored


@dataclass(frozen=True, slots=True)
class TopLevels:
    """The best levels of both sides, best first, as (price, size) in counts of 1e-8; shorter where the book is."""

    bids: Levels
    asks: Levels


class BookRules(Protocol):
    """A local copy of an order book that knows the exchange's sequence rules, as `LocalOrderBook` is one."""

    @property
    def last_update_id(self) -> int | None:
        """The exchange's last update contained; None: the book is invalid, or the exchange has no such ids."""

    @property
    def is_valid(self) -> bool:
        """True from a fitting snapshot until a gap."""

    def apply_snapshot(self, snapshot: DepthSnapshot) -> BookEvent:
        """Start from a snapshot."""

    def apply_diff(self, diff: DepthDiff) -> BookEvent:
        """Apply changed levels, or say why not."""

    def find_top_levels(self, count: int) -> TopLevels | None:
        """Return the best levels; None: the book is invalid."""

    def reaches(self, count: int) -> bool:
        """Tell whether the best `count` levels are all known; a snapshot of limited depth shows no more than it has."""


class _Side:
    """One side: sizes by price, and the prices in ascending order.

    A book of a few thousand levels gets some fifty changes a message and almost all of them at known prices: a sorted
    list kept by bisection costs less than finding the best levels anew for each sample.
    """

    __slots__ = ("prices", "sizes")

    def __init__(self, levels: Levels) -> None:
        self.sizes = {price: size for price, size in levels if size}
        self.prices = sorted(self.sizes)

    def apply(self, levels: Levels) -> None:
        sizes, prices = self.sizes, self.prices
        for price, size in levels:
            if size:
                if price not in sizes:
                    insort(prices, price)
                sizes[price] = size
            elif sizes.pop(price, 0):
                # Removing a level that this copy does not have is normal: the snapshot has limited depth.
                del prices[bisect_left(prices, price)]

    def lowest(self, count: int) -> Levels:
        return tuple((price, self.sizes[price]) for price in self.prices[:count])

    def highest(self, count: int) -> Levels:
        return tuple((price, self.sizes[price]) for price in self.prices[: -count - 1 : -1])


class LocalOrderBook:
    """The order book of one symbol, fed with its messages in the order of arrival.

    Args:
        buffer_diffs: how many diffs are kept while a snapshot is awaited. The oldest is dropped beyond that; the
            snapshot then has to be newer, which the sequence check sees to.
        depth: levels of a side at which snapshots are cut off; None: they have all. What lies beyond the last of them is known
            only where it has changed since, so that those levels are never given out.
    """

    def __init__(self, *, buffer_diffs: int = DEFAULT_BUFFER_DIFFS, depth: int | None = None) -> None:
        self._depth = depth
        self._lowest_bid, self._highest_ask = 0, INT64_MAX
        self._waiting: deque[DepthDiff] = deque(maxlen=buffer_diffs)
        self._last_update_id: int | None = None
        self._bids = _Side(())
        self._asks = _Side(())

    @property
    def last_update_id(self) -> int | None:
        """The last update contained in the book, or None while it is invalid."""
        return self._last_update_id

    @property
    def is_valid(self) -> bool:
        """True from a fitting snapshot until a gap."""
        return self._last_update_id is not None

    def apply_snapshot(self, snapshot: DepthSnapshot) -> BookEvent:
        """Start from a snapshot, and apply the diffs that waited for it.

        Returns:
            `Applied`; `Ignored.OLD` if the valid book is already newer; `SequenceGap` if the snapshot ends before the
            waiting diffs begin (ask for a newer one, the diffs go on waiting).
        """
        if self._last_update_id is not None and snapshot.last_update_id <= self._last_update_id:
            return Ignored.OLD
        waiting = [diff for diff in self._waiting if diff.last_update_id > snapshot.last_update_id]
        if waiting and waiting[0].first_update_id > snapshot.last_update_id + 1:
            return _gap(snapshot.last_update_id, waiting[0])
        self._waiting.clear()
        self._bids, self._asks = _Side(snapshot.bids), _Side(snapshot.asks)
        self._lowest_bid = snapshot.bids[-1][0] if self._is_cut_off(snapshot.bids) else 0
        self._highest_ask = snapshot.asks[-1][0] if self._is_cut_off(snapshot.asks) else INT64_MAX
        events = [self._settle(snapshot.last_update_id, None), *map(self.apply_diff, waiting)]
        broken = (event for event in events if isinstance(event, SequenceGap | CrossedBook))
        return next(broken, events[-1])

    def apply_diff(self, diff: DepthDiff) -> BookEvent:
        """Apply one message of the diff stream, or say why it was not applied.

        Returns:
            `Applied`, `Ignored.WAITING` or `Ignored.OLD`; `SequenceGap` or `CrossedBook` once at the message that broke
            the book, after which messages wait for a snapshot.
        """
        known = self._last_update_id
        if known is None:
            self._waiting.append(diff)
            return Ignored.WAITING
        if diff.last_update_id <= known:
            return Ignored.OLD
        if diff.first_update_id > known + 1:
            self._invalidate(diff)
            return _gap(known, diff)
        self._bids.apply(diff.bids)
        self._asks.apply(diff.asks)
        return self._settle(diff.last_update_id, diff.event_time_us)

    def find_top_levels(self, count: int) -> TopLevels | None:
        """Return the best `count` levels of each side, fewer where more are not known; None while the book is invalid."""
        if self._last_update_id is None:
            return None
        bids, asks = self._bids.highest(count), self._asks.lowest(count)
        return TopLevels(
            tuple(level for level in bids if level[0] >= self._lowest_bid),
            tuple(level for level in asks if level[0] <= self._highest_ask),
        )

    def reaches(self, count: int) -> bool:
        """Tell whether the best `count` levels of each side lie within the last snapshot."""
        bids, asks = self._bids.prices, self._asks.prices
        bid = bids[-count] if len(bids) >= count else 1
        ask = asks[count - 1] if len(asks) >= count else INT64_MAX - 1
        return bid >= self._lowest_bid and ask <= self._highest_ask

    def _is_cut_off(self, levels: Levels) -> bool:
        return self._depth is not None and len(levels) >= self._depth

    def _settle(self, update_id: int, event_time_us: int | None) -> BookEvent:
        bids, asks = self._bids.prices, self._asks.prices
        if bids and asks and bids[-1] >= asks[0]:
            crossed = CrossedBook(update_id, bids[-1], asks[0])
            self._invalidate(None)
            return crossed
        self._last_update_id = update_id
        return Applied(update_id, event_time_us)

    def _invalidate(self, first_waiting: DepthDiff | None) -> None:
        self._last_update_id = None
        self._bids, self._asks = _Side(()), _Side(())
        self._waiting.clear()
        if first_waiting is not None:
            self._waiting.append(first_waiting)


def _gap(last_update_id: int, diff: DepthDiff) -> SequenceGap:
    return SequenceGap(last_update_id + 1, diff.first_update_id, diff.event_time_us)
