"""How a provider answers."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import isfinite

from datalayer.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """How a provider answers. Answers of two providers are equal only if these are.

    Attributes:
        depth: candles of each timeframe that indicators are computed over, however many are given: so a value does not
            depend on how many rows somebody asks for. A cache has to keep some more (`CacheSettings.candles_per_timeframe`),
            else a live answer asks the database.
        window_s: seconds that an order book and its imbalances may be old, and how far back 1s candles are given, in live
            and in historical answers; `CacheSettings.window_s` should be the same.
        settle_s: seconds that a live answer waits for data that may still be on their way: its `as_of` is the last moment
            of which everything has come, and at most so long ago. 0: `as_of` is the moment of the call.
        stale_after_s: seconds after which a part is marked as stale when nothing new has come; of candles in addition to
            their length.

    Raises:
        InvalidInputError: a value is below zero, or `depth` or `window_s` is zero.
    """

    depth: int = 480
    window_s: float = 300.0
    settle_s: float = 2.0
    stale_after_s: float = 10.0

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            value = getattr(self, name)
            if not (isfinite(value) and value >= (name in {"depth", "window_s"})):
                raise InvalidInputError(
                    name, value, "give a number above zero (settle_s, stale_after_s: or zero)"
                )
