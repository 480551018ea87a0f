from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from datalayer.integrations.feeds.sequence import Hole, Seen, Sequence

START = datetime(2024, 8, 8, tzinfo=UTC)


def at(number: int) -> datetime:
    return START + timedelta(seconds=number)


def test_the_first_number_is_the_beginning() -> None:
    ids = Sequence()

    assert ids.see(7, at(7)) == (Seen.NEXT, None)
    assert ids.see(8, at(8)) == (Seen.NEXT, None)
    assert ids.see(7, at(7)) == (Seen.REPEATED, None)


def test_a_hole_says_what_it_is() -> None:
    ids = Sequence(10, at(10))
    seen, hole = ids.see(14, at(14))

    assert seen is Seen.NEXT
    assert hole is not None
    assert (hole.first, hole.last, hole.start, hole.end, hole.cause) == (11, 13, at(10), at(14), "restart")
    assert ids.see(12, at(12)) == (Seen.MISSED, hole)
    assert hole.missing == [(11, 11), (13, 13)]
    assert ids.see(12, at(12))[0] is Seen.REPEATED
    assert ids.see(17, at(17))[1].cause == "sequence"  # type: ignore[union-attr]


def test_a_hole_over_which_the_clock_goes_back_does_not_end_before_it_begins() -> None:
    ids = Sequence(10, at(10))
    _, hole = ids.see(12, at(9))

    assert hole is not None
    assert (hole.first, hole.last, hole.start, hole.end) == (11, 11, at(9), at(10))


def test_numbers_that_begin_anew_are_not_lost() -> None:
    ids = Sequence(1_000_000, at(0))

    assert ids.see(5, at(1)) == (Seen.RESTARTED, None)
    assert ids.see(6, at(2)) == (Seen.NEXT, None)


def test_what_is_expected_opens_a_hole_before_it_comes() -> None:
    ids = Sequence(10, at(10))

    assert ids.expect(11, at(11)) is None
    hole = ids.expect(13, at(13))
    assert hole is not None
    assert (hole.first, hole.last) == (11, 12)
    assert ids.see(13, at(13)) == (Seen.NEXT, None)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=80))
def test_every_number_is_accounted_for(numbers: list[int]) -> None:
    ids, holes, known = Sequence(), list[Hole](), set[int]()
    for number in numbers:
        seen, hole = ids.see(number, at(number))
        if number < numbers[0]:  # before the beginning
            assert seen is Seen.REPEATED
            continue
        assert (seen is Seen.REPEATED) == (number in known)
        known.add(number)
        if seen is Seen.NEXT and hole is not None:
            holes.append(hole)
    missing = {n for hole in holes for first, last in hole.missing for n in range(first, last + 1)}
    assert missing == set(range(numbers[0], max(numbers) + 1)) - known if known else not missing
    assert ids.holes == [hole for hole in holes if hole.missing]
