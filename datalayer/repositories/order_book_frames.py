"""Frames of order books by buckets: from sums and counts of steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from datalayer.domain.imbalances import IMBALANCE_PARTS
from datalayer.domain.order_book_heat_map import SIDES
from datalayer.domain.step_means import mean_of_steps
from datalayer.domain.steps import PriceType, from_steps
from datalayer.repositories.order_book_buckets import SOURCES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from datalayer.domain.instrument import Instrument

_SOURCE: Final = pd.CategoricalDtype(list(SOURCES))
_SIDE: Final = pd.CategoricalDtype(list(SIDES))


def bucket_frame(
    rows: Mapping[str, NDArray[Any]], instrument: Instrument, price_type: PriceType, *, has_forming: bool
) -> pd.DataFrame:
    """Return buckets as `query_orderbook_aggregated` gives them."""
    books, quoted = rows["book_count"], rows["quoted_count"]
    data: dict[str, Any] = {}
    for name in ("open", "high", "low", "close"):
        # The mid is the mean of two prices.
        data[f"mid_{name}"] = mean_of_steps(
            rows[f"mid2_{name}"], np.where(quoted > 0, 2, 0), instrument.price_scale, price_type
        )
    for name in ("min", "max"):
        steps = rows[f"spread_{name}"]
        data[f"spread_{name}"] = _known_only(steps, quoted > 0, instrument.price_scale, price_type)
    data["spread_mean"] = mean_of_steps(rows["spread_sum"], quoted, instrument.price_scale, price_type)
    for side in SIDES:
        sums = rows[f"{side}_volume_sum"]
        data[f"{side}_volume_mean"] = mean_of_steps(sums, books, instrument.size_scale, price_type)
    data["imbalance_mean"] = rows["imbalance_sum"] / books / IMBALANCE_PARTS
    data |= {"book_count": books, "quoted_count": quoted}
    data["source"] = pd.Categorical.from_codes(rows["origin"], dtype=_SOURCE)
    if has_forming:
        data["is_forming"] = rows["origin"] == SOURCES.index("forming")
    return pd.DataFrame(data, index=_times(rows))


def by_price_frame(
    rows: Mapping[str, NDArray[Any]], instrument: Instrument, price_type: PriceType
) -> pd.DataFrame:
    """Return sizes as `query_orderbook_by_price` gives them."""
    data = {
        "side": pd.Categorical.from_codes(rows["side"], dtype=_SIDE),
        "price": from_steps(rows["price"], instrument.price_scale, price_type),
        "size_mean": mean_of_steps(rows["size_sum"], rows["book_count"], instrument.size_scale, price_type),
        "size_last": from_steps(rows["size_last"], instrument.size_scale, price_type),
        "book_count": rows["book_count"],
    }
    return pd.DataFrame(data, index=_times(rows))


def _known_only(steps: NDArray[np.int64], known: NDArray[np.bool_], scale: int, price_type: PriceType) -> Any:
    if price_type == "fixed":
        return pd.arrays.IntegerArray(steps.copy(), ~known)
    values = from_steps(steps, scale, price_type)
    values[~known] = np.nan if price_type == "float" else None
    return values


def _times(rows: Mapping[str, NDArray[Any]]) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(rows["ts"], tz="UTC", name="timestamp")
