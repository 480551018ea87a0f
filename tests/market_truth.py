"""A market of 1s candles, and what a reader must be told of it at a moment: the plain definition, by pandas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from datetime import datetime

    from datalayer.domain.timeframe import Timeframe

VALUES = ["open", "high", "low", "close", "volume", "trade_count"]


def market(start: datetime, seconds: int, seed: int, *, share: float = 0.8) -> pd.DataFrame:
    """A walk of 1s candles with silent seconds, and now and then a silent minute or two."""
    random = np.random.default_rng(seed)
    index = pd.date_range(start, periods=seconds, freq="1s", unit="us", name="timestamp")
    traded = random.random(seconds) < share
    for silent in random.integers(0, seconds, seconds // 1_500):
        traded[silent : silent + random.integers(60, 200)] = False
    index = index[traded]
    rows = len(index)
    opened = 6_000_000 + random.integers(-50, 51, rows).cumsum()
    close = opened + random.integers(-9, 10, rows)
    columns = {
        "open": opened / 100,
        "high": (np.maximum(opened, close) + random.integers(0, 9, rows)) / 100,
        "low": (np.minimum(opened, close) - random.integers(0, 9, rows)) / 100,
        "close": close / 100,
        "volume": random.integers(1, 10**6, rows) / 10**5,
        "trade_count": pd.array(random.integers(1, 90, rows), dtype="Int64"),
    }
    return pd.DataFrame(columns, index=index)


def visible(
    seconds: pd.DataFrame, timeframe: Timeframe, as_of: datetime, *, include_forming: bool = False
) -> pd.DataFrame:
    """Return the candles that were closed at a moment, and perhaps the one that formed."""
    known = seconds[seconds.index + pd.Timedelta(seconds=1) <= pd.Timestamp(as_of)]
    if timeframe.value == 1:
        return known.assign(is_forming=False) if include_forming else known
    # In integers: sums of floats are off in the last digit.
    steps = known.assign(volume=(known["volume"] * 10**5).round().astype(np.int64))
    groups = steps.groupby(steps.index.floor(timeframe.offset))
    rolled = groups.agg(
        open=("open", "first"),
        high=("high", "max"),
        low=("low", "min"),
        close=("close", "last"),
        volume=("volume", "sum"),
        trade_count=("trade_count", "sum"),
    )
    rolled["volume"] = rolled["volume"] / 10**5
    is_forming = rolled.index + timeframe.length > pd.Timestamp(as_of)
    if include_forming:
        return rolled.assign(is_forming=is_forming)
    return rolled[~is_forming]


def chosen(
    candles: pd.DataFrame, start: datetime | None, end: datetime | None, limit: int | None
) -> pd.DataFrame:
    """Return the candles that open in `[start, end)`, the last so many of them."""
    if start is not None:
        candles = candles[candles.index >= pd.Timestamp(start)]
    if end is not None:
        candles = candles[candles.index < pd.Timestamp(end)]
    return candles if limit is None else candles.iloc[max(len(candles) - limit, 0) :]


def assert_same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Fail unless times and values are the same, to the last digit."""
    names = [*VALUES, "is_forming"] if "is_forming" in expected else VALUES
    pd.testing.assert_frame_equal(
        found[names],
        expected[names],
        check_exact=True,
        check_freq=False,
        check_names=False,
        check_dtype=False,
    )
