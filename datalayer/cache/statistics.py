"""What the cache tells of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

KINDS: Final = ("candles", "trades", "order_books", "imbalances")


@dataclass(frozen=True, slots=True)
class KindStatistics:
    """Figures of one kind of data, over all symbols, since the cache was made.

    Attributes:
        hits: answers that had something.
        misses: answers that had nothing.
        evictions: items dropped for their age, for want of room, or with their symbol.
        items: items that are kept now.
        newest_age_s: age of the newest item in seconds, by exchange time (of a candle: since its close); below zero where
            the exchange's clock is ahead; None: nothing is kept.
        memory_bytes: memory that they take, about.
    """

    hits: int
    misses: int
    evictions: int
    items: int
    newest_age_s: float | None
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """Figures of a cache.

    Attributes:
        kinds: by `candles`, `trades`, `order_books` and `imbalances`.
        symbols: number of symbols that are kept.
        evicted_symbols: number of symbols that were dropped, for want of room or because nothing came for them.
        late_candles: 1s candles that came, or were taken back, after `correction_s`; each made the candles that it belongs
            to unknown.
    """

    kinds: Mapping[str, KindStatistics]
    symbols: int
    evicted_symbols: int
    late_candles: int

    @property
    def memory_bytes(self) -> int:
        """Memory that everything takes, about."""
        return sum(kind.memory_bytes for kind in self.kinds.values())
