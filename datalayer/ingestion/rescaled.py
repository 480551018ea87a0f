"""Events in the counts and under the ids that the database has now: a scale may have been widened since they came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from datalayer.domain.steps import MAX_STEPS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from datalayer.domain.instrument import Instrument
    from datalayer.ingestion.streams import Streams


class Rescaling:
    """What becomes of the counts of each row of a batch.

    Args:
        numbers: stream of each row, `[n]`.
        streams: what they mean.
        stored: instruments by symbol, as the database has them; all of the streams'.

    Attributes:
        ids: instrument id of each row, int16 `[n]`.
        misfits: rows that the stored scale does not hold exactly, bool `[n]`.
    """

    def __init__(
        self, numbers: NDArray[np.uint32], streams: Streams, stored: Mapping[str, Instrument]
    ) -> None:
        unique, self._places = np.unique(numbers, return_inverse=True)
        of_streams = [(streams[int(number)], stored[streams[int(number)].symbol]) for number in unique]
        self.ids = np.array([instrument.id for _, instrument in of_streams], np.int16)[self._places]
        self.misfits: NDArray[np.bool_] = np.zeros(len(numbers), dtype=bool)
        self._factors = {
            field: _Factors.of([getattr(i, f"{field}_scale") - s.scales[place] for s, i in of_streams])
            for place, field in enumerate(("price", "size"))
        }

    def __call__(self, counts: NDArray[Any], field: str) -> NDArray[np.int64]:
        """Return counts in the stored scale.

        Args:
            counts: int64 `[n]` or `[n, levels]`.
            field: `price` or `size`.
        """
        steps: NDArray[np.int64] = counts.astype(np.int64)
        factors = self._factors[field]
        if factors is None:
            return steps
        shape = (-1, *[1] * (steps.ndim - 1))
        up, down = (part[self._places].reshape(shape) for part in (factors.up, factors.down))
        misfits = (np.abs(steps) > MAX_STEPS // up) | (steps % down != 0)
        self.misfits |= misfits.any(axis=1) if misfits.ndim > 1 else misfits
        return np.where(misfits, 0, steps) * up // down


@dataclass(frozen=True, slots=True, eq=False)
class _Factors:
    up: NDArray[np.int64]
    down: NDArray[np.int64]

    @classmethod
    def of(cls, digits: list[int]) -> _Factors | None:
        if not any(digits):
            return None
        return cls(
            np.array([10 ** max(more, 0) for more in digits], np.int64),
            np.array([10 ** max(-more, 0) for more in digits], np.int64),
        )


def first_of_key(*key: NDArray[Any]) -> NDArray[np.int64]:
    """Return the rows in the order of their key, of equal keys the one that came first; the first array leads."""
    order, begins = _grouped(key)
    return order[begins]


def last_of_key(*key: NDArray[Any]) -> NDArray[np.int64]:
    """Return the rows in the order of their key, of equal keys the one that came last; the first array leads."""
    order, begins = _grouped(key)
    return order[np.append(begins[1:], True)] if len(order) else order


def last_known(rows: NDArray[np.bool_], *key: NDArray[Any]) -> NDArray[np.int64]:
    """Return for each row of `last_of_key` the last row of its key at which `rows` is True, or else itself."""
    order, begins = _grouped(key)
    place = np.arange(len(order))
    start = np.maximum.accumulate(np.where(begins, place, 0))
    known = np.maximum.accumulate(np.where(rows[order], place, -1))
    ends = np.append(begins[1:], True) if len(order) else begins
    return order[np.where(known >= start, known, place)][ends]


def _grouped(key: tuple[NDArray[Any], ...]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    order = np.lexsort(tuple(reversed(key)))  # stable: equal keys stay as they came
    begins = np.zeros(len(order), dtype=bool)
    begins[:1] = True
    for column in key:
        values = column[order]
        begins[1:] |= values[1:] != values[:-1]
    return order, begins
