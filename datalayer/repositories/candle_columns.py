"""Candles of one timeframe as columns of counts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

SOURCES: Final = ("stored", "aggregate", "generated", "forming", "filled")
"""Where a candle of a frame is from; the numbers of `CandleColumns.origins` count from here."""


@dataclass(frozen=True, slots=True, eq=False)
class CandleColumns:
    """Candles of one timeframe, ascending and unique.

    Attributes:
        times: open times in UTC, datetime64[us], `[n]`.
        steps: counts by name of `VALUES`, int64, `[n]`.
        origins: places in `SOURCES`, int8, `[n]`.
        weights: how much of it there was, int64 `[n]`; of stored candles 0.
    """

    times: NDArray[np.datetime64]
    steps: Mapping[str, NDArray[np.int64]]
    origins: NDArray[np.int8]
    weights: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.times)

    def rows(self, selection: Any) -> CandleColumns:
        """Return some of the rows."""
        values = {name: column[selection] for name, column in self.steps.items()}
        return CandleColumns(self.times[selection], values, self.origins[selection], self.weights[selection])

    def labelled(self, origin: str) -> CandleColumns:
        """Return the same rows, all from one of `SOURCES`."""
        return replace(self, origins=np.full(len(self), SOURCES.index(origin), np.int8))

    def without(self, times: NDArray[np.datetime64]) -> CandleColumns:
        """Return the rows that have none of these open times."""
        return self.rows(~np.isin(self.times, times)) if len(self) and len(times) else self

    def joined(self, other: CandleColumns) -> CandleColumns:
        """Return both, which have no open time in common."""
        if not len(other) or not len(self):
            return self if len(self) else other
        values = {name: np.concatenate([column, other.steps[name]]) for name, column in self.steps.items()}
        both = CandleColumns(
            np.concatenate([self.times, other.times]),
            values,
            np.concatenate([self.origins, other.origins]),
            np.concatenate([self.weights, other.weights]),
        )
        return both.rows(np.argsort(both.times, kind="stable"))

    def last(self, limit: int | None) -> CandleColumns:
        """Return the last so many rows."""
        return self if limit is None else self.rows(slice(max(len(self) - limit, 0), None))

    def weights_at(self, times: NDArray[np.datetime64]) -> NDArray[np.int64]:
        """Return the weights at these times; 0 where there is no row."""
        weights = np.zeros(len(times), np.int64)
        _, at, rows = np.intersect1d(times, self.times, assume_unique=True, return_indices=True)
        weights[at] = self.weights[rows]
        return weights

    def ascending(self) -> CandleColumns:
        """Return them in ascending order, if they are descending."""
        return self.rows(slice(None, None, -1)) if len(self) > 1 and self.times[0] > self.times[-1] else self


def blank_columns(values: Iterable[str], rows: int = 0) -> CandleColumns:
    """Return so many rows that mean nothing."""
    zero = np.zeros(rows, np.int64)
    return CandleColumns(zero.view("datetime64[us]"), dict.fromkeys(values, zero), zero.astype(np.int8), zero)
