"""The symbols of a cache behind one lock, and its clock."""

from __future__ import annotations

from datetime import UTC, datetime
from threading import Lock
from time import time_ns
from typing import TYPE_CHECKING

from datalayer.cache.listeners import Listeners
from datalayer.cache.settings import CacheSettings
from datalayer.cache.symbol_cache import SymbolStore
from datalayer.cache.times import BEFORE_ALL_US, SECOND_US, microseconds
from datalayer.domain.moments import utc_moment
from datalayer.domain.symbols import canonical_symbol

if TYPE_CHECKING:
    from collections.abc import Callable

    from datalayer.cache.symbol_cache import SymbolCache


def wall_clock() -> datetime:
    """Return the time of this machine in UTC."""
    return datetime.now(UTC)


class GuardedStore:
    """The state of a cache. Whoever touches it holds the lock.

    Args:
        settings: how much is kept.
        clock: returns the time, aware.
    """

    def __init__(
        self, settings: CacheSettings | None = None, *, clock: Callable[[], datetime] = wall_clock
    ) -> None:
        self.settings = settings or CacheSettings()
        self._clock = clock
        self._lock = Lock()
        self._listeners = Listeners()
        self._now_us = BEFORE_ALL_US
        self._window_us = round(self.settings.window_s * SECOND_US)
        self._settle_us = round(self.settings.settle_s * SECOND_US)
        self._store = SymbolStore(self.settings, lambda: self._now_us)

    @property
    def now(self) -> datetime:
        """The time by the clock of this cache, UTC."""
        return utc_moment(self._clock(), "clock")

    def _read_clock(self) -> int:
        # Each write passes here: the clock of this machine is read without a datetime.
        is_wall = self._clock is wall_clock
        self._now_us = time_ns() // 1_000 if is_wall else microseconds(self._clock(), "clock")
        return self._now_us

    def _writable(self, symbol: str) -> SymbolCache:
        """Return a symbol to put something into, new if it is not there."""
        now = self._read_clock()
        found = self._store.fresh.get(symbol)
        if found is not None and now < found.maintain_at:
            return found
        return self._store.writable(canonical_symbol(symbol), now)

    def _since(self) -> int:
        """Return from when on events are kept. The clock has been read."""
        return self._now_us - self._window_us

    def _find(self, symbol: str) -> SymbolCache | None:
        """Return a symbol, in any known spelling, or None. The clock has been read."""
        found = self._store.find(symbol)
        return self._store.find(canonical_symbol(symbol)) if found is None else found
