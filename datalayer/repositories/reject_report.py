"""Telling of rejected records: one line of the log a burst, and a count for the metrics."""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from datalayer.repositories.reject_rows import RejectKey

logger = logging.getLogger(__name__)


class RejectHook(Protocol):
    """Counts rejected records, as a counter of metrics does."""

    def __call__(self, key: RejectKey, count: int) -> None:
        """Add `count` records of a source, kind and rule."""


class RejectReporter:
    """Reports rejected records; to be called when the transaction that keeps them is committed.

    The first records of a source, kind and rule are logged at once; further ones are counted and logged together when
    `burst_s` seconds have gone by since the last line, with the next records or by `flush`. Only numbers and names are
    logged, never what a record says. Not safe to be called by two threads at once.

    Args:
        on_rejected: takes every count at once.
        burst_s: seconds between two lines about the same source, kind and rule.
        clock: seconds that never run backwards.
    """

    def __init__(
        self,
        on_rejected: RejectHook | None = None,
        *,
        burst_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_rejected = on_rejected
        self._burst_s = burst_s
        self._clock = clock
        self._logged_at: dict[RejectKey, float] = {}
        self._waiting: Counter[RejectKey] = Counter()

    def report(self, counts: Mapping[RejectKey, int]) -> None:
        """Count records and log them, unless a line about their like was logged just now."""
        for key, count in counts.items():
            if self._on_rejected is not None:
                self._on_rejected(key, count)
            self._waiting[key] += count
        now = self._clock()
        due = [
            key for key in self._waiting if now - self._logged_at.get(key, -self._burst_s) >= self._burst_s
        ]
        for key in due:
            self._log(key, now)

    def flush(self) -> None:
        """Log what was counted and not logged yet, as at the end of a process."""
        for key in list(self._waiting):
            self._log(key, self._clock())

    def _log(self, key: RejectKey, now: float) -> None:
        count, last = self._waiting.pop(key), self._logged_at.get(key)
        since = "" if last is None else f" in the last {now - last:.0f} s"
        self._logged_at[key] = now
        logger.warning(
            "%d %s from %s rejected by the rule %s%s; `datalayer rejects list --rule %s` shows them",
            count,
            key.kind,
            key.source,
            key.rule,
            since,
            key.rule,
        )
