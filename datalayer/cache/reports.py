"""What a cache tells of itself."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Final

from datalayer.cache.guarded_store import wall_clock
from datalayer.cache.loads import CacheLoads
from datalayer.cache.statistics import KINDS, CacheStatistics, KindStatistics
from datalayer.cache.times import SECOND_US, microseconds
from datalayer.domain.moments import from_microseconds
from datalayer.domain.timeframe import Timeframe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from datalayer.cache.settings import CacheSettings
    from datalayer.cache.symbol_cache import SymbolCache


_PARTS: Final = (
    *(f"candles.{timeframe.label}" for timeframe in Timeframe),
    "trades",
    "order_book",
    "imbalances",
)


class CacheReports(CacheLoads):
    """The side of `DataCacheManager` that answers questions about itself."""

    def __init__(
        self, settings: CacheSettings | None = None, *, clock: Callable[[], datetime] = wall_clock
    ) -> None:
        super().__init__(settings, clock=clock)
        self._hits: Counter[str] = Counter()
        self._misses: Counter[str] = Counter()

    @property
    def statistics(self) -> CacheStatistics:
        """Hits, misses, evictions, age and memory, by kind of data."""
        with self._lock:
            now = self._read_clock()
            self._store.expire(now)
            states = list(self._store.values())
            kinds = {kind: self._of_kind(kind, states, now) for kind in KINDS}
            losses = sum(state.candles.losses for state in states)
            return CacheStatistics(
                kinds, len(states), self._store.evicted_symbols, self._store.late_candles + losses
            )

    def evict(self) -> None:
        """Drop what is too old, of all symbols. Writing does so by itself; this is for a feed that stopped."""
        with self._lock:
            now = self._read_clock()
            self._store.expire(now)
            for state in self._store.values():
                state.drop_old(now)

    def get_ages(self, symbol: str, *, as_of: datetime | None = None) -> dict[str, float]:
        """Return how old the newest data of each part are, as `QualityFlags.staleness_s` has it.

        Args:
            symbol: in any known spelling.
            as_of: ages at this moment, of what was visible then, aware. None: now.

        Returns:
            Seconds by `candles.1s` to `candles.1d` (since the close of the last candle that was over), `trades`, `order_book`
            and `imbalances`; NaN: there is nothing.

        Raises:
            InvalidInputError: `symbol` names no pair, or `as_of` is naive.
        """
        with self._lock:
            now = self._read_clock()
            at = now if as_of is None else microseconds(as_of, "as_of")
            state = self._find(symbol)
            times = {} if state is None else state.last_times(at)
        return ages_s(at, times)

    def get_unknown_candles(self, symbol: str) -> dict[Timeframe, tuple[datetime, ...]]:
        """Return the open times of candles that changed in a way that cannot be computed here, and are absent for it.

        `warm_up` loads them, once what changed has been written to the database.

        Args:
            symbol: in any known spelling.

        Returns:
            Ascending, aware; only timeframes that have some.

        Raises:
            InvalidInputError: `symbol` names no pair.
        """
        with self._lock:
            self._read_clock()
            state = self._find(symbol)
            if state is None:
                return {}
            state.candles.settle(self._now_us)
            holes = {timeframe: series.holes() for timeframe, series in state.candles.series.items()}
        return {
            timeframe: tuple(map(from_microseconds, times)) for timeframe, times in holes.items() if times
        }

    def _note(self, kind: str, *, is_hit: bool) -> None:
        (self._hits if is_hit else self._misses)[kind] += 1

    def _of_kind(self, kind: str, states: Iterable[SymbolCache], now: int) -> KindStatistics:
        newest = [time for state in states if (time := state.newest()[kind]) is not None]
        return KindStatistics(
            hits=self._hits[kind],
            misses=self._misses[kind],
            evictions=self._store.evictions[kind] + sum(state.evictions()[kind] for state in states),
            items=sum(state.items()[kind] for state in states),
            newest_age_s=(now - max(newest)) / SECOND_US if newest else None,
            memory_bytes=sum(state.memory_bytes()[kind] for state in states),
        )


def ages_s(at: int, times: Mapping[str, int]) -> dict[str, float]:
    """Return the age in seconds of each part, of the times of the newest items."""
    return {part: _age_s(at, times.get(part)) for part in _PARTS}


def _age_s(at: int, time: int | None) -> float:
    return math.nan if time is None else (at - time) / SECOND_US
