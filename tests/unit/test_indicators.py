"""Indicators look back only, stop at gaps, and say how many rows they need."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

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
from datalayer.domain.timeframe import Timeframe
from tests.market_files import market_frame

if TYPE_CHECKING:
    from datalayer.domain.indicators import Gaps

COLUMNS = ["open", "high", "low", "close", "volume"]
SHORT = [Sma(3), Ema(3), Macd(2, 4, 3), BollingerBands(3), Rsi(3), Atr(3), Obv(), Vwap()]
USUAL = [Sma(), Sma(of="volume"), Ema(), Macd(), BollingerBands(), Rsi(), Atr(), Obv(), Vwap()]
EVERY_GAPS = ("restart", "bridge")


def walk(rows: int, seed: int, first: str = "2024-01-01T00:00") -> pd.DataFrame:
    random = np.random.default_rng(seed)
    close = 100 + random.integers(-2, 3, rows).cumsum() / 100
    frame = pd.DataFrame({"open": close, "high": close + 0.02, "low": close - 0.01, "close": close})
    frame["volume"] = random.integers(1, 5, rows) / 8
    frame.index = pd.date_range(first, periods=rows, freq="h", tz="UTC", unit="us", name="timestamp")
    return frame


@st.composite
def holed_candles(draw: st.DrawFn) -> pd.DataFrame:
    """Up to four days of 1h candles; some are missing, some have a column that nobody has."""
    frame = walk(draw(st.integers(0, 90)), draw(st.integers(0, 2**32)), "2024-01-01T21:00")
    for column in COLUMNS:
        if len(frame):
            frame.loc[frame.index[draw(st.lists(st.integers(0, len(frame) - 1), max_size=2))], column] = (
                math.nan
            )
    missing = draw(st.lists(st.integers(0, max(len(frame) - 1, 0)), max_size=4))
    return frame.drop(frame.index[[row for row in missing if row < len(frame)]])


@pytest.mark.parametrize("gaps", EVERY_GAPS)
@given(candles=holed_candles(), data=st.data())
def test_what_comes_later_changes_nothing(gaps: Gaps, candles: pd.DataFrame, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(candles)))
    early = compute_indicators(candles.iloc[:cut], SHORT, timeframe="1h", gaps=gaps)
    late = compute_indicators(candles, SHORT, timeframe="1h", gaps=gaps).iloc[:cut]
    pd.testing.assert_frame_equal(early, late, check_exact=True, check_freq=False)


def test_what_comes_later_changes_nothing_on_real_candles() -> None:
    candles = market_frame("ohlcv/binance_spot_BTCUSDT_1m_2018.parquet").iloc[3_000:6_000]
    whole = compute_indicators(candles, USUAL, timeframe="1m")
    assert whole.notna().any().all()
    for cut in range(1, len(candles), 61):
        early = compute_indicators(candles.iloc[:cut], USUAL, timeframe="1m")
        pd.testing.assert_frame_equal(early, whole.iloc[:cut], check_exact=True, check_freq=False)


@given(holed_candles(), st.sampled_from(SHORT))
def test_after_a_gap_everything_is_as_at_the_start(candles: pd.DataFrame, one: Indicator) -> None:
    """Cut at each gap of its own inputs, computed piece by piece: the same values, and NaN at the holes."""
    made = compute_indicators(candles, [one], timeframe="1h")
    whole = candles[candles[list(one.recipe.inputs)].notna().all(axis=1)]
    assert made.loc[candles.index.difference(whole.index)].isna().all(axis=None)
    piece = (whole.index.to_series().diff() != pd.Timedelta("1h")).cumsum()
    for _, part in whole.groupby(piece):
        alone = compute_indicators(part, [one], timeframe="1h")
        if isinstance(one, Vwap) and part.index[0] != part.index[0].floor("D"):
            assert alone[part.index < part.index[0].ceil("D")].isna().all(axis=None)
        else:
            assert alone.iloc[one.lookback_rows :].notna().all(axis=None) or isinstance(one, Rsi | Vwap)
        assert alone.iloc[: one.lookback_rows].isna().all(axis=None)
        pd.testing.assert_frame_equal(made.loc[part.index], alone, check_exact=True, check_freq=False)


@given(holed_candles(), st.sampled_from([one for one in SHORT if one != Vwap()]))
def test_bridged_gaps_count_as_if_they_were_not(candles: pd.DataFrame, one: Indicator) -> None:
    made = compute_indicators(candles, [one], timeframe="1h", gaps="bridge")
    whole = candles[candles[list(one.recipe.inputs)].notna().all(axis=1)]
    closed_up = whole.set_axis(pd.date_range("2024-01-01", periods=len(whole), freq="h", tz="UTC"))
    expected = compute_indicators(closed_up, [one], timeframe="1h").set_axis(whole.index)
    pd.testing.assert_frame_equal(made.loc[whole.index], expected, check_exact=True, check_freq=False)
    assert made.loc[candles.index.difference(whole.index)].isna().all(axis=None)


def test_a_bridged_day_is_averaged_over_the_candles_that_exist() -> None:
    """The day must begin in the frame: what was traded before its first row, nobody here knows."""
    candles = walk(60, 7, "2024-01-01T21:00").drop(pd.Timestamp("2024-01-02T00:00", tz="UTC"))
    candles["volume"] += 1
    vwap = compute_indicators(candles, [Vwap()], timeframe="1h", gaps="bridge")["vwap"]
    assert vwap.iloc[:3].isna().all()
    day = candles.loc["2024-01-02"]
    typical = (day["high"] + day["low"] + day["close"]) / 3
    expected = (typical * day["volume"]).cumsum() / day["volume"].cumsum()
    pd.testing.assert_series_equal(vwap.loc["2024-01-02"], expected, check_names=False, check_freq=False)
    assert compute_indicators(candles, [Vwap()], timeframe="1h")["vwap"].loc["2024-01-02"].isna().all()


def test_a_hole_in_a_column_concerns_those_only_that_read_it() -> None:
    candles = walk(30, 1)
    candles.loc[candles.index[10], "volume"] = math.nan
    made = compute_indicators(candles, [Sma(3), Sma(3, of="volume")], timeframe="1h").isna()
    assert np.flatnonzero(made["sma_3"]).tolist() == [0, 1]
    assert np.flatnonzero(made["sma_3_of_volume"]).tolist() == [0, 1, 10, 11, 12]


@pytest.mark.parametrize("one", USUAL)
def test_warm_up_rows_are_nan_and_no_others(one: Indicator) -> None:
    candles = walk(60, 3)
    for rows in (0, 1, one.lookback_rows, one.lookback_rows + 1, 60):
        made = compute_indicators(candles.iloc[:rows], [one], timeframe="1h")
        assert made.isna().sum().tolist() == [min(rows, one.lookback_rows)] * len(one.columns)
        assert (made.dtypes == "float64").all()


@pytest.mark.parametrize("one", [one for one in USUAL if one != Obv()])
def test_as_many_rows_as_it_says_give_what_all_rows_give(one: Indicator) -> None:
    candles = market_frame("ohlcv/binance_spot_BTCUSDT_1m_2024.parquet").iloc[: 14 * 1440]
    full = compute_indicators(candles, [one], timeframe="1m")
    rows = one.settled_rows(Timeframe.M1)
    assert rows is not None
    unit = 100.0 if isinstance(one, Rsi) else float(candles[one.recipe.inputs[0]].max())
    for end in range(rows, len(candles), 701):
        short = compute_indicators(candles.iloc[end - rows : end], [one], timeframe="1m")
        if isinstance(one, Vwap):
            assert short["vwap"].iloc[-1] == full["vwap"].iloc[end - 1]
        np.testing.assert_allclose(short.iloc[-1], full.iloc[end - 1], rtol=0, atol=2e-9 * unit)


def test_the_rows_that_the_documentation_names() -> None:
    settled = [
        one.settled_rows(Timeframe.M1) for one in (Ema(20), Macd(12, 26, 9), Rsi(14), Atr(14), Obv(), Vwap())
    ]
    assert settled == [228, 397, 295, 295, None, 1440]


def test_the_frame_is_that_of_the_candles() -> None:
    candles = walk(50, 5)
    before = candles.copy()
    made = compute_indicators(candles, [BollingerBands(5, 2.5), Sma(4)], timeframe=Timeframe.H1)
    assert made.columns.tolist() == [
        "bollinger_upper_5_2.5",
        "bollinger_middle_5_2.5",
        "bollinger_lower_5_2.5",
        "sma_4",
    ]
    assert made.index is candles.index
    pd.testing.assert_frame_equal(candles, before, check_exact=True)
    assert compute_indicators(candles, [], timeframe="1h").shape == (50, 0)
    elsewhere = compute_indicators(candles.tz_convert("Asia/Tokyo"), [Vwap()], timeframe="1h")
    pd.testing.assert_frame_equal(
        elsewhere.tz_convert("UTC"), compute_indicators(candles, [Vwap()], timeframe="1h")
    )
