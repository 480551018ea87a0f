"""What an indicator is: the columns that it reads and makes, and how many rows it needs."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

CandleColumn: TypeAlias = Literal["open", "high", "low", "close", "volume"]
"""A column of a candle frame."""

_COLUMNS: Final = ("open", "high", "low", "close", "volume")
_SETTLED_WEIGHT: Final = 1e-9
_MIN_LENGTH: Final = 2
_MAX_LENGTH: Final = 100_000


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one indicator is computed over one run of candles.

    Attributes:
        inputs: candle columns that it reads.
        columns: names of the columns that it makes.
        lookback_rows: rows at the start of a run that are NaN.
        forgetting_rows: rows after those until the start of the run weighs less than 1e-9; None if it always counts.
        compute: takes the module `talib` and the inputs as contiguous float64 `[n]` without NaN; returns the columns.
        by_day: whether it starts anew at each midnight UTC.
    """

    inputs: tuple[CandleColumn, ...]
    columns: tuple[str, ...]
    lookback_rows: int
    forgetting_rows: int | None
    compute: Callable[..., tuple[NDArray[Any], ...]]
    by_day: bool = False


class Indicator(ABC):
    """An indicator with its parameters. Immutable, comparable and hashable; making one needs no TA-Lib."""

    __slots__ = ()

    @abstractmethod
    def _recipe(self) -> Recipe: ...

    @property
    def recipe(self) -> Recipe:
        """How it is computed."""
        return self._recipe()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that it makes; every parameter is in them."""
        return self.recipe.columns

    @property
    def lookback_rows(self) -> int:
        """Rows at the start of the candles, and after each gap, that are NaN. `Vwap`: see there."""
        return self.recipe.lookback_rows

    def settled_rows(self, timeframe: Timeframe) -> int | None:
        """Return how many candles without a gap, the row itself included, make a value that can be relied upon.

        A recursive indicator (EMA, MACD, RSI, ATR) never quite forgets where the candles start: its value depends on
        how many were loaded. With this many, the rows that started it weigh less than 1e-9, so that a short history
        gives what a long one gives: `python -m benchmarks.indicators` measures it on real candles. For a moving window
        it is the window; for `Vwap` a day.

        Args:
            timeframe: length of the candles; only `Vwap` depends on it.

        Returns:
            A number of rows, or None where no number is enough (`Obv`).
        """
        recipe = self.recipe
        if recipe.by_day:
            return Timeframe.D1 // timeframe
        if recipe.forgetting_rows is None:
            return None
        return recipe.lookback_rows + 1 + recipe.forgetting_rows


def check_length(field: str, length: int) -> None:
    """Refuse a length that TA-Lib would refuse or round.

    Raises:
        InvalidInputError: it is no int from 2 to 100,000.
    """
    if type(length) is not int or not _MIN_LENGTH <= length <= _MAX_LENGTH:
        raise InvalidInputError(
            field, length, f"a length counts candles; give an int, {_MIN_LENGTH} to {_MAX_LENGTH}"
        )


def check_column(field: str, column: str) -> None:
    """Refuse a column that candles do not have.

    Raises:
        InvalidInputError: names those that they have.
    """
    if column not in _COLUMNS:
        raise InvalidInputError(field, column, f"use one of {', '.join(_COLUMNS)}")


def rows_to_forget(factor: float) -> int:
    """Return the rows until a weight that shrinks by `factor` at each row is below 1e-9."""
    return math.ceil(math.log(_SETTLED_WEIGHT) / math.log(factor))
