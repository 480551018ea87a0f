"""Silent or missing: the rules one by one, and against a slow reading of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from datalayer.domain.silence import (
    MISSING,
    SILENT,
    SILENT_ABSENT,
    TRADED,
    UNKNOWN_COUNT,
    CandleTotals,
    candle_states,
    on_grid,
    runs,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

Candle = tuple[int, int] | None  # volume and trade count; None: absent


def totals(candles: Sequence[Candle]) -> CandleTotals:
    present = [(slot, *candle) for slot, candle in enumerate(candles) if candle is not None]
    slots, volume, count = np.array(present, np.int64).reshape(-1, 3).T
    return on_grid(slots, len(candles), volume, count)


def states(short: Sequence[Candle], *longer: Sequence[Candle]) -> list[int]:
    return candle_states(totals(short), [totals(candles) for candles in longer]).tolist()


SHORT: tuple[Candle, ...] = ((5, 2), None, (0, 0), None)


def test_nobody_accounts_for_what_is_absent() -> None:
    assert states(SHORT) == [TRADED, MISSING, SILENT, MISSING]
    assert states(SHORT, [None]) == [TRADED, MISSING, SILENT, MISSING]


def test_volume_and_trades_account_for_what_is_absent() -> None:
    silent = [TRADED, SILENT_ABSENT, SILENT, SILENT_ABSENT]
    missing = [TRADED, MISSING, SILENT, MISSING]
    assert states(SHORT, [(5, 2)]) == silent
    assert states(SHORT, [(6, 2)]) == missing
    assert states(SHORT, [(5, 3)]) == missing
    assert states(SHORT, [(5, UNKNOWN_COUNT)]) == silent
    assert states([(5, UNKNOWN_COUNT), *SHORT[1:]], [(5, 3)]) == silent
    assert states([None] * 4, [(0, 0)]) == [SILENT_ABSENT] * 4


def test_the_shortest_longer_candle_decides() -> None:
    assert states(SHORT, [(5, 2), None], [(6, 2)]) == [TRADED, SILENT_ABSENT, SILENT, MISSING]
    assert states(SHORT, [(6, 2), (0, 0)], [(5, 2)]) == [TRADED, MISSING, SILENT, SILENT_ABSENT]


def test_runs_begin_where_the_state_changes() -> None:
    assert runs(np.array([1, 1, 2, 2, 1])).tolist() == [0, 2, 4]
    assert runs(np.array([7])).tolist() == [0]
    assert runs(np.zeros(0)).tolist() == []


def slowly(short: Sequence[Candle], longer: Sequence[Sequence[Candle]]) -> list[int]:
    found = []
    for slot, candle in enumerate(short):
        if candle is not None:
            found.append(TRADED if candle[0] else SILENT)
            continue
        found.append(MISSING)
        for candles in longer:
            size = len(short) // len(candles)
            around = candles[slot // size]
            if around is None:
                continue
            parts = [part for part in short[slot // size * size :][:size] if part is not None]
            counts = [around[1], *(part[1] for part in parts)]
            if around[0] == sum(part[0] for part in parts) and (
                UNKNOWN_COUNT in counts or counts[0] == sum(counts[1:])
            ):
                found[-1] = SILENT_ABSENT
            break
    return found


CANDLES = st.none() | st.tuples(st.integers(0, 2), st.integers(-1, 2))


@given(st.data())
def test_all_rules_together(data: st.DataObject) -> None:
    short = data.draw(st.lists(CANDLES, min_size=12, max_size=12))
    longer = [data.draw(st.lists(CANDLES, min_size=size, max_size=size)) for size in (6, 2, 1)]
    assert states(short, *longer) == slowly(short, longer)
