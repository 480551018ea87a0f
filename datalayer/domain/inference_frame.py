"""`InferenceDataFrame`: everything a model or a person is told of one instrument at one moment."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np
import pandas as pd

from datalayer.domain.candle_table import ArrayTables
from datalayer.domain.frame_candles import check_candles, check_indicators, refuse_future, refuse_past
from datalayer.domain.frame_codec import StandardFrame, moment_of, moment_text
from datalayer.domain.frame_frozen import FrozenMapping, FrozenTables
from datalayer.domain.frame_quality import QualityFlags
from datalayer.domain.frame_tables import FORMING, PRICES, check_table
from datalayer.domain.frame_values import member, plain_number, text_of
from datalayer.domain.moments import utc_moment
from datalayer.domain.order_book_frame import OrderBookDataFrame, complete_imbalances, imbalances_of
from datalayer.domain.symbols import canonical_symbol
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

_BOOK: Final = "order_book."
_GROUPS: Final = ("candles", "indicators", "context_before", "context_after")


@dataclass(frozen=True, slots=True, eq=False)
class InferenceDataFrame(StandardFrame):
    """What is known of an instrument at one moment, and, clearly apart, what came after it.

    Known is what was visible at `as_of`: candles that were closed by then (or that are marked as forming), books and
    imbalances up to then. Making one that holds more is refused, so no reader has to ask. What came later is in
    `context_after` alone, which `to_pandas` and `to_numpy` never touch.

    Tables are indexed by `timestamp` (open time on the timeframe's grid, datetime64[us, UTC], ascending, unique). They are
    copied on the way in and handed out as copies, so that what was checked once stays so; `ArrayTables` are taken as they are
    and become tables when somebody looks. A timeframe may be given in any spelling that `Timeframe.parse` reads.

    Attributes:
        symbol: canonical, as in `BTC/USDT`; another known spelling is converted.
        timestamp: the moment that was asked for, UTC.
        as_of: up to when data count as known, UTC; not after `timestamp`, and equal to it as a rule.
        candles: by timeframe; float64 columns open, high, low, close (quote asset) and volume (base asset), perhaps
            trade_count (Int64; NA: unknown), perhaps is_forming (bool: taken before its close).
        order_book: the last book by then, of the same symbol; of an aggregation the last that was complete. None: none.
        imbalances: the eight of `IMBALANCES`, float in [-1, 1]; NaN: not known.
        indicators: by timeframe; float64 columns by name, none of them a column of candles, on rows of `candles` of that
            timeframe; NaN: warming up.
        context_before: candles by timeframe of the window before `timestamp`, known as well.
        context_after: candles by timeframe of the window after it: not known then, for annotation and training targets.
        sources: where each part came from, as in `{"candles.1m": "cache"}`.
        quality: see `QualityFlags`; `forming` names the timeframes whose last row in `candles` is marked so.

    Raises:
        InvalidInputError: a part was not visible at `as_of`, a table has other columns or dtypes, a time is naive, or
            `quality` and `candles` disagree on what is forming; names the field and the row.
    """

    kind: ClassVar[str] = "inference"
    format_version: ClassVar[int] = 1

    symbol: str
    timestamp: datetime
    as_of: datetime
    candles: Mapping[Timeframe, pd.DataFrame]
    order_book: OrderBookDataFrame | None = None
    imbalances: Mapping[str, float] = field(default_factory=dict)
    indicators: Mapping[Timeframe, pd.DataFrame] = field(default_factory=dict)
    context_before: Mapping[Timeframe, pd.DataFrame] = field(default_factory=dict)
    context_after: Mapping[Timeframe, pd.DataFrame] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    quality: QualityFlags = field(default_factory=QualityFlags)

    def __post_init__(self) -> None:
        for name in ("timestamp", "as_of"):
            object.__setattr__(self, name, utc_moment(getattr(self, name), name))
        if self.as_of > self.timestamp:
            raise InvalidInputError("as_of", self.as_of, f"is after timestamp={self.timestamp}: a look ahead")
        object.__setattr__(self, "symbol", canonical_symbol(self.symbol))
        object.__setattr__(self, "imbalances", complete_imbalances(self.imbalances))
        sources = {text_of(p, "sources"): text_of(s, f"sources.{p}") for p, s in self.sources.items()}
        object.__setattr__(self, "sources", FrozenMapping(sources))
        for group in _GROUPS:
            object.__setattr__(self, group, FrozenTables(getattr(self, group), group))
            self._check_tables(group)
        self._check_book()
        self._check_forming()

    def _check_tables(self, group: str) -> None:
        tables = self._kept(group)
        if isinstance(tables, ArrayTables):
            if group != "indicators":
                tables.check(group, self.as_of)
            elif not tables.is_of(self._kept("candles")):
                raise InvalidInputError(group, list(tables), "give those of the very tables of the candles")
            return
        for timeframe, table in tables.items():
            label = f"{group}.{timeframe.label}"
            check_table(table, label)
            if group == "indicators":
                check_indicators(table, self._kept("candles").get(timeframe), label)
            else:
                refuse = refuse_past if group == "context_after" else refuse_future
                check_candles(table, timeframe, label)
                refuse(table, timeframe, self.as_of, label)

    def _check_book(self) -> None:
        book = self.order_book
        if book is None:
            return
        if not isinstance(book, OrderBookDataFrame):
            raise InvalidInputError("order_book", type(book).__name__, "give an OrderBookDataFrame or None")
        if book.known_at > self.as_of:
            raise InvalidInputError("order_book", book.known_at, f"was not visible at as_of={self.as_of}")
        if book.symbol != self.symbol:
            raise InvalidInputError(
                "order_book", book.symbol, f"is the book of another symbol than {self.symbol}"
            )

    def _check_forming(self) -> None:
        tables = self._kept("candles")
        if isinstance(tables, ArrayTables):
            marked = tables.forming
        else:
            named = ((t, table[FORMING]) for t, table in tables.items() if FORMING in table)
            marked = {t for t, column in named if len(column) and column.iloc[-1]}
        if marked != self.quality.forming:
            told = sorted(t.label for t in self.quality.forming)
            last = sorted(t.label for t in marked)
            raise InvalidInputError(
                "quality.forming", told, f"the last candle is marked {FORMING} in {last or 'no timeframe'}"
            )

    def _kept(self, group: str) -> Mapping[Timeframe, pd.DataFrame]:
        tables: FrozenTables = getattr(self, group)
        return tables.kept()

    def to_pandas(self) -> pd.DataFrame:
        """Return what is known as one table: index `timeframe` (as in 1m) and `timestamp`, columns of candles and indicators.

        A timeframe without some column has NaN there. The context is not in it.
        """
        joined = {timeframe.label: self._known(timeframe) for timeframe in self.candles}
        if not joined:
            times = pd.DatetimeIndex([], dtype="datetime64[us, UTC]")
            index = pd.MultiIndex.from_arrays([[], times], names=["timeframe", "timestamp"])
            return pd.DataFrame({name: np.empty(0) for name in PRICES}, index=index)
        return pd.concat(joined, names=["timeframe", "timestamp"])

    def to_numpy(
        self, features: Sequence[str], *, rows: int | None = None, include_forming: bool = False
    ) -> NDArray[np.float64]:
        """Return features for a model; nothing of them was unknown at `as_of`.

        Args:
            features: `1m.close` or `1h.rsi_14` for a column of candles or indicators, the names of `IMBALANCES`, and
                `order_book.mid` or any other feature of `OrderBookDataFrame.to_numpy`.
            rows: None: the newest values. Else the last so many rows; all features are then of one timeframe.
            include_forming: let a candle that was taken before its close be the newest one.

        Returns:
            float64 `[features]`, or `[rows, features]` oldest first, filled up with NaN at the top; NaN: not known.

        Raises:
            InvalidInputError: there is no such feature, or rows of different timeframes are asked for.
        """
        if rows is None:
            newest = [self._newest(name, include_forming=include_forming) for name in features]
            return np.array(newest, dtype=np.float64)
        parts = [self._split(name) for name in features]
        if rows < 0:
            raise InvalidInputError("rows", rows, "give None or a number of rows, 0 or more")
        if len({timeframe for timeframe, _ in parts}) > 1:
            raise InvalidInputError("features", list(features), "rows are of one timeframe at a time")
        matrix = np.full((rows, len(features)), math.nan)
        for position, (timeframe, column) in enumerate(parts):
            values = self._values(timeframe, column, include_forming=include_forming)
            kept = values[max(len(values) - rows, 0) :]
            matrix[rows - len(kept) :, position] = kept
        return matrix

    def _newest(self, name: str, *, include_forming: bool) -> float:
        if name in self.imbalances:
            return self.imbalances[name]
        if name.startswith(_BOOK):
            feature = name.removeprefix(_BOOK)
            book = self.order_book or OrderBookDataFrame(self.symbol, self.as_of, _NO_LEVELS, _NO_LEVELS)
            value = float(book.to_numpy([feature])[0])  # refuses an unknown feature, book or not
            return math.nan if self.order_book is None else value
        timeframe, column = self._split(name)
        values = self._values(timeframe, column, include_forming=include_forming)
        return float(values[-1]) if len(values) else math.nan

    def _split(self, name: str) -> tuple[Timeframe, str]:
        label, _, column = name.partition(".")
        tables = self._kept("candles")
        for timeframe in tables:
            if timeframe.label == label:
                if isinstance(tables, ArrayTables):
                    if tables.find_values(timeframe, column) is None:
                        break
                    return timeframe, column
                table = tables[timeframe]
                indicators = self._kept("indicators").get(timeframe)
                if column in table.columns or (indicators is not None and column in indicators.columns):
                    return timeframe, column
        known = [f"{t.label}.{column}" for t in self.candles for column in self._known(t).columns]
        raise InvalidInputError(
            "features", name, f"use {', '.join(known)}, order_book.mid …, book_imbalance_1s …"
        )

    def _values(self, timeframe: Timeframe, column: str, *, include_forming: bool) -> NDArray[np.float64]:
        # Joining candles and indicators for each feature would take a hundred times as long.
        tables = self._kept("candles")
        if isinstance(tables, ArrayTables):
            found = tables.find_values(timeframe, column)
            assert found is not None  # noqa: S101 (`_split` has looked)
            return found if include_forming else found[tables.closed_rows(timeframe)]
        candles = tables[timeframe]
        holder = candles if column in candles.columns else self._kept("indicators")[timeframe]
        values: NDArray[np.float64] = holder[column].to_numpy(np.float64, na_value=math.nan)
        if holder is not candles and len(holder) < len(candles):
            values = _on_rows(values, candles.index.get_indexer(holder.index), len(candles))
        if include_forming or FORMING not in candles.columns:
            return values
        closed: NDArray[np.float64] = values[~candles[FORMING].to_numpy()]
        return closed

    def _known(self, timeframe: Timeframe) -> pd.DataFrame:
        """Candles and indicators side by side, each row said to be forming or not."""
        table = self.candles[timeframe]
        if FORMING not in table:
            table[FORMING] = np.zeros(len(table), dtype=bool)
        indicators = self._kept("indicators").get(timeframe)
        return table if indicators is None else table.join(indicators)

    def _facts(self) -> dict[str, Any]:
        return {
            "symbol": self.symbol,
            "timestamp": moment_text(self.timestamp),
            "as_of": moment_text(self.as_of),
            "imbalances": {name: plain_number(value) for name, value in self.imbalances.items()},
            "sources": dict(self.sources),
            "quality": self.quality.facts(),
            "order_book": None if self.order_book is None else self.order_book.to_dict(),
        }

    def _tables(self) -> dict[str, pd.DataFrame]:
        return {
            f"{group}.{timeframe.label}": table
            for group in _GROUPS
            for timeframe, table in self._kept(group).items()
        }

    @classmethod
    def _made(cls, facts: Any, tables: dict[str, pd.DataFrame]) -> Self:
        groups: dict[str, dict[Timeframe, pd.DataFrame]] = {group: {} for group in _GROUPS}
        for name, table in tables.items():
            group, _, label = name.partition(".")
            if group not in groups:
                raise InvalidInputError("tables", name, f"use {', '.join(_GROUPS)}")
            timeframe = Timeframe.parse(label)
            if timeframe in groups[group]:
                raise InvalidInputError("tables", name, "is there twice, in two spellings")
            groups[group][timeframe] = table
        sources, book = member(facts, "sources", "facts"), member(facts, "order_book", "facts")
        if not isinstance(sources, dict):
            raise InvalidInputError("sources", sources, "is no mapping of texts")
        return cls(
            symbol=text_of(member(facts, "symbol", "facts"), "symbol"),
            timestamp=moment_of(member(facts, "timestamp", "facts"), "timestamp"),
            as_of=moment_of(member(facts, "as_of", "facts"), "as_of"),
            order_book=None if book is None else OrderBookDataFrame.from_dict(book),
            imbalances=imbalances_of(member(facts, "imbalances", "facts")),
            sources=sources,
            quality=QualityFlags.of(member(facts, "quality", "facts")),
            **groups,
        )


_NO_LEVELS: Final = pd.DataFrame({name: np.empty(0) for name in ("price", "size", "cumulative_size")})


def _on_rows(values: NDArray[np.float64], places: NDArray[np.intp], rows: int) -> NDArray[np.float64]:
    spread = np.full(rows, math.nan)
    spread[places] = values
    return spread
