"""Every indicator beside a plain calculation of its published formula, gaps and silent markets included."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalayer.domain.indicators import (
    Atr,
    BollingerBands,
    Ema,
    Indicator,
    Macd,
    Obv,
    Rsi,
    Sma,
    Vwap,
    compute_indicators,
)
from tests.market_files import market_frame

if TYPE_CHECKING:
    from collections.abc import Callable

Row = Any  # a row of DataFrame.itertuples
Values = list[float]
NAN = math.nan


def sma(values: Values, length: int) -> Values:
    """https://en.wikipedia.org/wiki/Moving_average#Simple_moving_average."""
    return [
        NAN if i + 1 < length else math.fsum(values[i + 1 - length : i + 1]) / length
        for i in range(len(values))
    ]


def smoothed(values: Values, length: int, weight: float) -> Values:
    """An exponential average, started with the mean of the first `length` values that are there (TA-Lib's start)."""
    known = [value for value in values if not math.isnan(value)]
    result = [NAN] * (len(values) - len(known))
    for i, value in enumerate(known):
        if i < length - 1:
            result.append(NAN)
        elif i == length - 1:
            result.append(math.fsum(known[:length]) / length)
        else:
            result.append(result[-1] + weight * (value - result[-1]))
    return result


def ema(values: Values, length: int) -> Values:
    """https://en.wikipedia.org/wiki/Exponential_smoothing, weight 2 / (length + 1)."""
    return smoothed(values, length, 2 / (length + 1))


def macd(closes: Values, fast: int, slow: int, length: int) -> list[Values]:
    """G. Appel, https://en.wikipedia.org/wiki/MACD; both averages start at the row where the slow one is there."""
    start = min(slow - fast, len(closes))
    late = [NAN] * start + closes[start:]
    line = [f - s for f, s in zip(ema(late, fast), ema(closes, slow), strict=True)]
    signal = ema(line, length)
    line = [NAN if math.isnan(s) else value for value, s in zip(line, signal, strict=True)]
    return [line, signal, [value - s for value, s in zip(line, signal, strict=True)]]


def bollinger(closes: Values, length: int, deviations: float) -> list[Values]:
    """J. Bollinger, https://en.wikipedia.org/wiki/Bollinger_Bands; the population's deviation."""
    middle = sma(closes, length)
    width = [
        NAN
        if math.isnan(mean)
        else deviations
        * math.sqrt(math.fsum((c - mean) ** 2 for c in closes[i + 1 - length : i + 1]) / length)
        for i, mean in enumerate(middle)
    ]
    upper = [mean + w for mean, w in zip(middle, width, strict=True)]
    return [upper, middle, [mean - w for mean, w in zip(middle, width, strict=True)]]


def rsi(closes: Values, length: int) -> Values:
    """J. W. Wilder, New Concepts in Technical Trading Systems, 1978; https://en.wikipedia.org/wiki/Relative_strength_index."""
    changes = [NAN, *(b - a for a, b in itertools.pairwise(closes))]
    gains = smoothed([c if math.isnan(c) else max(c, 0.0) for c in changes], length, 1 / length)
    losses = smoothed([c if math.isnan(c) else max(-c, 0.0) for c in changes], length, 1 / length)
    return [NAN if g + x == 0 else 100 * g / (g + x) for g, x in zip(gains, losses, strict=True)]


def atr(rows: list[Row], length: int) -> Values:
    """J. W. Wilder, 1978; https://en.wikipedia.org/wiki/Average_true_range."""
    ranges = [NAN] + [
        max(row.high - row.low, abs(row.high - before.close), abs(row.low - before.close))
        for before, row in itertools.pairwise(rows)
    ]
    return smoothed(ranges, length, 1 / length)


def obv(rows: list[Row]) -> Values:
    """J. Granville, 1963; https://en.wikipedia.org/wiki/On-balance_volume, started with the first volume."""
    result = [rows[0].volume]
    for before, row in itertools.pairwise(rows):
        direction = (row.close > before.close) - (row.close < before.close)
        result.append(result[-1] + direction * row.volume)
    return result


def vwap(rows: list[Row]) -> Values:
    """https://en.wikipedia.org/wiki/Volume-weighted_average_price of typical prices, over what `rows` has so far."""
    money, volume, result = 0.0, 0.0, []
    for row in rows:
        money += (row.high + row.low + row.close) / 3 * row.volume
        volume += row.volume
        result.append(money / volume if volume else NAN)
    return result


def closes(rows: list[Row]) -> Values:
    return [row.close for row in rows]


ORACLES: dict[Indicator, Callable[[list[Row]], list[Values]]] = {
    Sma(3): lambda rows: [sma(closes(rows), 3)],
    Sma(2, of="volume"): lambda rows: [sma([row.volume for row in rows], 2)],
    Ema(3): lambda rows: [ema(closes(rows), 3)],
    Ema(4, of="high"): lambda rows: [ema([row.high for row in rows], 4)],
    Macd(2, 4, 3): lambda rows: macd(closes(rows), 2, 4, 3),
    BollingerBands(3, 1.5): lambda rows: bollinger(closes(rows), 3, 1.5),
    Rsi(3): lambda rows: [rsi(closes(rows), 3)],
    Atr(3): lambda rows: [atr(rows, 3)],
    Obv(): lambda rows: [obv(rows)],
    Vwap(): lambda rows: [vwap(rows)],
}
USUAL: dict[Indicator, Callable[[list[Row]], list[Values]]] = {
    Sma(): lambda rows: [sma(closes(rows), 20)],
    Ema(): lambda rows: [ema(closes(rows), 20)],
    Macd(): lambda rows: macd(closes(rows), 12, 26, 9),
    BollingerBands(): lambda rows: bollinger(closes(rows), 20, 2.0),
    Rsi(): lambda rows: [rsi(closes(rows), 14)],
    Atr(): lambda rows: [atr(rows, 14)],
    Obv(): lambda rows: [obv(rows)],
    Vwap(): lambda rows: [vwap(rows)],
}


