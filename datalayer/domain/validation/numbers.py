"""Prices, sizes and counts of a column: present, numbers, finite, exact."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from math import isnan
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from datalayer.domain.steps import MAX_STEPS, from_steps, to_steps
from datalayer.domain.validation.raw_columns import is_absent, object_array
from datalayer.domain.validation.rules import Rule
from datalayer.errors import InvalidInputError, ScaleError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from datalayer.domain.validation.findings import Findings

NUMBER_RULES: Final = (Rule.PRESENT, Rule.NUMBER, Rule.FINITE, Rule.REPRESENTABLE)

AMBIGUOUS_STEPS: Final = MAX_STEPS // 2
"""From this count on a float may stand for two counts."""
_CLEAR_COUNTS: Final = 2.0**50
_LONGEST_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class StepValues:
    """Values as counts of steps.

    Attributes:
        steps: int64 `[n]`; 0 where a rule is broken.
        faults: int8 `[n]`; 0 where the value is held, else the place in `NUMBER_RULES`, counted from one. None: all are.
    """

    steps: NDArray[np.int64]
    faults: NDArray[np.int8] | None


def check_steps(column: Any, scale: int, findings: Findings, field: str) -> NDArray[np.int64]:
    """Refuse rows whose value steps of `10**-scale` cannot hold; return the steps, int64 `[n]`, 0 where refused."""
    held = step_values(value_array(column), scale, field)
    if held.faults is not None:
        for place, rule in enumerate(NUMBER_RULES, start=1):
            findings.refuse(held.faults == place, rule, field)
    return held.steps


def step_values(values: NDArray[Any], scale: int, field: str) -> StepValues:
    """Turn a one-dimensional array into steps, and say of each value what keeps it from that, if anything does.

    `to_steps` decides what is exact. It stops at the first fault, so where it does, what is plainly wrong is told by
    columns, and what is left is asked one by one.
    """
    try:
        return StepValues(to_steps(values, scale, field=field), None)
    except ValueError:  # also where a number of more than 4,300 digits could not even be shown
        pass
    steps, faults = _known_floats(values, scale) if values.dtype.kind == "f" else _known_others(values, scale)
    for row in np.flatnonzero(faults < 0):
        fault, steps[row] = _single(values[row], scale, field)
        faults[row] = 0 if fault is None else _place(fault)
    return StepValues(steps, faults)


def check_integers(
    column: Any,
    findings: Findings,
    field: str,
    allowed: tuple[int, int],
    *,
    nullable: bool,
    rule: Rule = Rule.WHOLE_NUMBER,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Refuse rows whose value is no whole number in a range.

    A float counts if it is whole and below 2**53, from where on it may stand for another integer.

    Args:
        column: integers, floats or objects.
        findings: takes the refusals.
        field: name of the column.
        allowed: smallest and largest value.
        nullable: whether a missing value (None, NA, NaN) is none to refuse.
        rule: what a row breaks whose value is there and wrong.

    Returns:
        The values, int64 `[n]`, 0 where missing or refused; and which are missing, bool `[n]`.
    """
    values = value_array(column)
    missing = _missing(values)
    if not nullable:
        findings.refuse(missing, Rule.PRESENT, field)
    whole = _whole_numbers(values, missing, allowed)
    findings.refuse(~missing & ~whole, rule, field)
    integers = np.zeros(len(values), dtype=np.int64)
    integers[whole] = values[whole].astype(np.int64)
    return integers, missing


