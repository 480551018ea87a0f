"""Rules of order-book snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from datalayer.domain.order_book import UNKNOWN_UPDATE_ID, OrderBookColumns
from datalayer.domain.steps import from_steps
from datalayer.domain.validation.checked import Checked, Context, utc_index
from datalayer.domain.validation.duplicates import Batch
from datalayer.domain.validation.findings import Findings
from datalayer.domain.validation.labels import check_labels
from datalayer.domain.validation.levels import Side, check_side, refuse_levels
from datalayer.domain.validation.numbers import check_integers
from datalayer.domain.validation.raw_columns import RawColumns, row_count
from datalayer.domain.validation.result import ValidationWarning
from datalayer.domain.validation.rules import Notice, Rule
from datalayer.domain.validation.spikes import find_spikes, previous
from datalayer.domain.validation.times import check_times

if TYPE_CHECKING:
    from numpy.typing import NDArray

REQUIRED: Final = ("ts", "bid_prices", "bid_sizes", "ask_prices", "ask_sizes")
OPTIONAL: Final = ("symbol", "last_update_id")
_UPDATE_IDS: Final = (UNKNOWN_UPDATE_ID, 2**63 - 1)
_INT8_END: Final = 2.0**63


def check_order_books(raw: RawColumns, context: Context) -> Checked[OrderBookColumns]:
    """Check snapshots; see `DataValidator.validate_order_books`."""
    findings = Findings(row_count(raw))
    check_labels(raw, findings, context.instrument)
    times = check_times(raw["ts"], findings, context.limits, context.now)
    update_ids = _update_ids(raw, findings)
    scales = (context.instrument.price_scale, context.instrument.size_scale)
    sides = {
        side: check_side(raw[f"{side}_prices"], raw[f"{side}_sizes"], scales, findings, side)
        for side in ("bid", "ask")
    }
    for name, side in sides.items():
        _check_values(side, findings, name)
        _check_order(side, findings, name)
    _check_crossing(sides["bid"], sides["ask"], findings)
    batch = Batch(findings, [times])
    compared = {f"{name}_prices": [side.lengths, side.prices] for name, side in sides.items()}
    compared |= {f"{name}_sizes": [side.sizes] for name, side in sides.items()}
    batch.settle(compared | {"last_update_id": [update_ids]}, winner="first")
    books = _books(times, update_ids, sides, batch.kept, scales)
    warnings = [*batch.warnings, *_zero_sizes(sides, batch.kept), *_spikes(books, batch.kept, context)]
    return Checked(books, findings, times, batch, warnings)


def columns_of_books(books: OrderBookColumns) -> dict[str, Any]:
    """Return the columns of snapshots by the names that rules know; the times are UTC by the type's definition."""
    names = [name for name in REQUIRED if name != "ts"]
    times = books.timestamps.astype(np.int64)
    return {"ts": utc_index(times), "last_update_id": books.last_update_ids} | {
        n: getattr(books, n) for n in names
    }


def _update_ids(raw: RawColumns, findings: Findings) -> NDArray[np.int64]:
    if "last_update_id" not in raw:
        return np.full(row_count(raw), UNKNOWN_UPDATE_ID)
    values, missing = check_integers(
        raw["last_update_id"], findings, "last_update_id", _UPDATE_IDS, nullable=True
    )
    return np.where(missing, UNKNOWN_UPDATE_ID, values)


def _check_values(side: Side, findings: Findings, name: str) -> None:
    within = np.arange(side.prices.shape[1]) < side.lengths[:, None]
    refuse_levels(within & (side.prices <= 0), findings, Rule.POSITIVE_PRICE, f"{name}_prices", side.places)
    refuse_levels(within & (side.sizes <= 0), findings, Rule.POSITIVE_SIZE, f"{name}_sizes", side.places)
    # int64 wraps around in silence; a sum in doubles is off by far too little to miss that.
    total = side.sizes.sum(axis=1, dtype=np.float64)
    findings.refuse(total >= _INT8_END, Rule.REPRESENTABLE, f"{name}_sizes")


def _check_order(side: Side, findings: Findings, name: str) -> None:
    both = np.arange(1, side.prices.shape[1]) < side.lengths[:, None]
    rise = np.diff(side.prices, axis=1) * (1 if name == "ask" else -1)
    places = side.places[:, 1:]
    if places.shape[1]:
        refuse_levels(both & (rise < 0), findings, Rule.SORTED_LEVELS, f"{name}_prices", places)
        refuse_levels(both & (rise == 0), findings, Rule.UNIQUE_LEVELS, f"{name}_prices", places)


def _check_crossing(bids: Side, asks: Side, findings: Findings) -> None:
    if bids.prices.shape[1] and asks.prices.shape[1]:
        both = (bids.lengths > 0) & (asks.lengths > 0)
        crossed = both & (bids.prices[:, 0] >= asks.prices[:, 0])
        findings.refuse(crossed, Rule.BIDS_BELOW_ASKS, "bid_prices", bids.places[:, 0])


def _books(
    times: NDArray[np.int64],
    update_ids: NDArray[np.int64],
    sides: dict[str, Side],
    kept: NDArray[np.int64],
    scales: tuple[int, int],
) -> OrderBookColumns:
    bids, asks = sides["bid"], sides["ask"]
    return OrderBookColumns(
        timestamps=times[kept].astype("datetime64[us]"),
        bid_prices=_floats(bids.prices, bids.lengths, kept, scales[0]),
        bid_sizes=_floats(bids.sizes, bids.lengths, kept, scales[1]),
        ask_prices=_floats(asks.prices, asks.lengths, kept, scales[0]),
        ask_sizes=_floats(asks.sizes, asks.lengths, kept, scales[1]),
        last_update_ids=update_ids[kept],
    )


def _floats(
    steps: NDArray[np.int64], lengths: NDArray[np.int64], kept: NDArray[np.int64], scale: int
) -> NDArray[np.float64]:
    width = int(lengths[kept].max(initial=0))
    values: NDArray[np.float64] = from_steps(steps[kept, :width], scale)
    values[np.arange(width) >= lengths[kept][:, None]] = np.nan
    return values


def _zero_sizes(sides: dict[str, Side], kept: NDArray[np.int64]) -> list[ValidationWarning]:
    warnings = []
    for name, side in sides.items():
        rows = np.sort(kept[side.zero_sizes[kept] > 0])
        if len(rows):
            warnings.append(
                ValidationWarning(Notice.ZERO_SIZE_LEVELS, f"{name}_sizes", rows, side.zero_sizes[rows])
            )
    return warnings


def _spikes(books: OrderBookColumns, kept: NDArray[np.int64], context: Context) -> list[ValidationWarning]:
    if not (books.bid_prices.shape[1] and books.ask_prices.shape[1]):
        return []
    mid = (books.bid_prices[:, 0] + books.ask_prices[:, 0]) / 2
    two_sided = ~np.isnan(mid)
    values = mid[two_sided]
    return find_spikes(
        "mid", values, previous(values, context.last_price), kept[two_sided], context.limits.spike
    )
