"""Candles and indicators inside of the standard frames: their columns, their grid, and when they were visible."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from datalayer.domain.frame_tables import FORMING, PRICES, TRADE_COUNT
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from datetime import datetime

    from numpy.typing import NDArray

    from datalayer.domain.timeframe import Timeframe


def check_candles(table: pd.DataFrame, timeframe: Timeframe, label: str) -> None:
    """Refuse a table that lacks a column of candles, or has an open time that no candle of the timeframe has.

    Raises:
        InvalidInputError: names the table, and the column or the row.
    """
    for name in PRICES:
        if name not in table or str(table[name].dtype) != "float64":
            raise InvalidInputError(label, list(table.columns), f"give float64 columns {', '.join(PRICES)}")
    if FORMING in table and str(table[FORMING].dtype) != "bool":
        raise InvalidInputError(label, str(table[FORMING].dtype), f"{FORMING} is a column of bool")
    if TRADE_COUNT in table and str(table[TRADE_COUNT].dtype) != "Int64":
        found = str(table[TRADE_COUNT].dtype)
        raise InvalidInputError(label, found, f"{TRADE_COUNT} is a column of Int64; NA: unknown")
    off = np.asarray(table.index.floor(timeframe.offset) != table.index)  # type: ignore[attr-defined]
    if off.any():
        raise InvalidInputError(
            label, str(table.index[int(np.argmax(off))]), f"is no open time of a candle of {timeframe.label}"
        )


def check_indicators(table: pd.DataFrame, candles: pd.DataFrame | None, label: str) -> None:
    """Refuse indicators on other rows than those of the candles, or that would hide a column of theirs.

    Raises:
        InvalidInputError: names the table, and the column.
    """
    taken = [name for name in table.columns if name in {*PRICES, FORMING, TRADE_COUNT}]
    if taken or set(map(str, table.dtypes)) - {"float64"}:
        found = taken or list(map(str, table.dtypes))
        raise InvalidInputError(
            label, found, "give float64 columns, none of them named as one of the candles"
        )
    if candles is None or not table.index.isin(candles.index).all():
        raise InvalidInputError(
            label, len(table), "give values on rows of the candles of this timeframe only"
        )


def refuse_future(table: pd.DataFrame, timeframe: Timeframe, as_of: datetime, label: str) -> None:
    """Refuse candles that were not visible: a closed one is from its close on, a forming one from its open on.

    Raises:
        InvalidInputError: names the table and the row.
    """
    wrong = ~_closed(table, timeframe, as_of)
    if FORMING in table:
        forming = table[FORMING].to_numpy()
        wrong = np.where(forming, table.index > as_of, wrong)
    if wrong.any():
        row = table.index[int(np.argmax(wrong))]
        raise InvalidInputError(label, str(row), f"was not visible at as_of={as_of}")


def refuse_past(table: pd.DataFrame, timeframe: Timeframe, as_of: datetime, label: str) -> None:
    """Refuse candles that were known, being closed.

    Raises:
        InvalidInputError: names the table and the row.
    """
    wrong = _closed(table, timeframe, as_of)
    if wrong.any():
        row = table.index[int(np.argmax(wrong))]
        raise InvalidInputError(label, str(row), f"was known at as_of={as_of}; it belongs to context_before")


def _closed(table: pd.DataFrame, timeframe: Timeframe, as_of: datetime) -> NDArray[np.bool_]:
    # Not by the close of each, which could leave the calendar.
    return np.asarray(table.index <= pd.Timestamp(as_of) - pd.Timedelta(timeframe.length))
