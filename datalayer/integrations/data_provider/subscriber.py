"""One subscriber of the drop-in: a callback with a thread of its own and a bounded queue before it."""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SubscriberStatistics:
    """What became of a subscriber's events.

    Attributes:
        delivered: calls of its callback that returned.
        failed: calls that raised; they are logged.
        dropped: events that it was too slow for.
        waiting: events that wait now.
    """

    delivered: int
    failed: int
    dropped: int
    waiting: int


class Subscriber:
    """Calls back in a thread of its own, so that neither a slow callback nor one that raises concerns anybody else.

    While `max_waiting` events wait, the oldest gives way to each further one: what a live system does with an event that is late
    by so much is skip it. What was dropped is counted, and logged once for each time that the queue runs over.

    Args:
        name: for logs and the thread.
        callback: is called with each event, one at a time, in the order in which they came.
        max_waiting: most events that wait.
    """

    def __init__(self, name: str, callback: Callable[[Any], object], max_waiting: int) -> None:
        self.name = name
        self._callback = callback
        self._max_waiting = max_waiting
        self._events: deque[Callable[[], Any]] = deque()
        self._changed = threading.Condition()
        self._is_closed = self._is_over = False
        self._delivered = self._failed = self._dropped = 0
        self._thread = threading.Thread(target=self._work, name=f"datalayer callback {name}", daemon=True)
        self._thread.start()

    @property
    def statistics(self) -> SubscriberStatistics:
        """What became of its events so far."""
        with self._changed:
            return SubscriberStatistics(self._delivered, self._failed, self._dropped, len(self._events))

    def put(self, event: Callable[[], Any]) -> None:
        """Let an event wait; it is made in the subscriber's thread."""
        with self._changed:
            if self._is_closed:
                return
            if len(self._events) >= self._max_waiting:
                self._events.popleft()
                self._note_dropped(1)
            else:
                self._is_over = False
            self._events.append(event)
            self._changed.notify()

    def note_dropped(self, count: int) -> None:
        """Count events that were dropped before they came here."""
        with self._changed:
            self._note_dropped(count)

    def close(self) -> None:
        """End it: no call begins after the one that runs. May be repeated, and called by the callback itself."""
        with self._changed:
            self._is_closed = True
            self._events.clear()
            self._changed.notify()

    def join(self, timeout_s: float) -> None:
        """Wait for the call that runs; at once in the callback itself."""
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    def _note_dropped(self, count: int) -> None:
        self._dropped += count
        if not self._is_over:
            self._is_over = True
            logger.warning(
                "subscriber %s is too slow: %d events wait, the oldest are dropped",
                *(self.name, self._max_waiting),
            )

    def _next(self) -> Callable[[], Any] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._is_closed)
            return None if self._is_closed else self._events.popleft()

    def _work(self) -> None:
        while (event := self._next()) is not None:
            try:
                self._callback(event())
            except Exception:
                logger.exception("the callback of subscriber %s failed", self.name)
                with self._changed:
                    self._failed += 1
            else:
                with self._changed:
                    self._delivered += 1
