"""Times of a column: aware, plausible, in whole microseconds, on the grid."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from datalayer.domain.moments import EPOCH, MICROSECOND, to_microseconds
from datalayer.domain.validation.raw_columns import is_absent
from datalayer.domain.validation.rules import Rule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from datalayer.domain.validation.findings import Findings
    from datalayer.domain.validation.rules import ValidationLimits

_UNIT_US: Final = {"us": 1, "ms": 1_000, "s": 1_000_000}
_NS_PER_US: Final = 1_000
_INT64_MAX: Final = 2**63 - 1
UNREADABLE: Final = np.iinfo(np.int64).min
"""Stands for a time that cannot be read; it is NaT when seen as datetime64."""


def check_times(
    column: Any, findings: Findings, limits: ValidationLimits, now: datetime
) -> NDArray[np.int64]:
    """Refuse rows without a usable time, and return the times in microseconds since 1970 UTC.

    Args:
        column: an array, Series or index of times, or of objects.
        findings: takes the refusals; the field is `ts`.
        limits: what is plausible.
        now: the clock, aware.

    Returns:
        int64 `[n]`; `UNREADABLE` where the row has no time.
    """
    dtype = column.dtype
    if isinstance(dtype, pd.DatetimeTZDtype):
        times = _of_index(pd.DatetimeIndex(column).tz_convert("UTC").tz_localize(None), findings)
    elif isinstance(dtype, np.dtype) and dtype.kind == "M":
        # Nothing says that these are UTC, and a guess that is wrong shifts history by hours.
        findings.refuse(np.asarray(pd.isna(column)), Rule.PRESENT, "ts")
        findings.refuse(np.ones(len(column), dtype=bool), Rule.UTC, "ts")
        times = np.full(len(column), UNREADABLE)
    else:
        times = _of_objects(column, findings)
    readable = times != UNREADABLE
    findings.refuse(readable & (times < to_microseconds(limits.earliest)), Rule.PLAUSIBLE_TIME, "ts")
    latest = to_microseconds(now) + round(limits.future_s * 1_000_000)
    findings.refuse(readable & (times > latest), Rule.NOT_IN_FUTURE, "ts")
    return times


def check_grid(times: NDArray[np.int64], step_s: int, findings: Findings) -> None:
    """Refuse open times that no candle of `step_s` seconds has."""
    findings.refuse((times != UNREADABLE) & (times % (step_s * 1_000_000) != 0), Rule.ON_GRID, "ts")


def _of_index(index: pd.DatetimeIndex, findings: Findings) -> NDArray[np.int64]:
    missing = np.asarray(index.isna())
    findings.refuse(missing, Rule.PRESENT, "ts")
    counts = index.asi8
    if index.unit == "ns":
        findings.refuse(~missing & (counts % _NS_PER_US != 0), Rule.MICROSECONDS, "ts")
        times = counts // _NS_PER_US
    else:
        # Whatever is outside of 64 bits of microseconds is outside of what is plausible, too.
        factor = _UNIT_US[index.unit]
        edge = _INT64_MAX // factor
        times = np.clip(counts, -edge, edge) * factor
    return np.where(missing, UNREADABLE, times)


def _of_objects(column: Any, findings: Findings) -> NDArray[np.int64]:
    values = np.asarray(column, dtype=object)
    faults: NDArray[Any] = np.full(len(values), None, dtype=object)
    times = np.full(len(values), UNREADABLE)
    for row, value in enumerate(values):
        faults[row] = _fault(value)
        if faults[row] in (None, Rule.MICROSECONDS):
            # Not by astimezone: the first and the last year have times that leave the calendar on the way.
            times[row] = (
                value.replace(tzinfo=None) - EPOCH.replace(tzinfo=None) - value.utcoffset()
            ) // MICROSECOND
    for rule in (Rule.PRESENT, Rule.TIME, Rule.UTC, Rule.MICROSECONDS):
        findings.refuse(faults == rule, rule, "ts")
    return times


def _fault(value: Any) -> Rule | None:
    if is_absent(value):
        return Rule.PRESENT
    if isinstance(value, np.datetime64):
        return Rule.UTC
    if not isinstance(value, datetime):
        return Rule.TIME
    if value.utcoffset() is None:
        return Rule.UTC
    return Rule.MICROSECONDS if isinstance(value, pd.Timestamp) and value.nanosecond else None
