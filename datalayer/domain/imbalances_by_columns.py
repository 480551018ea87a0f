"""Imbalances at many books at once; what they mean stands in `datalayer.domain.imbalances`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from datalayer.domain.imbalances import IMBALANCE_PARTS, WINDOWS_S
from datalayer.domain.moments import utc_moment
from datalayer.domain.order_book_frame import IMBALANCES
from datalayer.domain.steps import to_steps
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    from datetime import datetime

    from numpy.typing import NDArray

    from datalayer.domain.order_book import OrderBookColumns

_SECOND_US: Final = 1_000_000
_INT8_END: Final = 2**63


def imbalances_at_books(
    books: OrderBookColumns, trades: pd.DataFrame, *, size_scale: int, since: datetime
) -> pd.DataFrame:
    """Return the imbalances at each book: what was known at its time, and nothing later.

    Args:
        books: in any order; of several books of one time the first counts, as it does when it is stored.
        trades: index of exchange times, aware, in any order, as from `query_trades`; columns trade_id and side (int: 1
            the aggressor bought, -1 sold, 0 unknown) and size in the base asset (float, int, `Decimal` or str). Of
            several trades of one time and id the first counts.
        size_scale: decimal digits of the instrument's sizes.
        since: from when on `books` and `trades` have everything that happened, aware. Windows that begin earlier give
            NaN: what is known of a part of a window is not its imbalance.

    Returns:
        The eight `IMBALANCES` as float64, indexed by time `timestamp` (datetime64[us, UTC], ascending, unique). NaN: the
        window begins before `since`, or, of a volume imbalance, nothing of a known side was traded in it.

    Raises:
        ScaleError: a size has more decimals than `size_scale`.
        InvalidInputError: a time is naive or missing, a column is missing, or sizes do not add up in 64 bits.
    """
    begin = np.datetime64(utc_moment(since, "since").replace(tzinfo=None), "us").astype(np.int64)
    at, parts = _summed_books(books, size_scale)
    traded_at, signed, sizes = _summed_trades(trades, size_scale)
    row, traded = np.arange(len(at)), np.searchsorted(traded_at, at, side="right")
    values: dict[str, NDArray[np.float64]] = {}
    for window in WINDOWS_S:
        start = at - window * _SECOND_US
        known, first = start >= begin, np.searchsorted(at, start, side="right")
        mean = (parts[row + 1] - parts[first]) / (row + 1 - first) / IMBALANCE_PARTS
        values[f"book_imbalance_{window}s"] = np.where(known, mean, np.nan)
        first = np.searchsorted(traded_at, start, side="right")
        total = sizes[traded] - sizes[first]
        share = np.full(len(at), np.nan)
        np.divide(signed[traded] - signed[first], total, out=share, where=known & (total > 0))
        values[f"volume_imbalance_{window}s"] = share
    index = pd.DatetimeIndex(at.view("datetime64[us]"), tz="UTC", name="timestamp")
    return pd.DataFrame({name: values[name] for name in IMBALANCES}, index=index)


def _summed_books(books: OrderBookColumns, scale: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the times, and the sums of the imbalances of all books before each and of all."""
    at, rows = np.unique(books.timestamps, return_index=True)
    sides = [
        to_steps(np.nan_to_num(sizes[rows]), scale, field=f"{side}_sizes")
        for side, sizes in (("bid", books.bid_sizes), ("ask", books.ask_sizes))
    ]
    _check_sums("sizes", sum(side.sum(axis=1, dtype=np.float64) for side in sides))
    bids, asks = (side.sum(axis=1) for side in sides)
    parts = np.rint((bids - asks) / np.maximum(bids + asks, 1) * IMBALANCE_PARTS).astype(np.int64)
    return at.astype(np.int64), _running(parts)


def _summed_trades(
    trades: pd.DataFrame, scale: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the times, and the signed and unsigned sums of the sizes of all trades before each and of all."""
    at, ids, sides, steps = _by_time(trades, scale)
    again = np.zeros(len(at), bool)
    again[1:] = (at[1:] == at[:-1]) & (ids[1:] == ids[:-1])
    signed = np.where(again, 0, sides * steps)
    first = np.searchsorted(at, at - max(WINDOWS_S) * _SECOND_US, side="right")
    in_floats = np.concatenate([[0.0], np.cumsum(np.abs(signed), dtype=np.float64)])
    _check_sums("size", in_floats[1:] - in_floats[first])
    # Over months the sums themselves may wrap around; their differences, over a window, are right all the same.
    return at, _running(signed), _running(np.abs(signed))


def _by_time(trades: pd.DataFrame, scale: int) -> list[NDArray[np.int64]]:
    """Return times, ids, sides and sizes in steps by time and id; the first of equal ones stays the first."""
    missing = [name for name in ("trade_id", "size", "side") if name not in trades.columns]
    if missing:
        raise InvalidInputError("trades", list(map(str, trades.columns)), f"missing: {', '.join(missing)}")
    at, ids, sides = _times(trades), _integers(trades, "trade_id"), _sides(trades)
    steps = to_steps(trades["size"].to_numpy(), scale, field="size")
    order = np.lexsort((ids, at))
    return [column[order] for column in (at, ids, sides, steps)]


def _times(trades: pd.DataFrame) -> NDArray[np.int64]:
    index = trades.index
    if not isinstance(index, pd.DatetimeIndex) or index.tz is None or index.hasnans:
        found = f"{type(index).__name__} of {index.dtype}"
        raise InvalidInputError("trades.index", found, "index the trades by aware times, none missing")
    return index.tz_convert("UTC").tz_localize(None).as_unit("us").to_numpy().view(np.int64)


def _integers(trades: pd.DataFrame, name: str) -> NDArray[np.int64]:
    column = trades[name]
    if not pd.api.types.is_integer_dtype(column.dtype) or column.hasnans:
        field = f"trades.{name}"
        raise InvalidInputError(field, str(column.dtype), "give integers, none missing")
    return column.to_numpy(np.int64)


def _sides(trades: pd.DataFrame) -> NDArray[np.int64]:
    sides = _integers(trades, "side")
    wrong = np.abs(sides) > 1
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InvalidInputError("side", int(sides[row]), f"row {row} is not in -1 … 1")
    return sides


def _running(values: NDArray[np.int64]) -> NDArray[np.int64]:
    sums = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, out=sums[1:])
    return sums


def _check_sums(field: str, sums: NDArray[np.float64] | float) -> None:
    largest = float(np.max(sums, initial=0.0))
    if largest >= _INT8_END:
        raise InvalidInputError(field, largest, "sizes of a window do not add up in 64 bits of steps")
