"""Standard frames for tests: drawn by hypothesis, with all that makes round trips hard."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from datalayer.domain.inference_frame import InferenceDataFrame, QualityFlags
from datalayer.domain.order_book import OrderBook
from datalayer.domain.order_book_frame import IMBALANCES, OrderBookDataFrame
from datalayer.domain.timeframe import Timeframe

AS_OF = datetime(2024, 8, 8, 10, 7, 30, 123456, tzinfo=UTC)
FLOATS = st.floats(allow_nan=True, allow_infinity=True, width=64)
AGES = st.floats(min_value=0, allow_nan=False) | st.just(math.nan)
POSITIVE = st.floats(min_value=1e-12, max_value=1e12)


def times(newest: datetime, step: timedelta, rows: int) -> pd.DatetimeIndex:
    moments = [newest - step * number for number in reversed(range(rows))]
    return pd.DatetimeIndex(moments, name="timestamp").tz_convert("UTC").as_unit("us") if rows else EMPTY


EMPTY = pd.DatetimeIndex([], dtype="datetime64[us, UTC]", name="timestamp")


@st.composite
def candle_tables(draw: st.DrawFn, timeframe: Timeframe, *, after: bool = False) -> pd.DataFrame:
    rows = draw(st.integers(0, 5))
    newest = timeframe.floor(AS_OF) + timeframe.length * (rows + 1 if after else -1)
    index = times(newest, timeframe.length, rows)
    columns = {
        name: np.array(draw(st.lists(FLOATS, min_size=rows, max_size=rows)), dtype=np.float64)
        for name in ("open", "high", "low", "close", "volume")
    }
    table = pd.DataFrame(columns, index=index)
    if draw(st.booleans()):
        counts = st.none() | st.integers(-(2**63), 2**63 - 1)
        table["trade_count"] = pd.array(draw(st.lists(counts, min_size=rows, max_size=rows)), dtype="Int64")
    if draw(st.booleans()):
        table["is_forming"] = np.zeros(rows, dtype=bool)
    return table


@st.composite
def order_book_frames(draw: st.DrawFn) -> OrderBookDataFrame:
    sides = []
    for direction in (-1, 1):
        levels = draw(st.integers(0, 4))
        prices = 100.0 + direction * np.arange(1, levels + 1) / 7
        sides += [
            prices,
            np.array(draw(st.lists(POSITIVE, min_size=levels, max_size=levels)), dtype=np.float64),
        ]
    aggregation = draw(st.sampled_from(["raw", "1s", "1m"]))
    age = timedelta(microseconds=draw(st.integers(0, 10**9))) + timedelta(minutes=aggregation != "raw")
    book = OrderBook("BTC/USDT", AS_OF - age, *sides)
    known = draw(st.dictionaries(st.sampled_from(IMBALANCES), st.floats(-1, 1)))
    return OrderBookDataFrame.from_book(book, imbalances=known, aggregation=aggregation)


@st.composite
def inference_frames(draw: st.DrawFn) -> InferenceDataFrame:
    timeframes = draw(st.lists(st.sampled_from(Timeframe), unique=True, max_size=3))
    candles = {t: draw(candle_tables(t)) for t in timeframes}
    forming = set()
    for timeframe, table in candles.items():
        if len(table) and "is_forming" in table and draw(st.booleans()):
            table.iloc[-1, table.columns.get_loc("is_forming")] = True
            forming.add(timeframe)
    indicators = {}
    for timeframe, table in candles.items():
        if draw(st.booleans()):
            values = draw(st.lists(FLOATS, min_size=len(table), max_size=len(table)))
            indicators[timeframe] = pd.DataFrame({"rsi_14": np.array(values, np.float64)}, index=table.index)
    return InferenceDataFrame(
        symbol="BTC/USDT",
        timestamp=AS_OF + timedelta(seconds=draw(st.integers(0, 5))),
        as_of=AS_OF,
        candles=candles,
        order_book=draw(st.none() | order_book_frames()),
        imbalances=draw(st.dictionaries(st.sampled_from(IMBALANCES), st.floats(-1, 1))),
        indicators=indicators,
        context_before={t: draw(candle_tables(t)) for t in timeframes[:1]},
        context_after={t: draw(candle_tables(t, after=True)) for t in timeframes},
        sources=draw(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2)),
        quality=QualityFlags(
            missing_candles=dict.fromkeys(timeframes, 3),
            staleness_s=draw(st.dictionaries(st.text(max_size=5), AGES, max_size=2)),
            forming=frozenset(forming),
        ),
    )
