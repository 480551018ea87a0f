"""Which absent candles are silence and which are missing, decided by the longer candles around them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from datalayer.domain.candle import UNKNOWN_COUNT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

TRADED: Final = 0
SILENT: Final = 1
SILENT_ABSENT: Final = 2
MISSING: Final = 3


@dataclass(frozen=True, slots=True, eq=False)
class CandleTotals:
    """Volumes and trade counts on a grid without holes.

    Attributes:
        is_present: bool `[n]`; elsewhere the other two are 0.
        volume: in size steps, int64 `[n]`.
        trade_count: int64 `[n]`; `UNKNOWN_COUNT` where the source does not say.
    """

    is_present: NDArray[np.bool_]
    volume: NDArray[np.int64]
    trade_count: NDArray[np.int64]


def on_grid(
    slots: NDArray[np.int64], size: int, volume: NDArray[np.int64], trade_count: NDArray[np.int64]
) -> CandleTotals:
    """Return the candles that open at `slots` of a grid of `size`."""
    totals = CandleTotals(np.zeros(size, np.bool_), np.zeros(size, np.int64), np.zeros(size, np.int64))
    totals.is_present[slots] = True
    totals.volume[slots] = volume
    totals.trade_count[slots] = trade_count
    return totals


def candle_states(short: CandleTotals, longer: Sequence[CandleTotals]) -> NDArray[np.int8]:
    """Return the state of each slot of the short candles: `TRADED`, `SILENT`, `SILENT_ABSENT` or `MISSING`.

    An absent candle is silence where the shortest longer candle around it has all its volume, and all its trades as far
    as both sides know them, in the short candles that are there. The shortest one decides: a longer one that agrees does
    not bring back what a shorter one has seen.

    Args:
        short: `[n]`.
        longer: longer candles over the same range, shortest first; the size of each divides `n`.
    """
    states: NDArray[np.int8] = np.where(short.volume == 0, SILENT, TRADED).astype(np.int8)
    undecided = ~short.is_present
    states[undecided] = MISSING
    for candles in longer:
        if not undecided.any():
            break
        per_candle = len(states) // len(candles.volume)
        silent = undecided & np.repeat(
            candles.is_present & _accounted(candles, short, per_candle), per_candle
        )
        states[silent] = SILENT_ABSENT
        undecided &= ~np.repeat(candles.is_present, per_candle)
    return states


def runs(states: NDArray[Any]) -> NDArray[np.int64]:
    """Return where each run of equal states begins."""
    return np.flatnonzero(np.concatenate([np.ones(min(len(states), 1), np.bool_), states[1:] != states[:-1]]))


def _accounted(longer: CandleTotals, short: CandleTotals, per_candle: int) -> NDArray[np.bool_]:
    volume = short.volume.reshape(-1, per_candle).sum(axis=1)
    counts = short.trade_count.reshape(-1, per_candle)
    is_known = (longer.trade_count != UNKNOWN_COUNT) & (counts != UNKNOWN_COUNT).all(axis=1)
    accounted: NDArray[np.bool_] = (longer.volume == volume) & (
        ~is_known | (longer.trade_count == counts.sum(axis=1))
    )
    return accounted
