"""One candle as the cache keeps it, and how several become one."""

from __future__ import annotations

from decimal import Context, Decimal
from enum import IntEnum
from functools import reduce
from math import isfinite
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from datalayer.cache.times import SECOND_US, microseconds
from datalayer.domain.candle import UNKNOWN_COUNT, Candle
from datalayer.domain.moments import from_microseconds
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from datalayer.domain.timeframe import Timeframe

INTS: Final = 4
FLOATS: Final = 5
TIME, COUNT, ORIGIN, MINUTES = range(INTS)
PACKED: Final = Struct("=q5d3q")
"""Packs the fields of a `Row`."""
_PLACES_OF_INTS: Final = [0, 6, 7, 8]

_DECIMALS: Final = Context(prec=60)
_GUESSED_STEPS: Final = 1e8
# Below this, multiplying by the steps and rounding finds the count, and sums of counts are exact.
_SAFE_COUNT: Final = 2.0**51


class Origin(IntEnum):
    """Where a candle in the cache comes from. The values are ordered: from `PUT` on it was stored at its timeframe."""

    FORMING = -1
    """Made, or handed in, before its close."""
    ROLLED_UP = 0
    """Made here of 1s candles."""
    AGGREGATE = 1
    """Made of 1s candles by the database, or of its minutes, and loaded."""
    GENERATED = 2
    """Made by the database of longer candles, and loaded; no part of longer ones here."""
    PUT = 3
    """Handed in at this timeframe."""
    LOADED = 4
    """Loaded from the database, where it is stored at this timeframe."""


class Row(NamedTuple):
    """A candle: open time in microseconds, prices, volume, and what comes with them.

    `trade_count` is -1 where it is unknown, `origin` an `Origin`, and `minutes` says for how many minutes of a rolled-up candle
    there are 1s candles (0 if unknown, and of others).
    """

    ts: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    trade_count: int = UNKNOWN_COUNT
    origin: int = Origin.PUT
    minutes: int = 0

    @property
    def floats(self) -> tuple[float, ...]:
        """Prices and volume."""
        return self[1 : 1 + FLOATS]

    @property
    def ints(self) -> tuple[int, int, int, int]:
        """Time, count, origin and minutes."""
        return self.ts, self.trade_count, self.origin, self.minutes

    def repeats(self, other: Row) -> bool:
        """Tell whether another row of the same time says the same; a count that it leaves out does not differ."""
        return self.floats == other.floats and self.trade_count in (UNKNOWN_COUNT, other.trade_count)


def row_of(candle: Candle) -> Row:
    """Return a candle as a row.

    Raises:
        InvalidInputError: its time is naive or no open time of its timeframe, or a number is not finite.
    """
    count = candle.trade_count
    values = (
        microseconds(candle.ts, "ts"),
        float(candle.open),
        float(candle.high),
        float(candle.low),
        float(candle.close),
        float(candle.volume),
        UNKNOWN_COUNT if count is None else count,
        Origin.PUT,
        0,
    )
    row = tuple.__new__(Row, values)  # as Row(...), in half the time
    check_row(row, candle.timeframe)
    return row


def unpacked(rows: bytes | bytearray) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return rows that were packed one after the other by `PACKED`, as `[INTS, n]` and `[FLOATS, n]`."""
    values = np.frombuffer(rows, np.int64).reshape(-1, INTS + FLOATS).T
    return values[_PLACES_OF_INTS], values.view(np.float64)[1 : 1 + FLOATS]


def candle_of(symbol: str, timeframe: Timeframe, row: Row) -> Candle:
    """Return a row as a closed candle."""
    count = None if row.trade_count == UNKNOWN_COUNT else row.trade_count
    prices = row.open, row.high, row.low, row.close
    return Candle(symbol, timeframe, from_microseconds(row.ts), *prices, row.volume, count)


def check_row(row: Row, timeframe: Timeframe) -> None:
    """Refuse a row that would spoil what is made of it.

    Raises:
        InvalidInputError: its time is no open time of the timeframe, or a number is not finite.
    """
    if row.ts % (timeframe * SECOND_US):
        raise InvalidInputError("ts", row.ts, f"is no open time (µs) of a candle of {timeframe.label}")
    if not isfinite(row.open + row.high + row.low + row.close + row.volume):
        raise InvalidInputError("candle", row, "has a number that is not finite; validate it first")


def merged(ts: int, ints: NDArray[np.int64], floats: NDArray[np.float64], minutes: int) -> Row:
    """Return the candle at `ts` that is made of shorter ones, at least one, ascending.

    Volume is the float64 nearest to the exact decimal sum, as from the database. The count is unknown if that of one is.

    Args:
        ts: its open time.
        ints: int64 `[INTS, n]`.
        floats: float64 `[FLOATS, n]`.
        minutes: of the candle.
    """
    opens, highs, lows, closes, volumes = floats
    counts = ints[COUNT]
    return Row(
        ts,
        opens.item(0),
        highs.max().item(),
        lows.min().item(),
        closes.item(-1),
        exact_total(volumes),
        UNKNOWN_COUNT if counts.min() < 0 else counts.sum().item(),
        Origin.ROLLED_UP,
        minutes,
    )


def continued(row: Row, last: Row) -> Row:
    """Return a rolled-up candle with what came after it."""
    counts = row.trade_count, last.trade_count
    return Row(
        row.ts,
        row.open,
        max(row.high, last.high),
        min(row.low, last.low),
        last.close,
        exact_total(np.array((row.volume, last.volume))),
        UNKNOWN_COUNT if UNKNOWN_COUNT in counts else sum(counts),
        Origin.ROLLED_UP,
        row.minutes + last.minutes,
    )


def exact_total(sizes: NDArray[np.float64]) -> float:
    """Return the float64 nearest to the sum of the decimals that the floats stand for.

    Adding the floats themselves would be off in the last digit now and then, and the database adds whole steps. Sizes are
    taken for multiples of 1e-8, and where one is none, or they are large, for what their shortest texts say.
    """
    counts = np.rint(sizes * _GUESSED_STEPS)
    total = counts.sum().item()
    if total < _SAFE_COUNT and (counts / _GUESSED_STEPS == sizes).all():
        return float(total / _GUESSED_STEPS)
    return float(reduce(_DECIMALS.add, map(Decimal, map(repr, sizes.tolist()))))
