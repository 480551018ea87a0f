"""Heat maps of order books: sizes over time and price as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias, get_args

import numpy as np

from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

SIDES: Final = ("bid", "ask")
SizeStatistic: TypeAlias = Literal["size_mean", "size_last"]
"""Mean resting size over the books of a bucket of time, or that of its last book."""

_MOST_PLACES: Final = 100_000_000


@dataclass(frozen=True, slots=True, eq=False)
class OrderBookHeatMap:
    """Sizes of a book over time and price, without gaps on either axis.

    Attributes:
        timestamps: starts of the buckets of time in UTC, datetime64[us] `[times]`, evenly spaced.
        prices: lower ends of the buckets of price, float64 `[prices]`, ascending and evenly spaced.
        bids: float64 `[times, prices]`, base asset; 0 where nobody bids, all NaN in a bucket of time that has no level
            at all. What lies beyond the stored levels of a book is not known, and looks like nobody.
        asks: likewise.
    """

    timestamps: NDArray[np.datetime64]
    prices: NDArray[np.float64]
    bids: NDArray[np.float64]
    asks: NDArray[np.float64]

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, statistic: SizeStatistic = "size_mean") -> Self:
        """Return what `query_orderbook_by_price` found as arrays.

        Args:
            frame: as it was returned, with its `attrs`; of any `price_type`, in whose unit prices and sizes stay.
            statistic: which of its sizes.

        Raises:
            InvalidInputError: it is another frame, there is no such statistic, or there would be more than 100 million
                places.
        """
        if statistic not in get_args(SizeStatistic):
            known = ", ".join(get_args(SizeStatistic))
            raise InvalidInputError("statistic", statistic, f"use one of {known}")
        length_us, width = _widths(frame)
        times = frame.index.tz_convert("UTC").tz_localize(None).as_unit("us").to_numpy().view(np.int64)  # type: ignore[attr-defined]
        numbers = np.rint(frame["price"].to_numpy(np.float64) / float(width)).astype(np.int64)
        _check_places(_places(times, length_us), _places(numbers, 1))
        moments, steps = _axis(times, length_us), _axis(numbers, 1)
        rows, columns = (times - moments[:1]) // length_us, numbers - steps[:1]
        sizes = np.full((len(SIDES), len(moments), len(steps)), np.nan)
        sizes[:, rows] = 0.0
        sizes[frame["side"].cat.codes.to_numpy(), rows, columns] = frame[statistic].to_numpy(np.float64)
        prices = np.array([float(step * width) for step in steps.tolist()], np.float64)
        return cls(moments.view("datetime64[us]"), prices, sizes[0], sizes[1])


def _widths(frame: pd.DataFrame) -> tuple[int, Any]:
    timeframe, width = (frame.attrs.get(name) for name in ("timeframe", "price_width"))
    if timeframe is None or width is None:
        raise InvalidInputError("frame.attrs", frame.attrs, "give what query_orderbook_by_price returned")
    return Timeframe.parse(timeframe).value * 1_000_000, width


def _check_places(times: int, prices: int) -> None:
    if times * prices > _MOST_PLACES:
        raise InvalidInputError(
            "frame", f"{times} times by {prices} prices", "ask for less time, or wider buckets"
        )


def _places(values: NDArray[np.int64], width: int) -> int:
    return (int(values.max()) - int(values.min())) // width + 1 if len(values) else 0


def _axis(values: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Return the places from the least value to the greatest, `width` apart."""
    if not len(values):
        return values
    return np.arange(values.min(), values.max() + 1, width, dtype=np.int64)
