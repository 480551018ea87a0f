"""What indicators cannot be computed from, or with, is refused by name."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import talib

from datalayer.domain.indicators import BollingerBands, Ema, Macd, Rsi, Sma, compute_indicators
from datalayer.errors import ConfigurationError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

TIMES = pd.date_range("2024-01-01", periods=3, freq="min", tz="UTC")


def candles(times: Any = TIMES, **columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"close": [1.0, 2.0, 3.0]} | columns, index=times)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (candles(TIMES.tz_localize(None)), "timestamp='2024-01-01 00:00:00': naive"),
        (candles(range(3)), "timestamp='RangeIndex': index the candles by aware open times"),
        (candles(TIMES[::-1]), r"timestamp='2024-01-01T00:01:00\.0+\+00:00': row 1 is not later"),
        (candles(TIMES[[0, 1, 1]]), "row 2 is not later than the one before; sort"),
        (candles(pd.DatetimeIndex([*TIMES[:2], pd.NaT])), "row 2 has no time"),
        (candles(TIMES + pd.Timedelta("1s")), "row 0 is no open time of a 1m candle"),
        (candles(TIMES.as_unit("ns") + pd.Timedelta("1ns")), "row 0 is no open time of a 1m candle"),
        (candles(close=[1, 2, 3]), "close='int64': indicators are computed from float64"),
        (candles(close=pd.array([1.0, None, 3.0], dtype="Float64")), "close='Float64'"),
        (candles(close=[1.0, np.inf, 2.0]), "close=inf: row 1 is not finite"),
        (candles().rename(columns={"close": "price"}), r"columns=\['price'\]: one column 'close' is needed"),
        (pd.concat([candles(), candles()], axis=1), r"columns=\['close', 'close'\]"),
    ],
)
def test_candles_that_are_none(frame: pd.DataFrame, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        compute_indicators(frame, [Sma(2)], timeframe="1m")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Sma(1), r"Sma\.length=1: a length counts candles; give an int, 2 to 100000"),
        (lambda: Ema(100_001), r"Ema\.length=100001"),
        (lambda: Rsi(14.0), r"Rsi\.length=14\.0"),  # type: ignore[arg-type]
        (lambda: Rsi(True), r"Rsi\.length=True"),  # noqa: FBT003 - the point
        (lambda: Sma(2, of="price"), r"Sma\.of='price': use one of open, high"),  # type: ignore[arg-type]
        (lambda: Macd(26, 12), r"Macd\.fast=26: must be less than slow, which is 12"),
        (lambda: Macd(signal=1), r"Macd\.signal=1"),
        (lambda: BollingerBands(deviations=0), r"BollingerBands\.deviations=0: give a number above 0"),
        (lambda: BollingerBands(deviations=float("nan")), r"BollingerBands\.deviations=nan"),
        (lambda: compute_indicators(candles(), [Sma(2), Sma(2)], timeframe="1m"), "indicators='sma_2'"),
        (lambda: compute_indicators(candles(), [], timeframe="2m"), "timeframe='2m': use one of 1s, 1m"),
        (
            lambda: compute_indicators(candles(), [], timeframe="1m", gaps="fill"),  # type: ignore[arg-type]
            "gaps='fill': use one of restart, bridge",
        ),
    ],
)
def test_arguments_that_mean_nothing(make: Callable[[], object], reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        make()


def test_without_the_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "talib", None)
    with pytest.raises(
        ConfigurationError, match=r"TA-Lib, which is not installed; run: pip install 'TA-Lib>=0\.8'"
    ):
        compute_indicators(candles(), [Sma(2)], timeframe="1m")


def test_an_old_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talib, "__version__", "0.7.1")
    with pytest.raises(
        ConfigurationError, match=r"TA-Lib 0\.7\.1 gives wrong values.*pip install 'TA-Lib>=0\.8'"
    ):
        compute_indicators(candles(), [Sma(2)], timeframe="1m")


def test_an_unstable_period_set_elsewhere_in_the_process_is_refused() -> None:
    try:
        talib.set_unstable_period("EMA", 5)
        with pytest.raises(ConfigurationError, match=r"call talib\.set_unstable_period\('EMA', 0\)"):
            compute_indicators(candles(), [Sma(2)], timeframe="1m")
    finally:
        talib.set_unstable_period("EMA", 0)
    assert compute_indicators(candles(), [Ema(2)], timeframe="1m").notna().sum().tolist() == [2]