def expected(
    candles: pd.DataFrame,
    indicator: Indicator,
    oracle: Callable[[list[Row]], list[Values]],
    step: pd.Timedelta,
) -> pd.DataFrame:
    """What `gaps="restart"` promises, row by row: a run ends where the next candle is not there or not whole."""
    frame = pd.DataFrame(NAN, index=candles.index, columns=list(indicator.columns))
    run: list[Row] = []
    for row in [*candles.itertuples(), None]:
        broken = row is None or not np.isfinite(row[1:]).all() or (run and row.Index - run[-1].Index != step)
        session_ends = (
            row is not None and run and isinstance(indicator, Vwap) and row.Index == row.Index.floor("D")
        )
        if run and (broken or session_ends):
            if not isinstance(indicator, Vwap) or run[0].Index == run[0].Index.floor("D"):
                frame.loc[[r.Index for r in run]] = np.array(oracle(run)).T
            run = []
        if row is not None and np.isfinite(row[1:]).all():
            run.append(row)
    return frame


def check(
    candles: pd.DataFrame, oracles: dict[Indicator, Callable[[list[Row]], list[Values]]], timeframe: str
) -> None:
    made = compute_indicators(candles, list(oracles), timeframe=timeframe)
    step = pd.Timedelta(timeframe)
    wanted = pd.concat([expected(candles, one, oracle, step) for one, oracle in oracles.items()], axis=1)
    scale = float(np.nanmax(candles.to_numpy(), initial=0.0))
    pd.testing.assert_frame_equal(made, wanted, check_freq=False, rtol=1e-9, atol=1e-9 * scale)


prices = st.integers(1, 30)
whole = st.tuples(prices, st.integers(0, 3), st.integers(0, 3), st.integers(0, 4))
states = st.sampled_from(["there"] * 12 + ["missing", "not known"])


@st.composite
def hourly_candles(draw: st.DrawFn) -> pd.DataFrame:
    """Few prices, so that silence and equal closes are common; over midnight; with gaps of both kinds."""
    rows = draw(st.lists(st.tuples(whole, states), max_size=60))
    times = pd.date_range("2024-01-01T21:00", periods=len(rows), freq="h", tz="UTC", unit="us")
    table = [(c, c + up, c - down, c, v) for (c, up, down, v), _ in rows]
    frame = pd.DataFrame(
        table, index=times, columns=["open", "high", "low", "close", "volume"], dtype="float64"
    )
    state = np.array([state for _, state in rows], dtype=object)
    # Every oracle reads whole rows; a hole in one column is the subject of test_indicators.py.
    frame.loc[state == "not known"] = NAN
    return frame[state != "missing"]


@given(hourly_candles())
def test_values_are_those_of_the_formula(candles: pd.DataFrame) -> None:
    check(candles, ORACLES, "1h")


@pytest.mark.parametrize("scale", [1e-10, 1e-8, 1e5])
@given(candles=hourly_candles())
def test_values_do_not_depend_on_the_unit_of_the_price(scale: float, candles: pd.DataFrame) -> None:
    candles[["open", "high", "low", "close"]] *= scale
    made = compute_indicators(candles, [Rsi(3), BollingerBands(3)], timeframe="1h")
    unscaled = compute_indicators(candles.div(scale), [Rsi(3), BollingerBands(3)], timeframe="1h")
    pd.testing.assert_frame_equal(made.iloc[:, 1:] / scale, unscaled.iloc[:, 1:], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(made["rsi_3"], unscaled["rsi_3"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("year", "rows"), [(2018, slice(54_000, 60_000)), (2024, slice(3_000))])
def test_real_candles(year: int, rows: slice) -> None:
    """The rows of 2018 have the longest outage, of 2,011 minutes, in them."""
    candles = market_frame(f"ohlcv/binance_spot_BTCUSDT_1m_{year}.parquet").iloc[rows]
    check(candles[["open", "high", "low", "close", "volume"]], USUAL, "1m")


def test_a_market_that_never_moved_has_no_strength() -> None:
    times = pd.date_range("2024-01-01", periods=40, freq="min", tz="UTC")
    flat = pd.DataFrame({"close": 7.0}, index=times)
    assert compute_indicators(flat, [Rsi()], timeframe="1m")["rsi_14"].isna().all()
    falling = pd.DataFrame({"close": np.r_[np.full(20, 7.0), np.full(20, 6.0)]}, index=times)
    assert compute_indicators(falling, [Rsi()], timeframe="1m")["rsi_14"].iloc[20:].eq(0).all()


def test_a_day_without_volume_has_no_average_price() -> None:
    times = pd.date_range("2024-01-01", periods=4, freq="h", tz="UTC")
    frame = pd.DataFrame({"high": 3.0, "low": 1.0, "close": 2.0, "volume": [0.0, 0.0, 1.0, 0.0]}, index=times)
    vwap_of_day = compute_indicators(frame, [Vwap()], timeframe="1h")["vwap"]
    assert vwap_of_day.tolist()[2:] == [2.0, 2.0]
    assert vwap_of_day.iloc[:2].isna().all()
