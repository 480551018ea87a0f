"""Candles as arrays inside of the standard frames: the same as tables of the same values, and refused where those are."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from datalayer import InferenceDataFrame, Timeframe
from datalayer.domain.candle_table import ArrayTables, CandleTable
from datalayer.domain.frame_quality import QualityFlags
from datalayer.domain.frame_tables import PRICES
from datalayer.errors import InvalidInputError

START = datetime(2024, 8, 8, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
M1, M5 = Timeframe.M1, Timeframe.M5


def table(rows: int = 5, *, forming: bool = False, timeframe: Timeframe = M1, **change: Any) -> CandleTable:
    times = np.datetime64(START.replace(tzinfo=None), "us") + np.arange(rows) * np.timedelta64(
        timeframe.value, "s"
    )
    values = {name: np.arange(rows) + place + 0.5 for place, name in enumerate(PRICES)}
    is_forming = None
    if forming:
        is_forming = np.arange(rows) == rows - 1
    parts = {
        "times": times,
        "prices": values,
        "trade_count": np.arange(rows) - 1,
        "is_forming": is_forming,
        "indicators": {"ema_2": np.where(np.arange(rows) < 1, np.nan, 1.5)},
    } | change
    return CandleTable(timeframe, **parts)


def frame(made: CandleTable, as_of: datetime, **change: Any) -> InferenceDataFrame:
    tables = {made.timeframe: made}
    parts = {
        "candles": ArrayTables(tables),
        "indicators": ArrayTables(tables, "indicators"),
        "quality": QualityFlags(forming=frozenset(tables) if made.has_forming_last else frozenset()),
    } | change
    return InferenceDataFrame("BTC/USDT", as_of, as_of, **parts)


@pytest.mark.parametrize("forming", [False, True])
def test_a_frame_of_arrays_is_that_of_the_same_tables(*, forming: bool) -> None:
    made = table(forming=forming)
    as_of = START + 5 * MINUTE - timedelta(seconds=10) * forming
    of_arrays = frame(made, as_of)
    of_tables = frame(
        made,
        as_of,
        candles={M1: made.frame("candles").copy()},
        indicators={M1: made.frame("indicators").copy()},
    )
    assert of_arrays == of_tables
    assert of_arrays.to_pandas().equals(of_tables.to_pandas())
    assert InferenceDataFrame.from_ipc(of_arrays.to_ipc()) == of_arrays
    assert pickle.loads(pickle.dumps(of_arrays)) == of_arrays  # noqa: S301
    features = ["1m.close", "1m.trade_count", "1m.ema_2", *(["1m.is_forming"] if forming else [])]
    for options in ({}, {"rows": 3}, {"rows": 9, "include_forming": True}, {"include_forming": True}):
        np.testing.assert_array_equal(
            of_arrays.to_numpy(features, **options),  # type: ignore[arg-type]
            of_tables.to_numpy(features, **options),  # type: ignore[arg-type]
        )
    with pytest.raises(InvalidInputError, match=r"use 1m\.open.*1m\.ema_2"):
        of_arrays.to_numpy(["1m.rsi_14"])


def test_what_is_handed_out_changes_nothing() -> None:
    made = frame(table(), START + 5 * MINUTE)
    handed_out = made.candles[M1]
    handed_out.loc[:, "close"] = 0.0
    assert made.candles[M1]["close"].tolist() == [3.5, 4.5, 5.5, 6.5, 7.5]
    assert made.to_numpy(["1m.close"])[0] == 7.5


@pytest.mark.parametrize(
    ("made", "as_of", "message"),
    [
        (
            table(),
            START + 5 * MINUTE - timedelta(microseconds=1),
            r"candles.1m='2024-08-08T10:04:00.*was not visible",
        ),
        (table(forming=True), START + 4 * MINUTE - timedelta(microseconds=1), "10:03:00"),
        (table(forming=True), START + 4 * MINUTE, None),
        (table(), START + 5 * MINUTE, None),
    ],
)
def test_what_was_not_visible_is_refused(made: CandleTable, as_of: datetime, message: str | None) -> None:
    if message is None:
        assert frame(made, as_of).candles[M1].shape[0] == 5
        return
    with pytest.raises(InvalidInputError, match=message):
        frame(made, as_of)


def test_a_context_that_was_known_is_refused_behind_the_moment() -> None:
    with pytest.raises(InvalidInputError, match="it belongs to context_before"):
        frame(table(), START + 5 * MINUTE, context_after=ArrayTables({M1: table()}))
    after = table(times=table().times + np.timedelta64(5, "m"))
    assert (
        len(frame(table(), START + 5 * MINUTE, context_after=ArrayTables({M1: after})).context_after[M1]) == 5
    )


@pytest.mark.parametrize("change", [np.timedelta64(1, "s"), np.timedelta64(-60, "s")])
def test_times_off_the_grid_or_out_of_order_are_refused(change: np.timedelta64) -> None:
    times = table().times.copy()
    times[2] += change
    with pytest.raises(InvalidInputError, match="row 2 is no later open time of a candle of 1m"):
        table(times=times)


def test_indicators_of_other_tables_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="of the very tables of the candles"):
        frame(table(), START + 5 * MINUTE, indicators=ArrayTables({M1: table()}, "indicators"))
    with pytest.raises(InvalidInputError, match="holds candles of another timeframe"):
        frame(table(), START + 5 * MINUTE, candles=ArrayTables({M5: table()}), indicators={})


def test_parts_share_what_was_checked() -> None:
    made = table(9, forming=True)
    assert list(made.rows(2, 4).frame("candles").index) == [START + 2 * MINUTE, START + 3 * MINUTE]
    closed = made.closed_from(START + 3 * MINUTE)
    assert "is_forming" not in closed.frame("candles")
    assert list(closed.frame("candles").index) == list(
        pd.date_range(START + 3 * MINUTE, periods=5, freq="1min")
    )
    assert (made.closed_count, len(closed), made.find(START + 2 * MINUTE)) == (8, 5, 2)
    assert made.frame("candles") is made.frame("candles")
    assert ArrayTables({M1: table(indicators={})}, "indicators").forming == set()
