"""Indicators of a frame of candles."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import numpy as np
import pandas as pd

from datalayer.domain.indicators.library import load_talib
from datalayer.domain.indicators.runs import Gaps, float_columns, open_times, stream_runs
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import ModuleType

    from numpy.typing import NDArray

    from datalayer.domain.indicators.spec import Indicator, Recipe


def compute_indicators(
    candles: pd.DataFrame,
    indicators: Sequence[Indicator],
    *,
    timeframe: Timeframe | str,
    gaps: Gaps = "restart",
) -> pd.DataFrame:
    """Return indicators of candles, each row from that row and earlier ones only.

    A row is named by its candle's open time `ts`, as the candle is, and uses its close: it is known from
    `ts + timeframe` on. The row of a forming candle is as provisional as the candle.

    A candle that is missing, or has NaN where an indicator reads, is a gap. With `gaps="restart"` no value reaches across
    one: its own row is NaN, and after it the indicator warms up as at the start. With `gaps="bridge"` the rows that exist
    count as if they followed each other; that suits markets whose silent candles are not stored.

    The first `lookback_rows` rows are NaN. EMA, MACD, RSI and ATR depend on where the candles start beyond that: load
    `settled_rows(timeframe)` candles up to the first row that matters, else a short history (live) and a long one
    (backtest) differ. EMA(20) needs 228, MACD(12, 26, 9) 397, RSI(14) and ATR(14) 295. Even then, and for moving windows
    too, the last digits may differ (`python -m benchmarks.indicators` says how much).

    Args:
        candles: indexed by aware open times, rising, on the grid of the timeframe; float64 columns, of which those that
            the indicators read must be there (`open`, `high`, `low`, `close`, `volume`). Is not changed.
        indicators: which ones; no two may make the same column.
        timeframe: length of the candles.
        gaps: see above.

    Returns:
        A frame with the index of `candles` and a float64 column for each of `indicator.columns`, in order. NaN where there
        is no value yet, or none is defined.

    Raises:
        InvalidInputError: the candles or an argument are not as described. Names the field, the value and the row.
        ConfigurationError: TA-Lib is missing, too old, or set up differently in this process. Says what to do.
    """
    length = Timeframe.parse(timeframe)
    _check_arguments(indicators, gaps)
    times = open_times(candles, length)
    recipes = [one.recipe for one in indicators]
    columns = float_columns(candles, dict.fromkeys(name for recipe in recipes for name in recipe.inputs))
    return pd.DataFrame(indicator_columns(times, columns, recipes, length, gaps), index=candles.index)


def indicator_columns(
    times: NDArray[np.datetime64],
    columns: Mapping[str, NDArray[np.float64]],
    recipes: Sequence[Recipe],
    timeframe: Timeframe,
    gaps: Gaps = "restart",
    *,
    is_finite: bool = False,
) -> dict[str, NDArray[np.float64]]:
    """Do as `compute_indicators` on arrays that have been checked.

    Args:
        times: open times in UTC, `[n]`, rising, on the grid of the timeframe.
        columns: of the candles, by name, contiguous float64 `[n]`, finite or NaN.
        recipes: of the indicators; no two make the same column.
        timeframe: length of the candles.
        gaps: see `compute_indicators`.
        is_finite: whether it is known that no value is NaN, so that it need not be looked for.

    Returns:
        float64 `[n]` for each column of the recipes.

    Raises:
        ConfigurationError: TA-Lib is missing, too old, or set up differently in this process.
    """
    talib = load_talib()
    everything = np.ones(len(times), bool)
    finite = {} if is_finite else {name: ~np.isnan(column) for name, column in columns.items()}
    runs: dict[tuple[bytes, bool], list[slice | NDArray[np.intp]]] = {}
    made: dict[str, NDArray[np.float64]] = {}
    for recipe in recipes:
        usable = everything
        if finite:
            usable = np.logical_and.reduce([finite[name] for name in recipe.inputs])
        key = usable.tobytes(), recipe.by_day  # nearly always the same for all of them
        if key not in runs:
            runs[key] = list(stream_runs(times, usable, timeframe, gaps, by_day=recipe.by_day))
        made |= _over_runs(talib, recipe, [columns[name] for name in recipe.inputs], runs[key])
    return made


def _over_runs(
    talib: ModuleType,
    recipe: Recipe,
    inputs: list[NDArray[np.float64]],
    runs: Iterable[slice | NDArray[np.intp]],
) -> dict[str, NDArray[np.float64]]:
    made = {name: np.full(len(inputs[0]), np.nan) for name in recipe.columns}
    for run in runs:
        columns = [column[run] for column in inputs]
        if len(columns[0]) > recipe.lookback_rows:
            for name, column in zip(recipe.columns, recipe.compute(talib, *columns), strict=True):
                made[name][run] = column
    return made


def _check_arguments(indicators: Sequence[Indicator], gaps: str) -> None:
    if gaps not in get_args(Gaps):
        raise InvalidInputError("gaps", gaps, f"use one of {', '.join(get_args(Gaps))}")
    names = [name for one in indicators for name in one.columns]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInputError("indicators", name, "two of them make this column; ask for it once")
