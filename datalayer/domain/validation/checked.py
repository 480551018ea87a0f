"""What the rules of each kind of record are given, and what they hand back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import numpy as np
    from numpy.typing import NDArray

    from datalayer.domain.instrument import Instrument
    from datalayer.domain.validation.duplicates import Batch
    from datalayer.domain.validation.findings import Findings
    from datalayer.domain.validation.result import ValidationWarning
    from datalayer.domain.validation.rules import ValidationLimits

Accepted = TypeVar("Accepted")


@dataclass(frozen=True, slots=True)
class Context:
    """What a batch is measured by.

    Attributes:
        instrument: whose scales hold the values.
        limits: what is plausible.
        now: the clock, aware.
        last_price: price before the batch, for spikes; NaN: unknown.
    """

    instrument: Instrument
    limits: ValidationLimits
    now: datetime
    last_price: float

    def scale(self, field: str) -> int:
        """Return the scale of a column: that of sizes for volumes and sizes, else that of prices."""
        sized = field == "volume" or field.endswith(("size", "sizes"))
        return self.instrument.size_scale if sized else self.instrument.price_scale


@dataclass(frozen=True, slots=True, eq=False)
class Checked(Generic[Accepted]):
    """A batch after all rules.

    Attributes:
        accepted: what may be stored.
        findings: the refusals.
        times: microseconds since 1970 UTC of each row, int64.
        batch: which rows were kept and dropped.
        warnings: what is worth knowing.
    """

    accepted: Accepted
    findings: Findings
    times: NDArray[np.int64]
    batch: Batch
    warnings: Sequence[ValidationWarning]


def utc_index(times_us: NDArray[np.int64]) -> pd.DatetimeIndex:
    """Return times in microseconds since 1970 UTC as the index that repositories take."""
    return pd.DatetimeIndex(times_us.astype("datetime64[us]"), name="timestamp").tz_localize("UTC")
