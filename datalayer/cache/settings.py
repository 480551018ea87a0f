"""How much the cache keeps."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import isfinite
from typing import Final

from datalayer.errors import InvalidInputError

_LONGEST_SETTLING_S: Final = 60.0
_SHORTEST_CORRECTION_S: Final = 60.0
_LEAST_CANDLES: Final = 60


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """How much is kept of each symbol, and of how many symbols.

    Attributes:
        window_s: how far back 1s candles, trades, order books and imbalances are given, in seconds.
        correction_s: how far back 1s candles are kept, in seconds, so that late ones can still correct the candles of
            higher timeframes; at least `window_s` and a minute.
        candles_per_timeframe: most candles of each timeframe above 1s; at least 60, of which the next hour is made.
        settle_s: seconds that a rolled-up candle which is over waits for its last 1s candles, unless it is known that
            none is missing; up to 60. With 0 it counts as closed at once, be its last second there or not.
        max_trades: most trades of a symbol.
        max_order_books: most order books of a symbol, and most imbalances.
        max_symbols: most symbols; the one that was used least recently, to within half a minute, goes first.
        symbol_ttl_s: seconds after which a symbol that nothing was put into is forgotten.

    Raises:
        InvalidInputError: a value is not above zero (`settle_s`: below zero or above 60), or `correction_s` or
            `candles_per_timeframe` is too small.
    """

    window_s: float = 300.0
    correction_s: float = 3_600.0
    candles_per_timeframe: int = 500
    settle_s: float = 2.0
    max_trades: int = 200_000
    max_order_books: int = 10_000
    max_symbols: int = 256
    symbol_ttl_s: float = 86_400.0

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self) if field.name != "settle_s"):
            value = getattr(self, name)
            if not (isfinite(value) and value > 0):
                raise InvalidInputError(name, value, "give a number above zero")
        if self.candles_per_timeframe < _LEAST_CANDLES:
            raise InvalidInputError("candles_per_timeframe", self.candles_per_timeframe, "give at least 60")
        if not 0 <= self.settle_s <= _LONGEST_SETTLING_S:
            raise InvalidInputError("settle_s", self.settle_s, "give 0 to 60 seconds")
        if self.correction_s < max(self.window_s, _SHORTEST_CORRECTION_S):
            raise InvalidInputError(
                "correction_s", self.correction_s, f"give at least window_s={self.window_s} and 60 seconds"
            )
