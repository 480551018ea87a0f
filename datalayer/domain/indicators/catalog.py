"""The indicators that there are. The formulas are TA-Lib's; the sources name where they come from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from datalayer.domain.indicators.spec import (
    CandleColumn,
    Indicator,
    Recipe,
    check_column,
    check_length,
    rows_to_forget,
)
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Sma(Indicator):
    """Simple moving average: the mean of the last `length` values. Column `sma_20`, in the unit of `of`.

    Attributes:
        length: candles, 2 to 100,000.
        of: the column that is averaged; another one than the close is in the name, as in `sma_20_of_volume`.

    Raises:
        InvalidInputError: a parameter is out of range.
    """

    length: int = 20
    of: CandleColumn = "close"

    def __post_init__(self) -> None:
        check_length("Sma.length", self.length)
        check_column("Sma.of", self.of)

    def _recipe(self) -> Recipe:
        column = _average_name("sma", self.length, self.of)
        return Recipe(
            (self.of,), (column,), self.length - 1, 0, lambda talib, values: (talib.SMA(values, self.length),)
        )


@dataclass(frozen=True, slots=True)
class Ema(Indicator):
    """Exponential moving average: each row moves it by 2 / (length + 1) of the way to the value. Column `ema_20`.

    It starts with the mean of the first `length` values, and is settled after about 11 lengths.

    Attributes:
        length: candles, 2 to 100,000.
        of: the column that is averaged; another one than the close is in the name, as in `ema_20_of_volume`.

    Raises:
        InvalidInputError: a parameter is out of range.
    """

    length: int = 20
    of: CandleColumn = "close"

    def __post_init__(self) -> None:
        check_length("Ema.length", self.length)
        check_column("Ema.of", self.of)

    def _recipe(self) -> Recipe:
        column = _average_name("ema", self.length, self.of)
        return Recipe(
            (self.of,),
            (column,),
            self.length - 1,
            rows_to_forget(_ema_factor(self.length)),
            lambda talib, values: (talib.EMA(values, self.length),),
        )


@dataclass(frozen=True, slots=True)
class Macd(Indicator):
    """Moving average convergence/divergence of the close (G. Appel), in the unit of the price.

    Columns `macd_12_26_9` (fast EMA less slow EMA), `macd_signal_12_26_9` (its EMA) and `macd_histogram_12_26_9` (their
    difference). All three begin with the first row that has a signal, and both averages start at the same row.

    Attributes:
        fast: length of the fast average in candles, 2 to 100,000, less than `slow`.
        slow: length of the slow average.
        signal: length of the signal's average.

    Raises:
        InvalidInputError: a parameter is out of range, or `fast` is not the smaller one (TA-Lib would swap them).
    """

    fast: int = 12
    slow: int = 26
    signal: int = 9

    def __post_init__(self) -> None:
        for name in ("fast", "slow", "signal"):
            check_length(f"Macd.{name}", getattr(self, name))
        if self.fast >= self.slow:
            raise InvalidInputError("Macd.fast", self.fast, f"must be less than slow, which is {self.slow}")

    def _recipe(self) -> Recipe:
        parameters = f"{self.fast}_{self.slow}_{self.signal}"
        return Recipe(
            ("close",),
            (f"macd_{parameters}", f"macd_signal_{parameters}", f"macd_histogram_{parameters}"),
            self.slow + self.signal - 2,
            # The signal starts to forget what the slow average has forgotten.
            rows_to_forget(_ema_factor(self.slow)) + rows_to_forget(_ema_factor(self.signal)),
            lambda talib, close: talib.MACD(close, self.fast, self.slow, self.signal),
        )


@dataclass(frozen=True, slots=True)
class BollingerBands(Indicator):
    """Bollinger Bands of the close (J. Bollinger), in the unit of the price.

    Columns `bollinger_upper_20_2`, `bollinger_middle_20_2` (the SMA) and `bollinger_lower_20_2`. The deviation is that of
    the window as a whole (divided by n, not n - 1).

    Attributes:
        length: candles, 2 to 100,000.
        deviations: distance of the bands from the middle in standard deviations, above 0; a whole one is named without
            its point, as in the columns above.

    Raises:
        InvalidInputError: a parameter is out of range.
    """

    length: int = 20
    deviations: float = 2.0

    def __post_init__(self) -> None:
        check_length("BollingerBands.length", self.length)
        if not (self.deviations > 0 and math.isfinite(self.deviations)):
            raise InvalidInputError("BollingerBands.deviations", self.deviations, "give a number above 0")

    def _recipe(self) -> Recipe:
        width = float(self.deviations)
        parameters = f"{self.length}_{repr(width).removesuffix('.0')}"
        return Recipe(
            ("close",),
            tuple(f"bollinger_{band}_{parameters}" for band in ("upper", "middle", "lower")),
            self.length - 1,
            0,
            lambda talib, close: talib.BBANDS(close, self.length, width, width),
        )


@dataclass(frozen=True, slots=True)
class Rsi(Indicator):
    """Relative strength index of the close (J. W. Wilder, 1978). Column `rsi_14`, 0 to 100.

    The average gain over the sum of average gain and average loss, averages smoothed by 1 / length and started with the
    mean of the first `length` changes; settled after about 22 lengths. While the price has not changed at all since the
    start there is neither gain nor loss, and the value is NaN (TA-Lib says 0, which reads as a crash).

    Attributes:
        length: candles, 2 to 100,000.

    Raises:
        InvalidInputError: the length is out of range.
    """

    length: int = 14

    def __post_init__(self) -> None:
        check_length("Rsi.length", self.length)

    def _recipe(self) -> Recipe:
        return Recipe(
            ("close",),
            (f"rsi_{self.length}",),
            self.length,
            rows_to_forget(_wilder_factor(self.length)),
            lambda talib, close: (_rsi(talib, close, self.length),),
        )


@dataclass(frozen=True, slots=True)
class Atr(Indicator):
    """Average true range (J. W. Wilder, 1978). Column `atr_14`, in the unit of the price.

    The largest of high - low, |high - previous close| and |low - previous close|, smoothed by 1 / length and started with
    the mean of the first `length` of them; the first row has no previous close and takes no part. Settled after about
    22 lengths.

    Attributes:
        length: candles, 2 to 100,000.

    Raises:
        InvalidInputError: the length is out of range.
    """

    length: int = 14

    def __post_init__(self) -> None:
        check_length("Atr.length", self.length)

    def _recipe(self) -> Recipe:
        return Recipe(
            ("high", "low", "close"),
            (f"atr_{self.length}",),
            self.length,
            rows_to_forget(_wilder_factor(self.length)),
            lambda talib, high, low, close: (talib.ATR(high, low, close, self.length),),
        )


@dataclass(frozen=True, slots=True)
class Obv(Indicator):
    """On-balance volume (J. Granville, 1963). Column `obv`, in the unit of the volume.

    It starts with the first candle's volume, adds the volume of a candle that closes above the one before and takes off
    that of one that closes below. Its level says nothing: it depends on where the candles start, for good, and starts
    again after a gap. Use its changes within a run only.
    """

    def _recipe(self) -> Recipe:
        return Recipe(
            ("close", "volume"), ("obv",), 0, None, lambda talib, close, volume: (talib.OBV(close, volume),)
        )


@dataclass(frozen=True, slots=True)
class Vwap(Indicator):
    """Volume-weighted average price since midnight UTC. Column `vwap`, in the unit of the price.

    The typical price (high + low + close) / 3 of each candle of the day so far, weighted by its volume. It is NaN as long
    as the day had no volume, in a day whose beginning is not in the frame, and after a gap until the next midnight.
    """

    def _recipe(self) -> Recipe:
        return Recipe(("high", "low", "close", "volume"), ("vwap",), 0, 0, _vwap, by_day=True)


def _average_name(kind: str, length: int, of: CandleColumn) -> str:
    return f"{kind}_{length}" if of == "close" else f"{kind}_{length}_of_{of}"


def _ema_factor(length: int) -> float:
    return (length - 1) / (length + 1)


def _wilder_factor(length: int) -> float:
    return (length - 1) / length


def _rsi(talib: ModuleType, close: NDArray[Any], length: int) -> NDArray[Any]:
    rsi: NDArray[Any] = talib.RSI(close, length)
    lowest = rsi == 0
    # Zero stands for "only losses" and for "nothing moved". Chande's oscillator is -100 in the first case and 0 in
    # the second.
    if lowest.any():
        rsi[lowest & (talib.CMO(close, length) == 0)] = np.nan
    return rsi


def _vwap(
    talib: ModuleType, high: NDArray[Any], low: NDArray[Any], close: NDArray[Any], volume: NDArray[Any]
) -> tuple[NDArray[Any], ...]:
    vwap: NDArray[Any] = talib.VWAP(high, low, close, volume)
    vwap[np.cumsum(volume) == 0] = np.nan  # TA-Lib says 0
    return (vwap,)
