from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalayer.integrations.binance.replay import StreamReplay
from datalayer.integrations.book_sampling import BookSampler
from datalayer.integrations.depth import (
    Applied,
    CrossedBook,
    DepthDiff,
    DepthSnapshot,
    Ignored,
    LocalOrderBook,
    SequenceGap,
)

if TYPE_CHECKING:
    from datalayer.integrations.binance.messages import Message
    from datalayer.integrations.fields import Levels

SNAPSHOT = DepthSnapshot(100, bids=((50, 1), (49, 2)), asks=((51, 3), (52, 4)))


def diff(first: int, last: int, bids: Levels = (), asks: Levels = (), time_us: int = 0) -> DepthDiff:
    return DepthDiff("BTCUSDT", time_us, first, last, bids, asks)


def test_diffs_wait_for_the_snapshot_and_old_ones_are_dropped() -> None:
    book = LocalOrderBook()

    assert book.apply_diff(diff(90, 95, bids=((50, 9),))) is Ignored.WAITING
    assert book.apply_diff(diff(96, 101, bids=((50, 7),))) is Ignored.WAITING
    assert not book.is_valid
    assert book.find_top_levels(5) is None

    assert book.apply_snapshot(SNAPSHOT) == Applied(101, 0)
    top = book.find_top_levels(5)
    assert top is not None
    assert top.bids == ((50, 7), (49, 2))
    assert top.asks == ((51, 3), (52, 4))


def test_zero_removes_a_level_and_an_unknown_one_is_no_fault() -> None:
    book = LocalOrderBook()
    book.apply_snapshot(SNAPSHOT)

    assert book.apply_diff(diff(101, 102, bids=((50, 0), (1, 0)), asks=((51, 0),))) == Applied(102, 0)
    top = book.find_top_levels(1)
    assert top is not None
    assert (top.bids, top.asks) == (((49, 2),), ((52, 4),))


def test_repeated_and_overlapping_diffs_do_no_harm() -> None:
    book = LocalOrderBook()
    book.apply_snapshot(SNAPSHOT)
    book.apply_diff(diff(101, 105, bids=((50, 8),)))

    assert book.apply_diff(diff(101, 105, bids=((50, 1),))) is Ignored.OLD
    assert book.apply_diff(diff(104, 106, bids=((50, 9),))) == Applied(106, 0)


def test_a_gap_is_reported_once_and_a_new_snapshot_heals_it() -> None:
    book = LocalOrderBook()
    book.apply_snapshot(SNAPSHOT)

    assert book.apply_diff(diff(103, 104, time_us=7)) == SequenceGap(101, 103, 7)
    assert book.last_update_id is None
    assert book.apply_diff(diff(105, 110, bids=((50, 5),))) is Ignored.WAITING
    assert book.apply_snapshot(DepthSnapshot(101, (), ())) == SequenceGap(102, 103, 7)
    assert book.apply_snapshot(DepthSnapshot(104, ((40, 1),), ((60, 1),))) == Applied(110, 0)
    top = book.find_top_levels(1)
    assert top is not None
    assert top.bids == ((50, 5),)


def test_a_gap_among_the_waiting_diffs_is_not_swallowed() -> None:
    book = LocalOrderBook()
    for message in (diff(101, 102), diff(105, 106), diff(107, 108)):
        book.apply_diff(message)

    assert book.apply_snapshot(SNAPSHOT) == SequenceGap(103, 105, 0)
    assert not book.is_valid
    assert book.apply_snapshot(DepthSnapshot(104, (), ())) == Applied(108, 0)


def test_an_old_snapshot_does_not_turn_a_valid_book_back() -> None:
    book = LocalOrderBook()
    book.apply_snapshot(SNAPSHOT)
    book.apply_diff(diff(101, 105))

    assert book.apply_snapshot(SNAPSHOT) is Ignored.OLD
    assert book.last_update_id == 105


def test_levels_that_a_cut_off_snapshot_did_not_show_are_never_given_out() -> None:
    """The bid at 48 was there all the time, and has not changed: this copy cannot know it; 47 came later."""
    book = LocalOrderBook(depth=2)
    book.apply_snapshot(SNAPSHOT)
    assert book.reaches(2)
    book.apply_diff(diff(101, 102, bids=((47, 5), (50, 0))))

    assert not book.reaches(2)
    assert book.reaches(1)
    top = book.find_top_levels(2)
    assert top is not None
    assert (top.bids, top.asks) == (((49, 2),), ((51, 3), (52, 4)))


def test_a_snapshot_that_is_shorter_than_its_depth_shows_all_there_is() -> None:
    for depth in (None, 3):
        book = LocalOrderBook(depth=depth)
        book.apply_snapshot(SNAPSHOT)
        book.apply_diff(diff(101, 102, bids=((47, 5), (50, 0))))
        assert book.reaches(5)
        top = book.find_top_levels(5)
        assert top is not None
        assert top.bids == ((49, 2), (47, 5))


def test_a_crossed_book_is_invalid() -> None:
    book = LocalOrderBook()
    book.apply_snapshot(SNAPSHOT)

    assert book.apply_diff(diff(101, 101, bids=((51, 1),))) == CrossedBook(101, 51, 51)
    assert not book.is_valid


def test_waiting_diffs_are_bounded_and_the_oldest_go() -> None:
    book = LocalOrderBook(buffer_diffs=2)
    for first in (101, 102, 103):
        book.apply_diff(diff(first, first))

    assert book.apply_snapshot(SNAPSHOT) == SequenceGap(101, 102, 0)


_LEVELS = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 3)), max_size=6)


@given(st.lists(_LEVELS, max_size=30))
def test_the_best_levels_are_those_of_a_plain_dictionary(updates: list[list[tuple[int, int]]]) -> None:
    book = LocalOrderBook()
    book.apply_snapshot(DepthSnapshot(0, (), ()))
    plain: dict[int, int] = {}
    for number, levels in enumerate(updates, start=1):
        book.apply_diff(diff(number, number, bids=tuple(levels)))
        plain.update(levels)
        top = book.find_top_levels(5)
        assert top is not None
        assert list(top.bids) == sorted(((p, s) for p, s in plain.items() if s), reverse=True)[:5]


def test_the_real_recording_has_no_gap_and_never_crosses(replayed: StreamReplay) -> None:
    assert replayed.faults == []
    assert len(replayed.books) == 1301
    assert all(len(b.levels.bids) == len(b.levels.asks) == 20 for b in replayed.books)
    assert all(b.levels.bids[0][0] < b.levels.asks[0][0] for b in replayed.books)


@pytest.mark.parametrize("removed", [10, 1_000, 5_000])
def test_one_message_taken_out_of_the_real_recording_is_found(capture: list[Message], removed: int) -> None:
    diffs = [message for message in capture if isinstance(message, DepthDiff)]
    missing = diffs[removed]
    replay = StreamReplay()
    for message in capture:
        if message is not missing:
            replay.feed(message)

    assert [fault.expected_update_id for fault in replay.faults if isinstance(fault, SequenceGap)] == [
        missing.first_update_id
    ]
    assert replay.books[-1].last_update_id < missing.first_update_id


def test_a_sample_is_never_stamped_before_what_it_contains() -> None:
    sampler, book = BookSampler(sample_ms=500, levels=1), LocalOrderBook()
    early = [diff(95, 96, time_us=400_000), diff(97, 98, time_us=500_000)]
    sampler.find_sample(400_000, book.apply_diff(early[0]), book)
    book.apply_snapshot(SNAPSHOT)

    assert sampler.find_sample(500_000, book.apply_diff(early[1]), book) is None
