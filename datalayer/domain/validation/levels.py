"""The levels of one side of many order books: lists of any kind as padded arrays of steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from datalayer.domain.steps import from_steps
from datalayer.domain.validation.numbers import AMBIGUOUS_STEPS, NUMBER_RULES, step_values, value_array
from datalayer.domain.validation.raw_columns import object_array
from datalayer.domain.validation.rules import Rule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from datalayer.domain.validation.findings import Findings


@dataclass(frozen=True, slots=True)
class Ragged:
    """Lists of values, one after another.

    Attributes:
        values: all values, one-dimensional.
        lengths: of each row's list, int64 `[n]`; 0 for a row that has none.
        given: whether the row has a value at all, bool `[n]`.
        readable: whether that is a list, bool `[n]`.
    """

    values: NDArray[Any]
    lengths: NDArray[np.int64]
    given: NDArray[np.bool_]
    readable: NDArray[np.bool_]


@dataclass(slots=True)
class Side:
    """One side of each book, padded at the end with steps of 0.

    Attributes:
        prices: steps, int64 `[n, levels]`.
        sizes: steps, same shape.
        lengths: number of levels of each book, int64 `[n]`.
        places: where each level was in its list, int64, same shape.
        zero_sizes: levels of size zero that were left out, int64 `[n]`.
    """

    prices: NDArray[np.int64]
    sizes: NDArray[np.int64]
    lengths: NDArray[np.int64]
    places: NDArray[np.int64]
    zero_sizes: NDArray[np.int64]


def check_side(prices: Any, sizes: Any, scales: tuple[int, int], findings: Findings, side: str) -> Side:
    """Refuse books whose levels on one side are no numbers that steps can hold; leave out levels of size zero.

    Args:
        prices: a column of lists, or a float64 array `[n, levels]` that is padded with NaN at the end of its rows.
        sizes: likewise.
        scales: of prices and of sizes.
        findings: takes the refusals.
        side: `bid` or `ask`.
    """
    names = (f"{side}_prices", f"{side}_sizes")
    pair = _ragged_pair(prices, sizes)
    for name, ragged in zip(names, pair, strict=True):
        findings.refuse(~ragged.given, Rule.PRESENT, name)
        findings.refuse(~ragged.readable, Rule.LEVELS, name)
    findings.refuse(pair[0].lengths != pair[1].lengths, Rule.LEVELS, names[1])
    padded = [_check_values(r, s, findings, n) for r, s, n in zip(pair, scales, names, strict=True)]
    lengths = np.where(findings.accepted, pair[0].lengths, 0)
    width = int(lengths.max(initial=0))
    both = [_fit(array, width) for array in padded]
    places = np.broadcast_to(np.arange(width), both[0].shape)
    return _without_zero_sizes(Side(both[0], both[1], lengths, places, np.zeros(len(lengths), np.int64)))


def refuse_levels(
    wrong: NDArray[np.bool_], findings: Findings, rule: Rule, field: str, places: NDArray[np.int64]
) -> None:
    """Refuse books with a wrong level; the first such level of each is the one that is named."""
    books = np.asarray(wrong.any(axis=1))
    if books.any():
        first = np.argmax(wrong, axis=1)
        findings.refuse(books, rule, field, places[np.arange(len(wrong)), first])


def _ragged_pair(prices: Any, sizes: Any) -> tuple[Ragged, Ragged]:
    if _is_padded(prices) and _is_padded(sizes) and prices.shape == sizes.shape:
        filled = ~(np.isnan(prices) & np.isnan(sizes))
        width = filled.shape[1]
        # Only what is empty to the end is padding; an empty level before another one is a fault.
        lengths = (
            np.where(filled.any(axis=1), width - np.argmax(filled[:, ::-1], axis=1), 0)
            if width
            else np.zeros(len(filled), np.int64)
        )
        within = np.arange(width) < lengths[:, None]
        there = np.ones(len(filled), dtype=bool)
        return Ragged(prices[within], lengths, there, there), Ragged(sizes[within], lengths, there, there)
    return _ragged(prices), _ragged(sizes)


def _is_padded(column: Any) -> bool:
    return isinstance(column, np.ndarray) and column.ndim > 1 and column.dtype == np.float64


def _ragged(column: Any) -> Ragged:
    rows = [column[row] for row in range(len(column))] if isinstance(column, np.ndarray) else list(column)
    given = np.array([row is not None for row in rows], dtype=bool)
    readable = np.array([_is_list(row) for row in rows], dtype=bool)
    lists = [row if good else () for row, good in zip(rows, readable, strict=True)]
    lengths = np.array([len(row) for row in lists], dtype=np.int64)
    return Ragged(_joined(lists), lengths, given, readable)


def _is_list(row: Any) -> bool:
    if isinstance(row, np.ndarray):
        return row.ndim == 1 and not isinstance(row, np.ma.MaskedArray)
    return isinstance(row, list | tuple)


def _joined(lists: Sequence[Any]) -> NDArray[Any]:
    if all(isinstance(row, np.ndarray) and row.dtype == np.float64 for row in lists if len(row)):
        return np.concatenate([np.empty(0), *(row for row in lists if len(row))])
    values = [value for row in lists for value in _listed(row)]
    if all(type(value) is float for value in values):
        return np.array(values, dtype=np.float64)
    return object_array(values)


def _listed(row: Any) -> Any:
    # As a list of Python's, times and durations in nanoseconds would be plain integers.
    return row.tolist() if isinstance(row, np.ndarray) and row.dtype.kind not in "mM" else row


def _check_values(ragged: Ragged, scale: int, findings: Findings, field: str) -> NDArray[np.int64]:
    held = step_values(value_array(ragged.values), scale, field)
    width = int(ragged.lengths.max(initial=0))
    within = np.arange(width) < ragged.lengths[:, None]
    steps = np.zeros(within.shape, dtype=np.int64)
    steps[within] = held.steps
    faults = np.zeros(within.shape, dtype=np.int8)
    faults[within] = held.faults if held.faults is not None else 0
    # Books are handed out in floats, which have to find back to the same steps.
    faults[_is_ambiguous(steps, scale) & (faults == 0)] = NUMBER_RULES.index(Rule.REPRESENTABLE) + 1
    places = np.broadcast_to(np.arange(width), within.shape)
    for place, rule in enumerate(NUMBER_RULES, start=1):
        refuse_levels(faults == place, findings, rule, field, places)
    return steps


def _is_ambiguous(steps: NDArray[np.int64], scale: int) -> NDArray[np.bool_]:
    ambiguous = np.abs(steps) >= AMBIGUOUS_STEPS
    if ambiguous.any():
        large = steps[ambiguous]
        value = from_steps(large, scale)
        ambiguous[ambiguous] = (from_steps(large - 1, scale) == value) | (
            from_steps(large + 1, scale) == value
        )
    return ambiguous


def _fit(array: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Return the first `width` columns; those beyond belong to refused rows."""
    if array.shape[1] >= width:
        return array[:, :width]
    return np.pad(array, ((0, 0), (0, width - array.shape[1])))


def _without_zero_sizes(side: Side) -> Side:
    within = np.arange(side.prices.shape[1]) < side.lengths[:, None]
    zero = within & (side.sizes == 0)
    if not zero.any():
        return side
    order = np.argsort(zero | ~within, axis=1, kind="stable")
    lengths = side.lengths - zero.sum(axis=1)
    moved = [np.take_along_axis(array, order, axis=1) for array in (side.prices, side.sizes, side.places)]
    for array in moved[:2]:
        array[np.arange(array.shape[1]) >= lengths[:, None]] = 0
    return Side(moved[0], moved[1], lengths, moved[2], zero.sum(axis=1))
