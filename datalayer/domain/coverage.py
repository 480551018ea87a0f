"""What is stored of each series, and what is silent or missing in one of candles."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import pandas as pd

    from datalayer.domain.feed_gap import FeedGap
    from datalayer.domain.timeframe import Timeframe

SeriesKind: TypeAlias = Literal["candles", "trades", "order_books", "order_book_imbalances"]
"""What a series is of; the name of the table that holds it."""


@dataclass(frozen=True, slots=True)
class StoredRange:
    """From when to when one series of a symbol is stored; what lies between may have gaps.

    Attributes:
        symbol: canonical, as in `BTC/USDT`.
        kind: what it is a series of.
        timeframe: of candles; None for the other kinds.
        first: earliest time in UTC; of candles, the open time.
        last: latest time in UTC, included; the candle that opens then covers `timeframe.length` more.
        rows: exact number of rows; None: not asked for.
    """

    symbol: str
    kind: SeriesKind
    timeframe: Timeframe | None
    first: datetime
    last: datetime
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class LatestTimestamps:
    """The latest times that are stored of a symbol, in UTC.

    Attributes:
        symbol: canonical, as in `BTC/USDT`.
        candles: open time of the latest closed candle, for each timeframe of which there is one, ascending.
        trades: of the latest trade; None: there is none.
        order_books: of the latest snapshot; None: there is none.
        order_book_imbalances: of the latest imbalances; None: there are none.
    """

    symbol: str
    candles: Mapping[Timeframe, datetime] = field(default_factory=dict)
    trades: datetime | None = None
    order_books: datetime | None = None
    order_book_imbalances: datetime | None = None


@dataclass(frozen=True, slots=True, eq=False)
class CoverageReport:
    """A range of open times of one timeframe, taken apart into what was traded, what was silent and what is missing.

    Attributes:
        symbol: canonical, as in `BTC/USDT`.
        timeframe: of the candles.
        start: first open time in UTC, included.
        end: excluded.
        as_of: what was closed at this time was looked at, in UTC.
        intervals: a frame, ascending, without holes: the range in intervals of equal state. Columns: `start` and `end`
            (datetime64[us, UTC]; half-open, on the grid of the timeframe), `candles` (int64: how many open times it
            has), `state` ("traded", "silent" or "missing"), `is_absent` (bool: there are no candles, stored
            or generated).
        feed_gaps: holes that live feeds know of and that are not filled, in candles of this timeframe, in trades and in
            order books, as far as they reach into the range; ascending by their start.
    """

    symbol: str
    timeframe: Timeframe
    start: datetime
    end: datetime
    as_of: datetime
    intervals: pd.DataFrame
    feed_gaps: tuple[FeedGap, ...] = ()

    @property
    def expected(self) -> int:
        """Number of candles in the range, if there were one for each open time."""
        return int(self.intervals["candles"].sum())

    @property
    def traded(self) -> int:
        """Number of candles with a volume."""
        return self._count("traded")

    @property
    def silent(self) -> int:
        """Number of open times in which the market was silent: a candle without volume, or an absent one accounted for."""
        return self._count("silent")

    @property
    def missing(self) -> int:
        """Number of open times of which nobody has a candle, and none accounts for its absence."""
        return self._count("missing")

    def _count(self, state: str) -> int:
        return int(self.intervals.loc[self.intervals["state"] == state, "candles"].sum())
