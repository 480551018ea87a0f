"""Rules of candles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from datalayer.domain.validation.checked import Checked, Context, utc_index
from datalayer.domain.validation.duplicates import Batch
from datalayer.domain.validation.findings import Findings
from datalayer.domain.validation.labels import check_labels
from datalayer.domain.validation.numbers import check_integers, check_steps, exact_values
from datalayer.domain.validation.raw_columns import RawColumns, row_count
from datalayer.domain.validation.rules import Rule
from datalayer.domain.validation.spikes import find_spikes, previous
from datalayer.domain.validation.times import check_grid, check_times

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from datalayer.domain.timeframe import Timeframe
    from datalayer.domain.validation.result import ValidationWarning

PRICES: Final = ("open", "high", "low", "close")
REQUIRED: Final = ("ts", *PRICES, "volume")
OPTIONAL: Final = ("symbol", "timeframe", "trade_count")
_INT4_MAX: Final = 2**31 - 1


def check_candles(raw: RawColumns, context: Context, timeframe: Timeframe) -> Checked[pd.DataFrame]:
    """Check candles; see `DataValidator.validate_candles`."""
    findings = Findings(row_count(raw))
    check_labels(raw, findings, context.instrument, timeframe)
    times = check_times(raw["ts"], findings, context.limits, context.now)
    check_grid(times, timeframe.value, findings)
    steps = {name: check_steps(raw[name], context.scale(name), findings, name) for name in REQUIRED[1:]}
    _check_prices(steps, findings)
    counts, unknown = _trade_counts(raw, findings)
    batch = Batch(findings, [times])
    compared = {name: [values] for name, values in steps.items()} | {
        "trade_count": [counts, unknown.astype(np.int64)]
    }
    batch.settle(compared, winner="last", continues=lambda a, b: _continues(steps, counts, unknown, a, b))
    columns = _exact_columns(raw, steps, context, batch.kept)
    if "trade_count" in raw:
        columns["trade_count"] = pd.arrays.IntegerArray(counts[batch.kept], unknown[batch.kept])
    frame = pd.DataFrame(columns, index=utc_index(times[batch.kept]))
    return Checked(frame, findings, times, batch, [*batch.warnings, *_spikes(steps, batch.kept, context)])


def _check_prices(steps: dict[str, NDArray[np.int64]], findings: Findings) -> None:
    opened, high, low, close = (steps[name] for name in PRICES)
    for name in PRICES:
        findings.refuse(steps[name] <= 0, Rule.POSITIVE_PRICE, name)
    findings.refuse(steps["volume"] < 0, Rule.VOLUME_GE_ZERO, "volume")
    findings.refuse(high < low, Rule.HIGH_GE_LOW, "high")
    findings.refuse((opened < low) | (opened > high), Rule.OPEN_WITHIN, "open")
    findings.refuse((close < low) | (close > high), Rule.CLOSE_WITHIN, "close")


def _trade_counts(raw: RawColumns, findings: Findings) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    if "trade_count" not in raw:
        rows = row_count(raw)
        return np.zeros(rows, dtype=np.int64), np.ones(rows, dtype=bool)
    return check_integers(raw["trade_count"], findings, "trade_count", (0, _INT4_MAX), nullable=True)


def _continues(
    steps: dict[str, NDArray[np.int64]],
    counts: NDArray[np.int64],
    unknown: NDArray[np.bool_],
    earlier: NDArray[np.int64],
    later: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Tell of pairs of rows whether the second can be a later state of the same forming candle."""
    grown = (counts[earlier] <= counts[later]) | unknown[earlier] | unknown[later]
    same_open = steps["open"][earlier] == steps["open"][later]
    wider = (steps["high"][earlier] <= steps["high"][later]) & (steps["low"][earlier] >= steps["low"][later])
    more = steps["volume"][earlier] <= steps["volume"][later]
    continues: NDArray[np.bool_] = grown & same_open & wider & more
    return continues


def _exact_columns(
    raw: RawColumns, steps: dict[str, NDArray[np.int64]], context: Context, kept: NDArray[np.int64]
) -> dict[str, Any]:
    return {name: exact_values(raw[name], steps[name], context.scale(name), kept) for name in REQUIRED[1:]}


def _spikes(
    steps: dict[str, NDArray[np.int64]], kept: NDArray[np.int64], context: Context
) -> list[ValidationWarning]:
    unit = 10.0**context.instrument.price_scale
    high, low, close = (steps[name][kept] / unit for name in ("high", "low", "close"))
    reference = previous(close, context.last_price)
    spike = context.limits.spike
    # A candle that lies elsewhere as a whole is one spike, not two.
    above = find_spikes("high", high, reference, kept, spike, down=False)
    return above + find_spikes("low", low, reference, kept, spike, up=False)
