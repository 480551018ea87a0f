"""Sliding windows: each is what a slow loop finds, gaps are told, and nothing is copied."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalayer.domain.sliding_windows import SlidingWindows, WindowBlock
from datalayer.errors import InvalidInputError, MissingDataError

START = datetime(2024, 8, 8, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def frame(minutes: list[int]) -> pd.DataFrame:
    """Candles whose close is their minute."""
    index = pd.DatetimeIndex([START + MINUTE * minute for minute in minutes], tz="UTC").as_unit("us")
    numbers = np.array(minutes, float)
    counts = pd.array([None if minute % 2 else minute for minute in minutes], dtype="Int64")
    made = pd.DataFrame({"close": numbers, "volume": -numbers, "trade_count": counts}, index=index)
    made.attrs["symbol"] = "BTC/USDT"
    return made


def blocks(windows: SlidingWindows, *parts: list[int]) -> list[WindowBlock]:
    return [block for part in parts for block in windows.add(frame(part))]


def closes(found: list[WindowBlock]) -> list[list[float]]:
    return [window[:, 0].tolist() for block in found for _, window in block]


def decided(found: list[WindowBlock]) -> list[int]:
    """In minutes after the start."""
    return [(moment.item().replace(tzinfo=UTC) - START) // MINUTE for block in found for moment, _ in block]


def of_closes(length: int, **options: Any) -> SlidingWindows:
    return SlidingWindows("1m", length, columns=["close"], **options)


def test_windows_go_on_over_the_end_of_a_frame() -> None:
    found = blocks(of_closes(3), [0, 1], [2], [3, 4, 5])
    assert closes(found) == [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5]]
    assert decided(found) == [3, 4, 5, 6]
    assert [block.gap_before for block in found] == [None] * 3


def test_no_window_holds_a_gap_and_each_gap_is_told() -> None:
    found = blocks(of_closes(2), [0, 1, 5], [8, 9, 10])
    assert closes(found) == [[0, 1], [8, 9], [9, 10]]
    assert [block.gap_before for block in found] == [
        None,
        (START + 2 * MINUTE, START + 5 * MINUTE),
        (START + 6 * MINUTE, START + 8 * MINUTE),
    ]
    assert not any(block.has_gap.any() for block in found)


def test_windows_that_hold_a_gap_are_marked_when_they_are_asked_for() -> None:
    found = blocks(of_closes(2, on_gap="mark"), [0, 1], [3, 4])
    assert closes(found) == [[0, 1], [1, 3], [3, 4]]
    assert decided(found) == [2, 4, 5]
    assert [marked for block in found for marked in block.has_gap] == [False, True, False]
    assert found[-1].gap_before == (START + 2 * MINUTE, START + 3 * MINUTE)


def test_a_gap_is_an_error_when_none_is_wanted() -> None:
    found = of_closes(2, on_gap="refuse").add(frame([0, 1, 2, 5, 6]))
    assert closes([next(found)]) == [[0, 1], [1, 2]]
    with pytest.raises(MissingDataError, match="BTC/USDT 1m has no candles in") as refused:
        next(found)
    assert refused.value.intervals == ((START + 3 * MINUTE, START + 5 * MINUTE),)


def test_windows_are_views_of_one_block_and_cannot_be_written() -> None:
    (block,) = blocks(of_closes(100), list(range(10_000)))
    assert block.windows.shape == (9_901, 100, 1)
    assert np.shares_memory(block.windows[0], block.windows[99])
    with pytest.raises(ValueError, match="read-only"):
        block.windows[0, 0, 0] = 1.0


def test_what_is_kept_of_a_frame_is_what_the_next_window_needs() -> None:
    windows = of_closes(10)
    blocks(windows, list(range(10_000)))
    assert windows._rows.shape == (9, 1)
    assert windows._rows.base is None or windows._rows.base.nbytes == windows._rows.nbytes


def test_columns_come_in_the_order_asked_for_and_unknown_counts_are_nan() -> None:
    windows = SlidingWindows("1m", 1, columns=["volume", "trade_count", "close"])
    (block,) = blocks(windows, [2, 3])
    np.testing.assert_array_equal(block.windows[:, 0], [[-2, 2, 2], [-3, np.nan, 3]])
    assert block.columns == ("volume", "trade_count", "close")


def test_an_empty_frame_changes_nothing() -> None:
    assert closes(blocks(of_closes(2), [0], [], [1])) == [[0, 1]]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"length": 0}, "length=0: a window has at least one candle"),
        ({"on_gap": "bridge"}, "restart, mark, refuse"),
        ({"columns": "close"}, "give a list"),
        ({"columns": []}, "give a list"),
    ],
)
def test_what_makes_no_windows_is_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        SlidingWindows("1m", **{"length": 2, **options})


def test_candles_that_are_not_later_are_refused() -> None:
    windows = of_closes(2)
    blocks(windows, [0, 1])
    for again in ([1, 2], [3, 2]):
        with pytest.raises(
            InvalidInputError, match=r"timestamp='2024-08-08T00:0\d:00.*later than the one before"
        ):
            blocks(windows, again)
    with pytest.raises(InvalidInputError, match="missing: price"):
        list(SlidingWindows("1m", 2, columns=["price"]).add(frame([0])))


@given(
    minutes=st.lists(st.integers(0, 60), unique=True).map(sorted),
    cuts=st.lists(st.integers(0, 60), max_size=6).map(sorted),
    length=st.integers(1, 6),
    on_gap=st.sampled_from(["restart", "mark"]),
)
def test_windows_are_those_of_a_slow_loop(
    minutes: list[int], cuts: list[int], length: int, on_gap: str
) -> None:
    parts = [minutes[start:end] for start, end in zip([0, *cuts], [*cuts, None], strict=True)]
    found = blocks(of_closes(length, on_gap=on_gap), *parts)
    every = [minutes[end - length : end] for end in range(length, len(minutes) + 1)]
    whole = [window[-1] - window[0] == length - 1 for window in every]
    expected = [window for window, is_whole in zip(every, whole, strict=True) if is_whole or on_gap == "mark"]
    assert closes(found) == expected
    assert decided(found) == [window[-1] + 1 for window in expected]
    if on_gap == "mark":
        assert [not marked for block in found for marked in block.has_gap] == whole
    gaps = [(before + 1, after) for before, after in pairwise(minutes) if after > before + 1]
    told = [block.gap_before for block in found if block.gap_before is not None]
    assert told == [(START + start * MINUTE, START + end * MINUTE) for start, end in gaps]
