"""What waits for a subscriber: bounded, and filled from any thread."""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from datalayer.errors import SlowConsumerError
from datalayer.provider.updates import UpdateGap

if TYPE_CHECKING:
    from datetime import datetime

    from datalayer.provider.updates import WhenSlow


class Timed(Protocol):
    """Something with a time."""

    @property
    def ts(self) -> datetime:
        """Its time, aware."""


Item = TypeVar("Item", bound=Timed)


class UpdateQueue(Generic[Item]):
    """See the module.

    Args:
        symbol: canonical, for gaps and errors.
        stream: what it is of, for errors.
        max_lag: most items that wait.
        when_slow: what happens to more.
    """

    def __init__(self, symbol: str, stream: str, max_lag: int, when_slow: WhenSlow) -> None:
        self._symbol = symbol
        self._stream = stream
        self._max_lag = max_lag
        self._when_slow = when_slow
        self._items: deque[Item] = deque()
        self._gap: UpdateGap | None = None
        self._is_overrun = False
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> None:
        """Add an item; the oldest gives way, or the queue is overrun."""
        with self._lock:
            if self._is_overrun:
                return
            self._items.append(item)
            if len(self._items) <= self._max_lag:
                return
            if self._when_slow == "error":
                self._is_overrun = True
                self._items.clear()
            else:
                self._drop(self._items.popleft())

    def take(self) -> Item | UpdateGap | None:
        """Return the oldest item, or the gap in the place of those before it; None: nothing waits.

        Raises:
            SlowConsumerError: it was overrun.
        """
        with self._lock:
            if self._is_overrun:
                raise SlowConsumerError(self._symbol, self._stream, self._max_lag)
            if self._gap is not None:
                gap, self._gap = self._gap, None
                return gap
            return self._items.popleft() if self._items else None

    def _drop(self, item: Item) -> None:
        gap = self._gap
        first, dropped = (item.ts, 0) if gap is None else (gap.first, gap.dropped)
        self._gap = UpdateGap(self._symbol, dropped + 1, first, item.ts)
