"""`OrderBookDataFrame`: the standard form of a book at one moment."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, get_args

import numpy as np
import pandas as pd

from datalayer.domain.frame_codec import StandardFrame, moment_of, moment_text
from datalayer.domain.frame_frozen import FrozenMapping, FrozenTable, kept_table
from datalayer.domain.frame_tables import check_table
from datalayer.domain.frame_values import member, number, plain_number, real_number, text_of
from datalayer.domain.moments import exact_moment
from datalayer.domain.order_book import LevelArrays, OrderBook, check_book
from datalayer.domain.symbols import canonical_symbol
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

Aggregation = Literal["raw", "1s", "1m"]
"""A single snapshot, or the books of a second or minute: then the levels and all values are those of its last book."""

IMBALANCES: Final = tuple(f"{kind}_imbalance_{s}s" for kind in ("book", "volume") for s in (1, 5, 15, 60))
"""Names of the imbalances: of the book and of traded volume over 1, 5, 15 and 60 s before the moment, in [-1, 1]."""

_LENGTHS: Final = {"raw": timedelta(0), "1s": timedelta(seconds=1), "1m": timedelta(minutes=1)}
_BPS: Final = 10_000
_LAST: Final = datetime.max.replace(tzinfo=UTC)
_SIDE: Final = ("price", "size", "cumulative_size")
_LEVEL: Final = re.compile(r"(bid|ask)_(price|size|cumulative_size)_([0-9]+)")
_DEPTH: Final = re.compile(r"(bid|ask)_volume_([0-9]{1,4})bps")
_SUM_TOLERANCE: Final = 1e-9
"""Who adds up sizes in another way gets other last digits."""


@dataclass(frozen=True, eq=False)
class OrderBookDataFrame(StandardFrame):
    """A book at one moment, with what models ask of it.

    Tables are copied on the way in and handed out as copies, so that what was checked once stays so.

    Attributes:
        symbol: canonical, as in `BTC/USDT`; another known spelling is converted.
        timestamp: exchange time of the book, UTC; of an aggregation the start of its second or minute.
        bids: a row a level, best first, numbered from 0; float64 columns price (quote asset), size and cumulative_size
            (base asset, the latter the sum down to this level). No rows: nobody bids.
        asks: likewise.
        imbalances: the eight `IMBALANCES`, float in [-1, 1]; NaN: not known.
        aggregation: see `Aggregation`.

    Raises:
        InvalidInputError: a table has other columns or dtypes, the levels break the rules of a book (see
            `OrderBookColumns`) or cumulative_size is not their sum, the time is naive or finer than a microsecond, an
            imbalance is beyond -1 or 1, or the symbol names no pair; names the field.
    """

    kind: ClassVar[str] = "order_book"
    format_version: ClassVar[int] = 1

    symbol: str
    timestamp: datetime
    bids: pd.DataFrame = FrozenTable()  # type: ignore[assignment]  # noqa: RUF009 (it hands out tables)
    asks: pd.DataFrame = FrozenTable()  # type: ignore[assignment]  # noqa: RUF009
    imbalances: Mapping[str, float] = field(default_factory=dict)
    aggregation: Aggregation = "raw"

    def __post_init__(self) -> None:
        object.__setattr__(self, "timestamp", exact_moment(self.timestamp, "timestamp"))
        object.__setattr__(self, "imbalances", complete_imbalances(self.imbalances))
        if self.aggregation not in get_args(Aggregation):
            raise InvalidInputError("aggregation", self.aggregation, f"use one of {get_args(Aggregation)}")
        if self.timestamp > _LAST - _LENGTHS[self.aggregation]:
            raise InvalidInputError(
                "timestamp", self.timestamp, "its second or minute ends after the year 9999"
            )
        object.__setattr__(self, "symbol", canonical_symbol(self.symbol))
        self._check_levels()

    def _check_levels(self) -> None:
        sides = [vars(self)[side] for side in ("bids", "asks")]
        if all(isinstance(side, LevelArrays) for side in sides):
            levels_of = [array for side in sides for array in (side.prices, side.sizes)]
            check_book(OrderBook(self.symbol, self.timestamp, *levels_of))
            return
        levels: list[NDArray[np.float64]] = []
        for side, table in self._tables().items():
            check_table(table, side, timed=False)
            if tuple(table.columns) != _SIDE or set(map(str, table.dtypes)) != {"float64"}:
                raise InvalidInputError(side, list(table.columns), f"give float64 columns {', '.join(_SIDE)}")
            price, size, cumulative = table.to_numpy().T
            levels += [price, size]
            if not np.allclose(cumulative, np.cumsum(size), rtol=_SUM_TOLERANCE, atol=0):
                path = f"{side}.cumulative_size"
                raise InvalidInputError(
                    path, cumulative.tolist(), "is not the sum of the sizes down to there"
                )
        book = OrderBook(self.symbol, self.timestamp, *levels)  # type: ignore[arg-type]  # these are four
        book.columns()  # refuses what breaks the rules of a book

    @classmethod
    def from_book(
        cls,
        book: OrderBook,
        *,
        imbalances: Mapping[str, float] | None = None,
        aggregation: Aggregation = "raw",
    ) -> Self:
        """Return the standard form of a snapshot.

        Args:
            book: levels best first.
            imbalances: those of `IMBALANCES` that are known.
            aggregation: see `Aggregation`; the time of `book` is then the start of its second or minute.

        Raises:
            InvalidInputError: a level breaks the rules of a book (see `OrderBookColumns`), or an argument is malformed.
        """
        return cls(
            symbol=book.symbol,
            timestamp=book.ts,
            bids=LevelArrays(book.bid_prices, book.bid_sizes),  # type: ignore[arg-type]  # which `FrozenTable` takes
            asks=LevelArrays(book.ask_prices, book.ask_sizes),  # type: ignore[arg-type]
            imbalances=imbalances or {},
            aggregation=aggregation,
        )

    @property
    def known_at(self) -> datetime:
        """From when on it is visible: its time, or the end of its second or minute."""
        return self.timestamp + _LENGTHS[self.aggregation]

    @property
    def best_bid(self) -> float:
        """Highest bid in the quote asset; NaN: nobody bids."""
        return _first(self._values("bids", "price"))

    @property
    def best_ask(self) -> float:
        """Lowest ask in the quote asset; NaN: nobody asks."""
        return _first(self._values("asks", "price"))

    @property
    def mid(self) -> float:
        """`(best_bid + best_ask) / 2` in the quote asset; NaN if a side is empty."""
        return (self.best_bid + self.best_ask) / 2

    @property
    def spread(self) -> float:
        """`best_ask - best_bid` in the quote asset; NaN if a side is empty."""
        return self.best_ask - self.best_bid

    @property
    def micro_price(self) -> float:
        """The mid weighted by the sizes of the best levels, each price by the size of the other side.

        In the quote asset; NaN if a side is empty.

        `(best_bid * ask_size + best_ask * bid_size) / (bid_size + ask_size)`, the weighted mid of Gatheral and Oomen,
        "Zero-intelligence realized variance estimation", Finance and Stochastics 14 (2010).
        """
        bid_size, ask_size = (_first(self._values(side, "size")) for side in ("bids", "asks"))
        return (self.best_bid * ask_size + self.best_ask * bid_size) / (bid_size + ask_size)

    @property
    def bid_volume(self) -> float:
        """Summed size of all bid levels, in the base asset."""
        return float(self._values("bids", "size").sum())

    @property
    def ask_volume(self) -> float:
        """Summed size of all ask levels, in the base asset."""
        return float(self._values("asks", "size").sum())

    def depth_volumes(self, within: float) -> tuple[float, float]:
        """Return the summed sizes (base asset) of bids and asks no further than a share of the mid from it; NaN without a mid.

        Args:
            within: share of the mid, as in 0.001 for ten basis points; the bound is included.

        Raises:
            InvalidInputError: `within` is no number from 0 on.
        """
        if not 0 <= real_number(within, "within") < math.inf:
            raise InvalidInputError("within", within, "give a share of the mid, as in 0.001")
        if math.isnan(self.mid):
            return math.nan, math.nan
        # In decimals, since a bound that is rounded in binary leaves out the level that lies on it.
        mid = (Decimal(repr(self.best_bid)) + Decimal(repr(self.best_ask))) / 2
        reach = mid * Decimal(repr(float(within)))
        bids, asks = self._tables().values()
        near_bids, near_asks = bids["price"] >= float(mid - reach), asks["price"] <= float(mid + reach)
        return float(bids.loc[near_bids, "size"].sum()), float(asks.loc[near_asks, "size"].sum())

    def to_pandas(self) -> pd.DataFrame:
        """Return all levels: index `side` (bid, ask) and `level` (0 is the best), columns price, size, cumulative_size."""
        bids, asks = self._tables().values()
        return pd.concat({"bid": bids, "ask": asks}, names=["side", "level"])

    def to_numpy(self, features: Sequence[str]) -> NDArray[np.float64]:
        """Return features for a model, float64 `[features]`.

        Args:
            features: names of properties (best_bid, best_ask, mid, spread, micro_price, bid_volume, ask_volume), of
                `IMBALANCES`, of a level's value, as in `bid_price_0` or `ask_cumulative_size_4`, or of the volume within
                so many basis points of the mid (see `depth_volumes`), as in `bid_volume_10bps`.

        Returns:
            A value each, in this order; NaN: not known, or there is no such level.

        Raises:
            InvalidInputError: there is no such feature.
        """
        return np.array([self._feature(name) for name in features], dtype=np.float64)

    def _feature(self, name: str) -> float:
        if name in self.imbalances:
            return self.imbalances[name]
        if name in _PROPERTIES:
            return float(getattr(self, name))
        if level := _LEVEL.fullmatch(name):
            values, row = self._values(f"{level[1]}s", level[2]), int(level[3])
            return float(values[row]) if row < len(values) else math.nan
        if depth := _DEPTH.fullmatch(name):
            return self.depth_volumes(int(depth[2]) / _BPS)[depth[1] == "ask"]
        known = ", ".join([*_PROPERTIES, *IMBALANCES, "bid_price_0 …", "bid_volume_10bps …"])
        raise InvalidInputError("features", name, f"use {known}")

    def _values(self, side: str, column: str) -> NDArray[np.float64]:
        """Return a column of a side, without making a table for it."""
        kept = vars(self)[side]
        if isinstance(kept, LevelArrays):
            return kept.values(column)
        values: NDArray[np.float64] = kept[column].to_numpy()
        return values

    def _facts(self) -> dict[str, Any]:
        return {
            "symbol": self.symbol,
            "timestamp": moment_text(self.timestamp),
            "imbalances": {name: plain_number(value) for name, value in self.imbalances.items()},
            "aggregation": self.aggregation,
        }

    def _tables(self) -> dict[str, pd.DataFrame]:
        return {side: kept_table(self, side) for side in ("bids", "asks")}

    @classmethod
    def _made(cls, facts: Any, tables: dict[str, pd.DataFrame]) -> Self:
        return cls(
            symbol=text_of(member(facts, "symbol", "facts"), "symbol"),
            timestamp=moment_of(member(facts, "timestamp", "facts"), "timestamp"),
            bids=member(tables, "bids", "tables"),
            asks=member(tables, "asks", "tables"),
            imbalances=imbalances_of(member(facts, "imbalances", "facts")),
            aggregation=member(facts, "aggregation", "facts"),
        )


_PROPERTIES: Final = ("best_bid", "best_ask", "mid", "spread", "micro_price", "bid_volume", "ask_volume")


def complete_imbalances(given: Mapping[str, float]) -> FrozenMapping[str, float]:
    """Return all `IMBALANCES`, NaN where none is given.

    Raises:
        InvalidInputError: there is no imbalance of that name, or one is no number or beyond -1 or 1.
    """
    kept = dict.fromkeys(IMBALANCES, math.nan)
    for name, value in given.items():
        if name not in kept:
            raise InvalidInputError("imbalances", name, f"use {', '.join(IMBALANCES)}")
        path = f"imbalances.{name}"
        kept[name] = real_number(value, path)
        if abs(kept[name]) > 1:
            raise InvalidInputError(path, value, "an imbalance is in [-1, 1]")
    return FrozenMapping(kept)


def imbalances_of(data: Any) -> dict[str, float]:
    """Return imbalances that JSON carried.

    Raises:
        InvalidInputError: malformed.
    """
    return {name: number(member(data, name, "imbalances"), name) for name in IMBALANCES}


def _first(values: NDArray[np.float64]) -> float:
    return float(values[0]) if len(values) else math.nan
