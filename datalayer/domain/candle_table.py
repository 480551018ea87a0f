"""Candles of one timeframe as arrays, and what was computed of them: checked once, made into tables when somebody looks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from datalayer.domain.candle import UNKNOWN_COUNT
from datalayer.domain.frame_tables import FORMING, PRICES, TIMESTAMP, TRADE_COUNT
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from datetime import datetime

    from numpy.typing import NDArray

Part = Literal["candles", "indicators"]


@dataclass(frozen=True, slots=True, eq=False)
class CandleTable:
    """Candles of one timeframe by columns, ascending, with indicators on the same rows. Nobody may write to the arrays.

    Attributes:
        timeframe: of the candles.
        times: open times in UTC, datetime64[us], `[n]`.
        prices: open, high, low, close (quote asset) and volume (base asset), each float64 `[n]`.
        trade_count: int64 `[n]`; -1: unknown.
        is_forming: bool `[n]`, whether it was taken before its close; None: none was, and there is no such column.
        indicators: float64 `[n]` by name; NaN: warming up.

    Raises:
        InvalidInputError: times are not ascending, or not on the grid of the timeframe; names the row.
    """

    timeframe: Timeframe
    times: NDArray[np.datetime64]
    prices: Mapping[str, NDArray[np.float64]]
    trade_count: NDArray[np.int64]
    is_forming: NDArray[np.bool_] | None = None
    indicators: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    _made: dict[Part, pd.DataFrame] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        micros = self.times.view(np.int64)
        off = micros % (self.timeframe.value * 1_000_000) != 0
        off[1:] |= micros[1:] <= micros[:-1]
        if off.any():
            row = int(np.argmax(off))
            hint = f"row {row} is no later open time of a candle of {self.timeframe.label}"
            raise InvalidInputError("times", str(self.times[row]), hint)

    def __len__(self) -> int:
        return len(self.times)

    @property
    def has_forming_last(self) -> bool:
        """Whether the last candle is one that forms."""
        return self.is_forming is not None and len(self) > 0 and bool(self.is_forming[-1])

    def rows(self, start: int, stop: int) -> CandleTable:
        """Return some of the rows; shares the arrays."""
        return self._slice(slice(start, stop), self.is_forming)

    @property
    def closed_count(self) -> int:
        """Number of candles that are closed; those that form come last."""
        if self.is_forming is None or not len(self) or not self.is_forming[-1]:
            return len(self)
        return int(np.argmax(self.is_forming))

    def closed_from(self, moment: datetime) -> CandleTable:
        """Return the closed candles that open at a moment (aware) or later, without the column of those that form."""
        opened = np.datetime64(moment.replace(tzinfo=None), "us")
        return self._slice(slice(int(self.times.searchsorted(opened)), self.closed_count), None)

    def find(self, moment: datetime) -> int:
        """Return the position of the first candle that closes after a moment (aware)."""
        opens = np.datetime64(moment.replace(tzinfo=None), "us") - np.timedelta64(self.timeframe.value, "s")
        return int(self.times.searchsorted(opens, side="right"))

    def refuse_future(self, as_of: datetime, label: str) -> None:
        """Refuse candles that were not visible at a moment: not closed, or, of one that forms, not open.

        Raises:
            InvalidInputError: names the table and the row.
        """
        known = self.find(as_of)
        if known == len(self):
            return
        wrong = np.ones(len(self) - known, bool)
        if self.is_forming is not None:
            opened = self.times[known:] <= np.datetime64(as_of.replace(tzinfo=None), "us")
            wrong = ~(self.is_forming[known:] & opened)
        if wrong.any():
            row = self.times[known + int(np.argmax(wrong))]
            raise InvalidInputError(label, f"{row}+00:00", f"was not visible at as_of={as_of}")

    def frame(self, part: Part) -> pd.DataFrame:
        """Return the candles, or the indicators, as `InferenceDataFrame` has them; for reading only, the same each time."""
        made = self._made.get(part)
        if made is None:
            made = self._made[part] = self._candles() if part == "candles" else self._indicators()
        return made

    def _slice(self, chosen: slice, is_forming: NDArray[np.bool_] | None) -> CandleTable:
        part = object.__new__(CandleTable)  # a part of what was checked
        values = {
            "timeframe": self.timeframe,
            "times": self.times[chosen],
            "prices": {name: column[chosen] for name, column in self.prices.items()},
            "trade_count": self.trade_count[chosen],
            "is_forming": None if is_forming is None else is_forming[chosen],
            "indicators": {name: column[chosen] for name, column in self.indicators.items()},
            "_made": {},
        }
        for name, value in values.items():
            object.__setattr__(part, name, value)
        return part

    def _candles(self) -> pd.DataFrame:
        counts = pd.arrays.IntegerArray(self.trade_count.copy(), self.trade_count == UNKNOWN_COUNT)
        data: dict[str, Any] = {name: self.prices[name] for name in PRICES} | {TRADE_COUNT: counts}
        if self.is_forming is not None:
            data[FORMING] = self.is_forming
        return self._table(data)

    def _indicators(self) -> pd.DataFrame:
        return self._table(dict(self.indicators))

    def _table(self, data: dict[str, Any]) -> pd.DataFrame:
        return pd.DataFrame(data, index=pd.DatetimeIndex(self.times, tz="UTC", name=TIMESTAMP))


class ArrayTables(Mapping[Timeframe, pd.DataFrame]):
    """Tables by timeframe that are made of arrays when they are looked at; `InferenceDataFrame` takes them as they are.

    Args:
        tables: by timeframe, which is that of the table.
        part: what of them; those without indicators have no such part.
    """

    __slots__ = ("_part", "_tables")

    def __init__(self, tables: Mapping[Timeframe, CandleTable], part: Part = "candles") -> None:
        self._tables = {t: table for t, table in tables.items() if part == "candles" or table.indicators}
        self._part: Part = part

    def __getitem__(self, key: Timeframe) -> pd.DataFrame:
        return self._tables[key].frame(self._part)

    def __iter__(self) -> Iterator[Timeframe]:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    @property
    def forming(self) -> set[Timeframe]:
        """Timeframes whose last candle is one that forms."""
        return {timeframe for timeframe, table in self._tables.items() if table.has_forming_last}

    def check(self, group: str, as_of: datetime) -> None:
        """Refuse what does not belong into a group of an `InferenceDataFrame`: what was not visible, or what was.

        Raises:
            InvalidInputError: names the table and the row.
        """
        for timeframe, table in self._tables.items():
            label = f"{group}.{timeframe.label}"
            if table.timeframe is not timeframe:
                raise InvalidInputError(label, table.timeframe.label, "holds candles of another timeframe")
            if group != "context_after":
                table.refuse_future(as_of, label)
            elif table.find(as_of):
                first = f"{table.times[0]}+00:00"
                raise InvalidInputError(
                    label, first, f"was known at as_of={as_of}; it belongs to context_before"
                )

    def is_of(self, others: Mapping[Timeframe, pd.DataFrame]) -> bool:
        """Tell whether these are parts of the same tables as others."""
        return isinstance(others, ArrayTables) and all(
            others.table(timeframe) is table for timeframe, table in self._tables.items()
        )

    def table(self, timeframe: Timeframe) -> CandleTable | None:
        """Return the arrays themselves; None: there are none of this timeframe."""
        return self._tables.get(timeframe)

    def find_values(self, timeframe: Timeframe, column: str) -> NDArray[np.float64] | None:
        """Return a column of the candles or of their indicators as float64, NaN where it is not known; None: there is none."""
        table = self._tables[timeframe]
        if (found := table.prices.get(column)) is not None:
            return found
        if (found := table.indicators.get(column)) is not None:
            return found
        if column == TRADE_COUNT:
            return np.where(table.trade_count == UNKNOWN_COUNT, np.nan, table.trade_count)
        if column == FORMING and table.is_forming is not None:
            return table.is_forming.astype(np.float64)
        return None

    def closed_rows(self, timeframe: Timeframe) -> NDArray[np.bool_] | slice:
        """Return which rows are of closed candles."""
        is_forming = self._tables[timeframe].is_forming
        return slice(None) if is_forming is None else ~is_forming
