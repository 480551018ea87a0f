"""Rules of trades."""

from __future__ import annotations

from typing import Final

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
from datalayer.domain.validation.times import check_times

REQUIRED: Final = ("ts", "trade_id", "price", "size", "side")
OPTIONAL: Final = ("symbol",)
_INT8: Final = (-(2**63), 2**63 - 1)


def check_trades(raw: RawColumns, context: Context) -> Checked[pd.DataFrame]:
    """Check trades; see `DataValidator.validate_trades`."""
    findings = Findings(row_count(raw))
    check_labels(raw, findings, context.instrument)
    times = check_times(raw["ts"], findings, context.limits, context.now)
    trade_ids, _ = check_integers(raw["trade_id"], findings, "trade_id", _INT8, nullable=False)
    price, size = (check_steps(raw[name], context.scale(name), findings, name) for name in ("price", "size"))
    findings.refuse(price <= 0, Rule.POSITIVE_PRICE, "price")
    findings.refuse(size <= 0, Rule.POSITIVE_SIZE, "size")
    sides, _ = check_integers(raw["side"], findings, "side", (-1, 1), nullable=False, rule=Rule.SIDE)
    batch = Batch(findings, [times, trade_ids])
    batch.settle({"price": [price], "size": [size], "side": [sides]}, winner="first")
    kept = batch.kept
    columns = {
        "trade_id": trade_ids[kept],
        "price": exact_values(raw["price"], price, context.scale("price"), kept),
        "size": exact_values(raw["size"], size, context.scale("size"), kept),
        "side": sides[kept].astype(np.int8),
    }
    frame = pd.DataFrame(columns, index=utc_index(times[kept]))
    prices = price[kept] / 10.0**context.instrument.price_scale
    spikes = find_spikes("price", prices, previous(prices, context.last_price), kept, context.limits.spike)
    return Checked(frame, findings, times, batch, [*batch.warnings, *spikes])
