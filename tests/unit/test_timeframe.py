"""Candle lengths: spelling, grid and order."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError

LABELS = ["1s", "1m", "5m", "15m", "1h", "4h", "1d"]
MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive here


def test_labels_are_the_usual_spellings() -> None:
    assert [t.label for t in Timeframe] == LABELS
    assert [Timeframe.parse(label) for label in LABELS] == list(Timeframe)


@pytest.mark.parametrize("text", ["", "2m", "1M", "60", "1 h", "1m "])
def test_an_unsupported_spelling_lists_the_supported(text: str) -> None:
    with pytest.raises(InvalidInputError, match="1s, 1m, 5m, 15m, 1h, 4h, 1d"):
        Timeframe.parse(text)


def test_parents_are_multiples_up_to_the_day() -> None:
    for timeframe in Timeframe:
        parent = timeframe.parent
        assert parent is None if timeframe is Timeframe.D1 else parent % timeframe == 0


@given(moment=MOMENTS, timeframe=st.sampled_from(Timeframe))
def test_floor_is_the_open_of_the_candle_that_holds_the_moment(
    moment: datetime, timeframe: Timeframe
) -> None:
    opened = timeframe.floor(moment)
    assert opened <= moment < opened + timeframe.length
    assert opened.timestamp() % timeframe == 0


def test_floor_of_another_timezone_is_utc() -> None:
    moment = datetime(2024, 3, 10, 1, 30, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    assert Timeframe.D1.floor(moment) == datetime(2024, 3, 9, tzinfo=UTC)
    assert Timeframe.D1.floor(moment).tzinfo is UTC


def test_floor_of_a_naive_moment_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="naive"):
        Timeframe.M1.floor(datetime(2024, 1, 1))  # noqa: DTZ001 - the point of the test
