"""Order-book snapshots: many by columns, or a single one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from datalayer.domain.moments import exact_moment
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNKNOWN_UPDATE_ID: Final = -1
"""Stands for the update id of an exchange that has none; stored as NULL."""


@dataclass(frozen=True, slots=True, eq=False)
class OrderBookColumns:
    """Snapshots of one instrument's book. Immutable: the arrays are kept as read-only copies.

    Levels are best first; a snapshot with fewer levels than the widest one is padded with NaN at its end, and an empty
    side is all NaN.

    Attributes:
        timestamps: exchange time in UTC, datetime64[us], `[n]`.
        bid_prices: float64 `[n, bid levels]`, strictly falling along a row.
        bid_sizes: float64, same shape, greater than zero.
        ask_prices: float64 `[n, ask levels]`, strictly rising along a row, the first above the first bid.
        ask_sizes: float64, same shape, greater than zero.
        last_update_ids: the exchange's update id, int64 `[n]`; `UNKNOWN_UPDATE_ID` where it has none.

    Raises:
        InvalidInputError: an array has another dtype or shape, a time is missing, or a book breaks one of the rules
            above. Names the field, the value and the row.
    """

    timestamps: NDArray[np.datetime64]
    bid_prices: NDArray[np.float64]
    bid_sizes: NDArray[np.float64]
    ask_prices: NDArray[np.float64]
    ask_sizes: NDArray[np.float64]
    last_update_ids: NDArray[np.int64]

    def __post_init__(self) -> None:
        rows = len(self.timestamps)
        _check_array("timestamps", self.timestamps, "datetime64[us]", (rows,))
        _check_array("last_update_ids", self.last_update_ids, "int64", (rows,))
        for side in ("bid", "ask"):
            prices, sizes = getattr(self, f"{side}_prices"), getattr(self, f"{side}_sizes")
            _check_array(f"{side}_prices", prices, "float64", (rows, *prices.shape[1:2]))
            _check_array(f"{side}_sizes", sizes, "float64", prices.shape)
        _check_books(self)
        for field in self.__slots__:
            object.__setattr__(self, field, _read_only(getattr(self, field)))

    def __len__(self) -> int:
        return len(self.timestamps)

    def book(self, row: int, symbol: str) -> OrderBook:
        """Return one snapshot, without the padding.

        Raises:
            IndexError: there is no such row.
        """
        bids, asks = int(self.bid_counts[row]), int(self.ask_counts[row])
        update_id = int(self.last_update_ids[row])
        return OrderBook(
            symbol=symbol,
            ts=self.timestamps[row].item().replace(tzinfo=UTC),
            bid_prices=self.bid_prices[row, :bids],
            bid_sizes=self.bid_sizes[row, :bids],
            ask_prices=self.ask_prices[row, :asks],
            ask_sizes=self.ask_sizes[row, :asks],
            last_update_id=None if update_id == UNKNOWN_UPDATE_ID else update_id,
        )

    @property
    def bid_counts(self) -> NDArray[np.int64]:
        """Number of bid levels of each snapshot, int64 `[n]`."""
        return _counts(self.bid_prices)

    @property
    def ask_counts(self) -> NDArray[np.int64]:
        """Number of ask levels of each snapshot, int64 `[n]`."""
        return _counts(self.ask_prices)


@dataclass(frozen=True, slots=True, eq=False)
class OrderBook:
    """One snapshot of an instrument's book, best level first on each side; an empty side is an empty array.

    Immutable: the arrays are kept as read-only copies. Levels are not checked: `DataValidator` tells whether it may be
    stored, and `columns` refuses what breaks the rules of a book.

    Attributes:
        symbol: canonical, as in `BTC/USDT`.
        ts: exchange time, aware.
        bid_prices: float64 `[bid levels]`, strictly falling, in the quote asset.
        bid_sizes: float64, same shape, greater than zero, in the base asset.
        ask_prices: float64 `[ask levels]`, strictly rising, the first above the first bid.
        ask_sizes: float64, same shape, greater than zero.
        last_update_id: the exchange's; None: it has none.
    """

    symbol: str
    ts: datetime
    bid_prices: NDArray[np.float64]
    bid_sizes: NDArray[np.float64]
    ask_prices: NDArray[np.float64]
    ask_sizes: NDArray[np.float64]
    last_update_id: int | None = None

    def __post_init__(self) -> None:
        for name in _LEVELS:
            object.__setattr__(self, name, _read_only(np.asarray(getattr(self, name))))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, OrderBook):
            return NotImplemented
        same = (self.symbol, self.ts, self.last_update_id) == (other.symbol, other.ts, other.last_update_id)
        return same and all(np.array_equal(getattr(self, name), getattr(other, name)) for name in _LEVELS)

    __hash__ = None  # type: ignore[assignment]  # arrays have none

    def columns(self) -> OrderBookColumns:
        """Return it as columns of one row, as the repository writes them.

        Raises:
            InvalidInputError: a level breaks the rules of a book, or the time is naive or finer than a microsecond.
        """
        levels = {name: np.asarray(getattr(self, name), dtype=np.float64).reshape(1, -1) for name in _LEVELS}
        moment = exact_moment(self.ts, "ts").replace(tzinfo=None)
        update_id = UNKNOWN_UPDATE_ID if self.last_update_id is None else self.last_update_id
        return OrderBookColumns(
            timestamps=np.array([moment], dtype="datetime64[us]"),
            last_update_ids=np.array([update_id], dtype=np.int64),
            **levels,
        )


@dataclass(frozen=True, slots=True, eq=False)
class LevelArrays:
    """One side of a book as arrays, made into a table when somebody looks.

    Attributes:
        prices: float64 `[levels]`, best first.
        sizes: float64, same shape.
    """

    prices: NDArray[np.float64]
    sizes: NDArray[np.float64]

    def frame(self) -> pd.DataFrame:
        """Return columns price, size and cumulative_size."""
        return pd.DataFrame({name: self.values(name) for name in ("price", "size", "cumulative_size")})

    def values(self, column: str) -> NDArray[np.float64]:
        """Return one of these columns."""
        if column == "price":
            return np.asarray(self.prices, np.float64)
        sizes = np.asarray(self.sizes, np.float64)
        return np.cumsum(sizes) if column == "cumulative_size" else sizes


def check_book(book: OrderBook) -> None:
    """Refuse a book that breaks the rules of `OrderBookColumns`, in a tenth of the time if it does not.

    Raises:
        InvalidInputError: names the field, the value and the row.
    """
    bids, asks = book.bid_prices, book.ask_prices
    levels = [getattr(book, name) for name in _LEVELS]
    is_plain = (
        book.ts.tzinfo is UTC
        and type(book.ts) is datetime
        and all(side.dtype == np.float64 and side.ndim == 1 for side in levels)
        and len(bids) == len(book.bid_sizes)
        and len(asks) == len(book.ask_sizes)
        and bool((bids[1:] < bids[:-1]).all())
        and bool((asks[1:] > asks[:-1]).all())
        and all(bool((sizes > 0).all()) for sizes in (book.bid_sizes, book.ask_sizes))
        and all(bool(np.isfinite(side).all()) for side in levels)
        and (not len(bids) or not len(asks) or bool(bids[0] < asks[0]))
    )
    if not is_plain:
        book.columns()


_LEVELS: Final = ("bid_prices", "bid_sizes", "ask_prices", "ask_sizes")


def _counts(prices: NDArray[np.float64]) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = (~np.isnan(prices)).sum(axis=1, dtype=np.int64)
    return counts


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    # A read-only view of the caller's array would still change with it; an array that is read-only already does not.
    kept = array.copy() if array.flags.writeable or not array.flags.owndata else array
    kept.flags.writeable = False
    return kept


def _check_array(field: str, array: NDArray[Any], dtype: str, shape: tuple[int, ...]) -> None:
    if array.dtype != np.dtype(dtype):
        raise InvalidInputError(field, str(array.dtype), f"give an array of {dtype}")
    if array.shape != shape or (dtype == "float64" and array.ndim != len(("row", "level"))):
        raise InvalidInputError(
            field, array.shape, f"all columns need {shape[0]} rows, and both of a side equal levels"
        )


def _check_books(books: OrderBookColumns) -> None:
    _refuse("timestamps", books.timestamps, np.isnat(books.timestamps), "has no time")
    for side, direction in (("bid", -1), ("ask", 1)):
        prices, sizes = getattr(books, f"{side}_prices"), getattr(books, f"{side}_sizes")
        empty = np.isnan(prices)
        _refuse(
            f"{side}_sizes",
            sizes,
            np.isnan(sizes) != empty,
            "has a price without a size or a size without a price",
        )
        _refuse(f"{side}_prices", prices, np.isinf(prices), "is not finite")
        _refuse(f"{side}_sizes", sizes, ~empty & ~((sizes > 0) & np.isfinite(sizes)), "is no size above zero")
        _refuse(f"{side}_prices", prices[:, 1:], empty[:, :-1] & ~empty[:, 1:], "follows an empty level")
        order = "falling" if direction < 0 else "rising"
        wrong = np.diff(prices, axis=1) * direction <= 0
        _refuse(f"{side}_prices", prices[:, 1:], wrong, f"breaks the order; prices must be strictly {order}")
    if books.bid_prices.shape[1] and books.ask_prices.shape[1]:
        crossed = books.bid_prices[:, 0] >= books.ask_prices[:, 0]
        _refuse("bid_prices", books.bid_prices[:, 0], crossed, "is not below the best ask")


def _refuse(field: str, values: NDArray[Any], wrong: NDArray[np.bool_], reason: str) -> None:
    if wrong.any():
        where = tuple(np.argwhere(wrong)[0])
        raise InvalidInputError(field, values[where].item(), f"row {int(where[0])} {reason}")
