"""Candles that were read from the database, as they fit into what is there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from datalayer.cache.candle_ladder import CandleLadder
from datalayer.cache.candle_loading import LoadedCandles
from datalayer.cache.rows import Origin, Row
from datalayer.cache.settings import CacheSettings
from datalayer.cache.times import BEFORE_ALL_US, SECOND_US
from datalayer.domain.timeframe import Timeframe

HOUR_US = 3600 * SECOND_US
START_US = 20_000 * 24 * HOUR_US
NOW_US = START_US + 12 * HOUR_US
M1, H1, H4 = Timeframe.M1, Timeframe.H1, Timeframe.H4


def row(hour: float, origin: Origin, price: float = 100.0, minutes: int = 0) -> Row:
    return Row(START_US + round(hour * HOUR_US), price, price, price, price, 1.0, 5, origin, minutes)


def loaded(best: list[Row], rolled: list[Row] | None = None, **change: Any) -> LoadedCandles:
    everything = LoadedCandles(best, BEFORE_ALL_US, rolled or [], BEFORE_ALL_US, BEFORE_ALL_US, losses=0)
    return replace(everything, **change)


@pytest.fixture
def ladder() -> CandleLadder:
    return CandleLadder(CacheSettings())


def shown(ladder: CandleLadder, timeframe: Timeframe) -> list[float]:
    ring = ladder.series[timeframe].ring
    return [ring.floats(position)[0] for position in range(len(ring))]


def test_what_was_lost_after_the_reading_began_stays_lost(ladder: CandleLadder) -> None:
    aggregates = [row(hour, Origin.AGGREGATE, 100.0 + hour, 60) for hour in range(8)]
    ladder.load(H1, loaded(aggregates, aggregates), NOW_US)
    ladder.put(Timeframe.S1, row(3.5, Origin.PUT, 7.0), is_forming=False, now=NOW_US)
    assert (ladder.losses, ladder.series[H1].holes()) == (1, [START_US + 3 * HOUR_US])
    ladder.load(H1, loaded(aggregates, aggregates, losses=0), NOW_US)
    assert 103.0 not in shown(ladder, H1)
    ladder.load(H1, loaded(aggregates, aggregates, losses=1), NOW_US)
    assert shown(ladder, H1) == [100.0 + hour for hour in range(8)]
    assert ladder.series[H1].holes() == []


def test_a_candle_made_of_longer_ones_is_shown_but_no_part_of_others(ladder: CandleLadder) -> None:
    best = [row(hour, Origin.AGGREGATE, 100.0 + hour, 60) for hour in range(7)]
    best[5] = row(5, Origin.GENERATED, 999.0)
    ladder.load(H1, loaded(best, [*best[:5], row(5, Origin.AGGREGATE, 105.0, 10), best[6]]), NOW_US)
    ladder.load(H4, loaded([]), NOW_US)
    assert shown(ladder, H1)[5] == 999.0
    assert ladder.series[H1].complete_from() == BEFORE_ALL_US
    forming = ladder.forming(H4, START_US + 7 * HOUR_US)
    assert forming is not None
    assert (forming.open, forming.high, forming.minutes) == (104.0, 106.0, 130)


def test_minutes_that_were_made_here_are_part_of_what_was_loaded(ladder: CandleLadder) -> None:
    """Of what was put in before, the database may have nothing yet."""
    ladder.put(Timeframe.S1, row(11.05, Origin.PUT, 7.0), is_forming=False, now=NOW_US)
    ladder.mark_complete(START_US + 11 * HOUR_US + 60 * SECOND_US, None, NOW_US)
    ladder.settle(NOW_US)
    assert shown(ladder, Timeframe.M5) == []
    for timeframe in (M1, Timeframe.M5):
        ladder.load(timeframe, loaded([]), NOW_US)
    ladder.settle(NOW_US)
    assert shown(ladder, Timeframe.M5) == [7.0]


def test_a_refused_candle_in_the_place_of_a_loaded_one_leaves_a_hole(ladder: CandleLadder) -> None:
    earlier = loaded([row(hour, Origin.GENERATED, 100.0 + hour) for hour in range(3)])
    ladder.load(H1, replace(earlier, rolled_from=START_US + 2 * HOUR_US), NOW_US)
    ladder.put(H1, row(1, Origin.PUT, 5.0), is_forming=False, now=NOW_US)
    assert shown(ladder, H1) == [100.0, 5.0, 102.0]
    assert ladder.discard(H1, row(1, Origin.PUT, 5.0), is_forming=False, now=NOW_US)
    assert (shown(ladder, H1), ladder.series[H1].holes()) == ([100.0, 102.0], [START_US + HOUR_US])
    ladder.load(H1, replace(earlier, rolled_from=START_US + 2 * HOUR_US), NOW_US)
    assert (shown(ladder, H1), ladder.series[H1].holes()) == ([100.0, 101.0, 102.0], [])


def test_candles_begin_after_a_stored_one_that_was_not_loaded(ladder: CandleLadder) -> None:
    best = [row(hour, Origin.AGGREGATE, 100.0 + hour) for hour in range(4, 8)]
    after = START_US + 2 * HOUR_US
    ladder.load(H1, loaded(best, best, best_from=START_US + 4 * HOUR_US, stored_from=after), NOW_US)
    assert ladder.series[H1].complete_from() == after


def test_minutes_are_not_given_while_their_seconds_are_still_coming(ladder: CandleLadder) -> None:
    for number in range(90):
        ladder.put(Timeframe.S1, row(11.5 + number / 3600, Origin.LOADED), is_forming=False, now=NOW_US)
        ladder.settle(NOW_US)
        assert shown(ladder, M1) == []
    ladder.mark_complete(START_US + 11 * HOUR_US, None, NOW_US)
    ladder.settle(NOW_US)
    assert len(shown(ladder, M1)) == 2


def test_loaded_stored_candles_replace_loaded_ones_and_none_that_was_put_in(ladder: CandleLadder) -> None:
    ladder.load(H1, loaded([row(1, Origin.LOADED, 1.0), row(2, Origin.AGGREGATE, 2.0)]), NOW_US)
    ladder.put(H1, row(3, Origin.PUT, 3.0), is_forming=False, now=NOW_US)
    ladder.load(H1, loaded([row(hour, Origin.LOADED, 10.0 + hour) for hour in (1, 2, 3)]), NOW_US)
    assert shown(ladder, H1) == [11.0, 12.0, 3.0]
    assert not ladder.discard(H1, row(1, Origin.PUT, 11.0), is_forming=False, now=NOW_US)
    ladder.put(H1, row(1, Origin.PUT, 5.0), is_forming=False, now=NOW_US)
    assert ladder.discard(H1, row(1, Origin.PUT, 5.0), is_forming=False, now=NOW_US)
    assert shown(ladder, H1) == [11.0, 12.0, 3.0]


def test_what_was_made_here_is_newer_than_what_the_database_made(ladder: CandleLadder) -> None:
    for number in range(120):
        ladder.put(Timeframe.S1, row(11.5 + number / 3600, Origin.PUT, 7.0), is_forming=False, now=NOW_US)
    older = [row(11.5, Origin.AGGREGATE, 1.0), row(11.5 + 1 / 60, Origin.AGGREGATE, 2.0)]
    ladder.load(M1, loaded(older, older), NOW_US)
    assert shown(ladder, M1) == [7.0, 7.0]


def test_an_official_candle_that_is_not_stored_yet_keeps_out_what_the_database_makes_without_it(
    ladder: CandleLadder,
) -> None:
    minute = row(11.5, Origin.PUT, 7.0)
    ladder.put(Timeframe.S1, minute, is_forming=False, now=NOW_US)
    official = row(11.5 + 1 / 12, Origin.PUT, 9.0)
    ladder.put(Timeframe.M5, official, is_forming=False, now=NOW_US)
    found = [minute._replace(origin=Origin.AGGREGATE, minutes=1)]
    for _ in range(2):
        for timeframe in (M1, Timeframe.M5, Timeframe.M15):
            ladder.load(timeframe, loaded(found, found), NOW_US)
        assert (shown(ladder, Timeframe.M15), ladder.series[Timeframe.M15].holes()) == ([], [minute.ts])
    ladder.load(M1, loaded(found, found), NOW_US)
    ladder.load(Timeframe.M5, loaded([*found, official._replace(origin=Origin.LOADED)], found), NOW_US)
    made = row(11.5, Origin.GENERATED, 9.0)
    ladder.load(Timeframe.M15, loaded([made], found), NOW_US)
    assert (shown(ladder, Timeframe.M15), ladder.series[Timeframe.M15].holes()) == ([9.0], [])