def exact_values(column: Any, steps: NDArray[np.int64], scale: int, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Return accepted values as floats that turn into the same steps again.

    Returns:
        float64 `[len(rows)]`: the very floats of a float column, else the floats nearest to the values; `Decimal` objects
        where a count reaches 2**52, from where on a float may stand for two counts.
    """
    values = value_array(column)
    if values.dtype == np.float64:
        return values[rows]
    kept = steps[rows]
    return from_steps(kept, scale, "float" if (np.abs(kept) < AMBIGUOUS_STEPS).all() else "decimal")


def value_array(column: Any) -> NDArray[Any]:
    """Return a column as a plain array: numbers as they are, a nullable column by columns, else objects."""
    if not isinstance(column, np.ndarray) and isinstance(column.dtype, pd.api.extensions.ExtensionDtype):
        if pd.api.types.is_float_dtype(column.dtype) and not column.isna().any():
            return np.asarray(column, dtype=np.float64)
        return np.asarray(column, dtype=object)
    array = np.asarray(column)
    if array.dtype.kind in "mM":
        return object_array(list(array))  # as objects of numpy's own making they would be plain integers
    is_number = array.dtype.kind in "fiu" and array.dtype.itemsize <= _LONGEST_BYTES
    return array if is_number else array.astype(object)


def _missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    if values.dtype.kind == "O":
        # Not by pandas.isna, which compares values and so fails at a signalling NaN of Decimal.
        return np.array([is_absent(v) or (isinstance(v, float) and isnan(v)) for v in values], dtype=bool)
    return np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), dtype=bool)


def _known_floats(values: NDArray[Any], scale: int) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Tell what is sure without asking `to_steps`; the fault of the others is -1."""
    floats = values.astype(np.float64, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        counts = np.rint(floats * 10.0**scale)
    # As long as the product errs by less than half a step, no other count than this one can be meant.
    clear = np.abs(counts) < _CLEAR_COUNTS
    steps = np.where(clear, counts, 0.0).astype(np.int64)
    held = clear & (from_steps(steps, scale) == floats)
    faults = np.where(held, 0, np.where(clear, _place(Rule.REPRESENTABLE), -1)).astype(np.int8)
    faults[~np.isfinite(floats)] = _place(Rule.FINITE)
    return np.where(held, steps, 0), faults


def _known_others(values: NDArray[Any], scale: int) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    steps, faults = np.zeros(len(values), dtype=np.int64), np.full(len(values), -1, dtype=np.int8)
    if values.dtype.kind in "iu":
        limit = MAX_STEPS // 10**scale
        held = (values <= limit) & (values >= -limit)
        steps[held] = values[held].astype(np.int64) * 10**scale
        faults[:] = np.where(held, 0, _place(Rule.REPRESENTABLE))
    return steps, faults


def _place(rule: Rule) -> int:
    return NUMBER_RULES.index(rule) + 1


def _single(value: Any, scale: int, field: str) -> tuple[Rule | None, int]:
    if is_absent(value):
        return Rule.PRESENT, 0
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > MAX_STEPS:
        return Rule.REPRESENTABLE, 0
    try:
        return None, int(to_steps(object_array([value]), scale, field=field)[0])
    except ScaleError:
        return (Rule.REPRESENTABLE if _is_finite(value) else Rule.FINITE), 0
    except InvalidInputError:
        return Rule.NUMBER, 0


def _is_finite(value: Any) -> bool:
    try:
        return Decimal(str(value)).is_finite()
    except InvalidOperation:
        return False


def _whole_numbers(
    values: NDArray[Any], missing: NDArray[np.bool_], allowed: tuple[int, int]
) -> NDArray[np.bool_]:
    low, high = allowed
    if values.dtype.kind in "iu":
        return np.asarray((values >= low) & (values <= high))
    if values.dtype.kind == "f":
        exact = np.abs(values) < 2.0 ** (np.finfo(values.dtype).nmant + 1)
        return np.asarray(exact & (values == np.floor(values)) & (values >= low) & (values <= high))
    return np.array(
        [not gone and _is_whole(value, low, high) for value, gone in zip(values, missing, strict=True)],
        dtype=bool,
    )


def _is_whole(value: Any, low: int, high: int) -> bool:
    if isinstance(value, bool | np.bool_):
        return False
    if isinstance(value, float):
        return abs(value) < MAX_STEPS and value.is_integer() and low <= value <= high
    # A duration calls itself an integer.
    whole = isinstance(value, int | np.integer) and not isinstance(value, np.timedelta64)
    return whole and low <= int(value) <= high
