"""`OrderBookDataFrame`: the standard form of a book at one moment."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, get_args

import numpy as np
import pandas as pd

from datalayer.domain.frame_codec import StandardFrame, moment_of, moment_text
from datalayer.domain.frame_frozen import FrozenMapping
from datalayer.domain.frame_tables import check_table
from datalayer.domain.frame_values import member, number, plain_number, text_of
from datalayer.domain.moments import utc_moment
from datalayer.domain.symbols import canonical_symbol
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from datalayer.domain.order_book import OrderBook

Aggregation = Literal["raw", "1s", "1m"]
"""A single snapshot, or the books of a second or minute: then the levels and all values are those of its last book."""

IMBALANCES: Final = tuple(f"{kind}_imbalance_{s}s" for kind in ("book", "volume") for s in (1, 5, 15, 60))
"""Names of the imbalances: of the book and of traded volume over 1, 5, 15 and 60 s before the moment, in [-1, 1]."""

_LENGTHS: Final = {"raw": timedelta(0), "1s": timedelta(seconds=1), "1m": timedelta(minutes=1)}
_LAST: Final = datetime.max.replace(tzinfo=UTC)
_SIDE: Final = ("price", "size", "cumulative_size")
_LEVEL: Final = re.compile(r"(bid|ask)_(price|size|cumulative_size)_(\d+)")


@dataclass(frozen=True, slots=True, eq=False)
class OrderBookDataFrame(StandardFrame):
    """A book at one moment, with what models ask of it.

    Tables are copied on the way in.

    Attributes:
        symbol: canonical, as in `BTC/USDT`; another known spelling is converted.
        timestamp: exchange time of the book, UTC; of an aggregation the start of its second or minute.
        bids: a row a level, best first, numbered from 0; float64 columns price (quote asset), size and cumulative_size
            (base asset, the latter the sum down to this level). No rows: nobody bids.
        asks: likewise.
        imbalances: the eight `IMBALANCES`, float in [-1, 1]; NaN: not known.
        aggregation: see `Aggregation`.

    Raises:
        InvalidInputError: a table has other columns or dtypes, the time is naive, an imbalance is beyond -1 or 1, or the
            symbol names no pair; names the field.
    """

    kind: ClassVar[str] = "order_book"
    format_version: ClassVar[int] = 1

    symbol: str
    timestamp: datetime
    bids: pd.DataFrame
    asks: pd.DataFrame
    imbalances: Mapping[str, float] = field(default_factory=dict)
    aggregation: Aggregation = "raw"

    def __post_init__(self) -> None:
        object.__setattr__(self, "timestamp", utc_moment(self.timestamp, "timestamp"))
        object.__setattr__(self, "imbalances", complete_imbalances(self.imbalances))
        if self.aggregation not in get_args(Aggregation):
            raise InvalidInputError("aggregation", self.aggregation, f"use one of {get_args(Aggregation)}")
        if self.timestamp > _LAST - _LENGTHS[self.aggregation]:
            raise InvalidInputError(
                "timestamp", self.timestamp, "its second or minute ends after the year 9999"
            )
        object.__setattr__(self, "symbol", canonical_symbol(self.symbol))
        for side in ("bids", "asks"):
            table = getattr(self, side)
            check_table(table, side, timed=False)
            if tuple(table.columns) != _SIDE or set(map(str, table.dtypes)) != {"float64"}:
                raise InvalidInputError(side, list(table.columns), f"give float64 columns {', '.join(_SIDE)}")
            object.__setattr__(self, side, table.copy())  # the caller's may change

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
        book.columns()
        return cls(
            symbol=book.symbol,
            timestamp=book.ts,
            bids=_side(book.bid_prices, book.bid_sizes),
            asks=_side(book.ask_prices, book.ask_sizes),
            imbalances=imbalances or {},
            aggregation=aggregation,
        )

    @property
    def known_at(self) -> datetime:
        """From when on it is visible: its time, or the end of its second or minute."""
        return self.timestamp + _LENGTHS[self.aggregation]

    @property
    def best_bid(self) -> float:
        """Highest bid; NaN: nobody bids."""
        return _first(self.bids, "price")

    @property
    def best_ask(self) -> float:
        """Lowest ask; NaN: nobody asks."""
        return _first(self.asks, "price")

    @property
    def mid(self) -> float:
        """`(best_bid + best_ask) / 2`; NaN if a side is empty."""
        return (self.best_bid + self.best_ask) / 2

    @property
    def spread(self) -> float:
        """`best_ask - best_bid`; NaN if a side is empty."""
        return self.best_ask - self.best_bid

    @property
    def micro_price(self) -> float:
        """The mid weighted by the sizes of the best levels, each price by the size of the other side; NaN without sizes.

        `(best_bid * ask_size + best_ask * bid_size) / (bid_size + ask_size)`, the weighted mid of Gatheral and Oomen,
        "Zero-intelligence realized variance estimation", Finance and Stochastics 14 (2010).
        """
        bid_size, ask_size = _first(self.bids, "size"), _first(self.asks, "size")
        total = bid_size + ask_size
        return (self.best_bid * ask_size + self.best_ask * bid_size) / total if total else math.nan

    @property
    def bid_volume(self) -> float:
        """Summed size of all bid levels, in the base asset."""
        return float(self.bids["size"].sum())

    @property
    def ask_volume(self) -> float:
        """Summed size of all ask levels, in the base asset."""
        return float(self.asks["size"].sum())

    def depth_volumes(self, within: float) -> tuple[float, float]:
        """Return the summed sizes of bids and asks no further than a share of the mid from it; NaN without a mid.

        Args:
            within: share of the mid, as in 0.001 for ten basis points; the bound is included.
        """
        mid = self.mid
        if math.isnan(mid):
            return math.nan, math.nan
        bids = self.bids.loc[self.bids["price"] >= mid * (1 - within), "size"].sum()
        asks = self.asks.loc[self.asks["price"] <= mid * (1 + within), "size"].sum()
        return float(bids), float(asks)

    def to_pandas(self) -> pd.DataFrame:
        """Return all levels: index `side` (bid, ask) and `level` (0 is the best), columns price, size, cumulative_size."""
        return pd.concat({"bid": self.bids, "ask": self.asks}, names=["side", "level"])

    def to_numpy(self, features: Sequence[str]) -> NDArray[np.float64]:
        """Return features for a model, float64 `[features]`.

        Args:
            features: names of properties (best_bid, best_ask, mid, spread, micro_price, bid_volume, ask_volume), of
                `IMBALANCES`, or of a level's value, as in `bid_price_0` or `ask_cumulative_size_4`.

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
            table, row = getattr(self, f"{level[1]}s"), int(level[3])
            return float(table[level[2]].to_numpy()[row]) if row < len(table) else math.nan
        known = ", ".join([*_PROPERTIES, *IMBALANCES, "bid_price_0 …"])
        raise InvalidInputError("features", name, f"use {known}")

    def _facts(self) -> dict[str, Any]:
        return {
            "symbol": self.symbol,
            "timestamp": moment_text(self.timestamp),
            "imbalances": {name: plain_number(value) for name, value in self.imbalances.items()},
            "aggregation": self.aggregation,
        }

    def _tables(self) -> dict[str, pd.DataFrame]:
        return {"bids": self.bids, "asks": self.asks}

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
        InvalidInputError: there is no imbalance of that name, or one is beyond -1 or 1.
    """
    for name, value in given.items():
        if name not in IMBALANCES:
            raise InvalidInputError("imbalances", name, f"use {', '.join(IMBALANCES)}")
        if abs(value) > 1:
            path = f"imbalances.{name}"
            raise InvalidInputError(path, value, "an imbalance is in [-1, 1]")
    return FrozenMapping({name: float(given.get(name, math.nan)) for name in IMBALANCES})


def imbalances_of(data: Any) -> dict[str, float]:
    """Return imbalances that JSON carried.

    Raises:
        InvalidInputError: malformed.
    """
    return {name: number(member(data, name, "imbalances"), name) for name in IMBALANCES}


def _side(prices: NDArray[np.float64], sizes: NDArray[np.float64]) -> pd.DataFrame:
    columns = {"price": prices, "size": sizes, "cumulative_size": np.cumsum(sizes)}
    return pd.DataFrame({name: np.asarray(values, np.float64) for name, values in columns.items()})


def _first(table: pd.DataFrame, column: str) -> float:
    return float(table[column].to_numpy()[0]) if len(table) else math.nan
