"""Candle lengths: spelling, grid and order."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pandas as pd
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


# One line a timeframe, as exchanges, pandas (old and new), MetaTrader, PostgreSQL, ISO 8601 and people write it.
SPELLINGS = {
    Timeframe.S1: ["1s", "1S", "1sec", "1 second", "PT1S", "S1", timedelta(seconds=1)],
    Timeframe.M1: ["1m", "1min", "60s", "1 minute", "PT1M", "M1", " 1m ", timedelta(minutes=1)],
    Timeframe.M5: ["5m", "5min", "5 minutes", "PT5M", "M5", "300s"],
    Timeframe.M15: ["15m", "15min", "15mins", "PT15M", "M15"],
    Timeframe.H1: ["1h", "1H", "60m", "60min", "1hr", "1 hour", "PT1H", "H1", timedelta(hours=1)],
    Timeframe.H4: ["4h", "4H", "240m", "240min", "4 hours", "PT4H", "H4"],
    Timeframe.D1: ["1d", "1D", "24h", "1day", "1 days", "P1D", "D1", timedelta(days=1)],
}


@pytest.mark.parametrize(
    ("spelling", "timeframe"), [(spelling, t) for t, spellings in SPELLINGS.items() for spelling in spellings]
)
def test_the_usual_spellings(spelling: str | timedelta, timeframe: Timeframe) -> None:
    assert Timeframe.parse(spelling) is timeframe


# A capital M is a month; a bare number is minutes to Bybit and seconds to Coinbase.
@pytest.mark.parametrize(
    "text",
    [
        "",
        "2m",
        "1M",
        "1MS",
        "1T",
        "P1M",
        "MN1",
        "1mo",
        "60",
        "1w",
        "-1m",
        "1.0m",
        "m",
        "D",
        "1 m m",
        timedelta(0),
        60,
        None,
        "9" * 20 + "m",
        "\uff11m",  # a full-width 1
    ],
)
def test_an_unsupported_spelling_lists_the_supported(text: str) -> None:
    with pytest.raises(InvalidInputError, match="1s, 1m, 5m, 15m, 1h, 4h, 1d"):
        Timeframe.parse(text)


_parts = st.sampled_from(
    ["1", "5", "60", "0", "m", "M", "min", "H", "hour", "P", "PT", "D", " ", "-", ".", "\u0661"]
)


@given(
    st.lists(_parts, max_size=4).map("".join)
    | st.text(max_size=8)
    | st.timedeltas()
    | st.integers()
    | st.floats()
)
def test_anything_is_a_timeframe_or_refused(given: object) -> None:
    try:
        found = Timeframe.parse(given)  # type: ignore[arg-type]
    except InvalidInputError:
        return
    assert Timeframe.parse(found.label) is found
    if isinstance(given, str):
        assert re.search("[1-9]", given)
        assert re.search("(?i)[smhd]", given)
    else:
        assert given == found.length


def test_the_offset_is_what_pandas_resamples_by() -> None:
    moments = pd.date_range("2024-03-10 03:07:11", periods=50, freq="2h", tz="UTC")
    for timeframe in Timeframe:
        opened = [moment.floor(timeframe.offset) for moment in moments]
        assert opened == [timeframe.floor(moment) for moment in moments]


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
    assert timeframe.ceil(opened) == opened
    assert timeframe.ceil(moment) == (opened if opened == moment else opened + timeframe.length)


def test_floor_of_another_timezone_is_utc() -> None:
    moment = datetime(2024, 3, 10, 1, 30, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    assert Timeframe.D1.floor(moment) == datetime(2024, 3, 9, tzinfo=UTC)
    assert Timeframe.D1.floor(moment).tzinfo is UTC


def test_floor_of_a_naive_moment_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="naive"):
        Timeframe.M1.floor(datetime(2024, 1, 1))  # noqa: DTZ001 - the point of the test
