"""Up to when a live answer can say what was visible.

Data are on their way for a while: at any moment the last second of trades, or a book, may not have come yet. An answer that
takes what is there for all that there is could not be had again from history. So it is of the last moment of which everything
has come: the newest order book says that of the books before it; a candle says it until the next one has to close. What does
not come is waited for no longer than `settle_s`, and taken for silent from then on. Where the cache has nothing of a symbol,
another process may be writing it: it gets the same `settle_s`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

from datalayer.cache.times import SECOND_US, microseconds
from datalayer.repositories.candle_columns import SOURCES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from datalayer.cache import CacheSnapshot, CandleArrays
    from datalayer.domain.timeframe import Timeframe

EventPart: TypeAlias = Literal["order_book", "imbalances"]
"""A part of a snapshot that is no candle."""

_STORED: Final = SOURCES.index("stored")
_FORMING: Final = SOURCES.index("forming")


@dataclass(frozen=True, slots=True)
class Horizon:
    """See the module. Times are microseconds since 1970.

    Attributes:
        as_of: the last moment of which everything has come, or is not waited for any more.
        candles_until: by timeframe, up to when it is known from the data that no candle is missing; absent: the cache
            cannot say.
        unconfirmed_s: for each part that is taken for silent, seconds before `as_of`.
    """

    as_of: int
    candles_until: Mapping[Timeframe, int]
    unconfirmed_s: Mapping[str, float]


def find_horizon(now: CacheSnapshot, *, until: int, settle_us: int, events: Iterable[EventPart]) -> Horizon:
    """Return the horizon of one symbol.

    Args:
        now: what the cache has now.
        until: latest moment in question, in microseconds.
        settle_us: see `ProviderSettings.settle_s`.
        events: those that matter beside candles.
    """
    known = {t: found for t, arrays in now.candles.items() if (found := _known_until(arrays)) is not None}
    parts = {f"candles.{timeframe.label}": found for timeframe, found in known.items()}
    there = {name: event for name in events if (event := getattr(now, name)) is not None}
    parts |= {name: microseconds(event.ts, "ts") for name, event in there.items()}
    latest = microseconds(now.as_of, "as_of") - settle_us
    as_of = min([until, *(max(found, latest) for found in parts.values())]) if parts else min(until, latest)
    waited = {part: (as_of - found) / SECOND_US for part, found in parts.items() if found < as_of}
    return Horizon(as_of, known, waited)


def _known_until(arrays: CandleArrays) -> int | None:
    """Return the last moment at which the candles that are closed are known, all of them."""
    if arrays.complete_until is None:
        return None
    length = int(arrays.timeframe) * SECOND_US
    until = microseconds(arrays.complete_until, "complete_until")
    sources = arrays.sources
    end = len(sources) - int(len(sources) > 0 and sources[-1] == _FORMING)
    if end > 1 and sources[end - 1] != _STORED and sources[end - 2] == _STORED:
        # The exchange's own candle is on its way, and will take the place of the one that was made here.
        until = min(until, int(arrays.timestamps.view(np.int64)[end - 1]))
    return until + length - 1
