"""Which spans of time a read of buckets computes from the books."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError
from datalayer.repositories import order_book_buckets
from datalayer.repositories.order_book_buckets import BucketSelection, bucket_selection
from datalayer.repositories.order_book_queries import Span

START = datetime(2024, 8, 8, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MOMENTS = st.integers(-5_000, 5_000).map(lambda n: START + n * timedelta(milliseconds=20))


def at(second: int) -> datetime:
    return START + second * SECOND


def lacking(known: dict[int, bool], chosen: BucketSelection) -> list[Span]:
    times = np.array([at(second).replace(tzinfo=None) for second in sorted(known)], "datetime64[us]")
    dirty = np.array([known[second] for second in sorted(known)], np.int16)
    return order_book_buckets._lacking({"ts": times, "is_dirty": dirty}, chosen)


@given(st.dictionaries(st.integers(0, 29), st.booleans()), st.sampled_from([1, 2, 3, 1_000]))
def test_spans_hold_every_second_that_has_no_clean_bucket(known: dict[int, bool], most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order_book_buckets, "_MOST_SPANS", most)
        spans = lacking(known, BucketSelection(Timeframe.S1, Span(START, at(30))))
    assert len(spans) <= most
    assert all(one.end < two.start for one, two in pairwise(spans))
    assert all(START <= span.start < span.end <= at(30) for span in spans)
    held = {second for second in range(30) if any(s.start <= at(second) < s.end for s in spans)}
    wanted = {second for second in range(30) if known.get(second, True)}
    assert held >= wanted
    if most == 1_000:
        assert held == wanted


def test_with_enough_rows_for_the_limit_nothing_older_is_looked_for() -> None:
    chosen = BucketSelection(Timeframe.S1, Span(START, at(30)), limit=2)
    assert lacking({20: False, 25: False}, chosen) == [Span(at(21), at(25)), Span(at(26), at(30))]
    assert lacking({20: True, 25: False}, chosen) == [Span(at(20), at(25)), Span(at(26), at(30))]
    assert lacking({25: False}, chosen) == [Span(START, at(25)), Span(at(26), at(30))]
    assert lacking({}, BucketSelection(Timeframe.S1, Span(START, at(30)), limit=0)) == []


@given(MOMENTS | st.none(), MOMENTS | st.none(), MOMENTS, st.sampled_from([Timeframe.S1, Timeframe.M1]))
def test_a_selection_is_the_buckets_that_start_inside_and_are_over(
    start: datetime | None, end: datetime | None, as_of: datetime, length: Timeframe
) -> None:
    if start is not None and end is not None and end < start:
        with pytest.raises(InvalidInputError, match="end"):
            bucket_selection(length, start, end, as_of)
        return
    chosen = bucket_selection(length, start, end, as_of, include_forming=True)
    grid = [length.floor(START) + n * length.length for n in range(-110, 110)]

    def is_inside(opened: datetime) -> bool:
        return (start is None or opened >= start) and (end is None or opened < end)

    whole = [opened for opened in grid if is_inside(opened) and opened + length.length <= as_of]
    assert [opened for opened in grid if chosen.opens.start <= opened < chosen.opens.end] == whole
    assert length.floor(chosen.opens.start) == chosen.opens.start
    assert length.floor(chosen.opens.end) == chosen.opens.end
    opened, tick = length.floor(as_of), timedelta(microseconds=1)
    assert chosen.forming == (Span(opened, as_of + tick) if is_inside(opened) else None)


def test_a_selection_reaches_to_the_ends_of_the_calendar() -> None:
    last = datetime.max.replace(tzinfo=UTC)
    chosen = bucket_selection(Timeframe.M1, last, last, last)
    assert chosen.opens.start == chosen.opens.end == last.replace(second=0, microsecond=0)
    everything = bucket_selection(Timeframe.M1, None, None, last).opens
    assert everything.start == datetime.min.replace(tzinfo=UTC)
