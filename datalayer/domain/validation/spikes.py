"""Prices that stand out from the one before; flagged only, since real markets do jump."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from datalayer.domain.validation.result import ValidationWarning
from datalayer.domain.validation.rules import Notice

if TYPE_CHECKING:
    from numpy.typing import NDArray


def find_spikes(
    field: str,
    values: NDArray[np.float64],
    references: NDArray[np.float64],
    rows: NDArray[np.int64],
    spike: float,
    *,
    up: bool = True,
    down: bool = True,
) -> list[ValidationWarning]:
    """Return a warning if values exceed their references by more than the fraction `spike`.

    Args:
        field: name of the column.
        values: prices, float64 `[n]`.
        references: what they are compared with, float64 `[n]`; NaN where there is nothing.
        rows: their positions in what was handed in.
        spike: see `ValidationLimits`.
        up: whether values above their references count.
        down: whether values below do.
    """
    factor = 1.0 + spike
    stands_out = up & (values > references * factor) | down & (values * factor < references)
    if not stands_out.any():
        return []
    found = np.flatnonzero(stands_out)
    found = found[np.argsort(rows[found])]
    return [ValidationWarning(Notice.SPIKE, field, rows[found], values[found])]


def previous(values: NDArray[np.float64], first: float) -> NDArray[np.float64]:
    """Return the value before each value; `first` before the first."""
    return np.concatenate(([first], values[:-1])) if len(values) else values
