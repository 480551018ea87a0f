"""Candles in the cache: what was visible when, and what is known."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pandas as pd
import pytest

from datalayer.cache import CacheSettings, DataCacheManager
from datalayer.domain.candle import Candle
from datalayer.domain.timeframe import Timeframe
from tests.cached_candles import BTC, MINUTE, SECOND, START, VALUES, feed, opens, second
from tests.fake_clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(START)


@pytest.fixture
def cache(clock: Clock) -> DataCacheManager:
    return DataCacheManager(clock=clock)


def test_a_minute_is_given_when_it_is_over_and_is_made_of_its_seconds(
    cache: DataCacheManager, clock: Clock
) -> None:
    feed(cache, clock, range(59))
    assert opens(cache.get_latest_ohlcv(BTC, "1m", 5)) == []
    feed(cache, clock, range(59, 60))
    minute = cache.get_latest_ohlcv(BTC, "1m", 5)
    assert opens(minute) == ["00:00:00"]
    assert minute[VALUES].iloc[0].tolist() == [100.0, 161.0, 99.0, 160.0, 6.0, 180]
    assert minute["source"].tolist() == ["aggregate"]


def test_a_candle_is_given_as_closed_from_its_close_on_even_if_it_came_before(
    cache: DataCacheManager, clock: Clock
) -> None:
    minute = Candle(BTC, Timeframe.M1, START, 1.0, 2.0, 1.0, 2.0, 5.0)
    clock.now = START + MINUTE - timedelta(microseconds=1)  # the exchange's clock is ahead of ours
    cache.put_candle(minute)
    assert opens(cache.get_latest_ohlcv(BTC, "1m", 5, include_forming=True)) == []
    clock.now = START + MINUTE
    assert opens(cache.get_latest_ohlcv(BTC, "1m", 5)) == ["00:00:00"]


@pytest.mark.parametrize(("after_s", "is_closed"), [(0.0, False), (1.99, False), (2.0, True)])
def test_a_minute_that_may_lack_its_last_second_waits_for_it(
    cache: DataCacheManager, clock: Clock, after_s: float, is_closed: bool
) -> None:
    feed(cache, clock, range(59))
    clock.now = START + MINUTE + timedelta(seconds=after_s)
    assert opens(cache.get_latest_ohlcv(BTC, "1m", 5)) == ["00:00:00"] * is_closed
    marked = cache.get_latest_ohlcv(BTC, "1m", 5, include_forming=True)
    assert (opens(marked), marked["is_forming"].tolist()) == (["00:00:00"], [not is_closed])


def test_a_later_second_or_a_word_says_that_none_is_missing(cache: DataCacheManager, clock: Clock) -> None:
    feed(cache, clock, range(59))
    clock.now = START + MINUTE
    cache.mark_complete(BTC, until=clock.now)
    assert opens(cache.get_latest_ohlcv(BTC, "1m", 5)) == ["00:00:00"]
    feed(cache, clock, range(60, 119))
    clock.now = START + 2 * MINUTE
    assert opens(cache.get_latest_ohlcv(BTC, "1m", 5)) == ["00:00:00"]
    cache.put_candle(second(120))
    assert opens(cache.get_latest_ohlcv(BTC, "1m", 5)) == ["00:00:00", "00:01:00"]


def test_the_forming_candle_is_of_what_was_closed_at_that_moment(
    cache: DataCacheManager, clock: Clock
) -> None:
    feed(cache, clock, range(200))
    hour = cache.get_latest_ohlcv(BTC, "1h", 5, include_forming=True)
    assert hour[[*VALUES, "is_forming"]].iloc[0].tolist() == [100.0, 301.0, 99.0, 300.0, 20.0, 600, True]
    then = START + timedelta(seconds=130.5)
    hour = cache.get_latest_ohlcv(BTC, "1h", 5, include_forming=True, as_of=then)
    assert hour[VALUES].iloc[0].tolist() == [100.0, 231.0, 99.0, 230.0, 13.0, 390]
    assert cache.get_latest_ohlcv(BTC, "1h", 5, as_of=then).empty


def test_the_forming_candle_changes_within_a_second_with_what_it_is_made_of(
    cache: DataCacheManager, clock: Clock
) -> None:
    feed(cache, clock, range(10, 70))

    def highs() -> list[float]:
        frames = (cache.get_latest_ohlcv(BTC, label, 1, include_forming=True) for label in ("1m", "1h"))
        return [high for frame in frames for high in frame["high"]]

    assert highs() == [171.0]  # the hour is not known from its open on
    cache.mark_complete(BTC, since=START)
    assert highs() == [171.0, 171.0]
    correction = second(65, 500.0)
    cache.put_candle(correction)
    assert highs() == [502.0, 502.0]
    cache.put_candle(second(5, 900.0))
    assert highs() == [502.0, 902.0]
    cache.discard(correction)
    assert highs() == [171.0, 902.0]


def test_silent_seconds_and_minutes_have_no_candle(cache: DataCacheManager, clock: Clock) -> None:
    feed(cache, clock, range(10))
    feed(cache, clock, range(200, 310))
    assert opens(cache.get_latest_ohlcv(BTC, "1m", 9)) == ["00:00:00", "00:03:00", "00:04:00"]
    assert len(cache.get_latest_ohlcv(BTC, "1s", 500)) == 110


def test_late_and_corrected_seconds_correct_all_that_they_belong_to(
    cache: DataCacheManager, clock: Clock
) -> None:
    feed(cache, clock, range(30, 1000))
    cache.mark_complete(BTC, since=START)
    for number in reversed(range(30)):  # a backfill arrives newest first
        cache.put_candle(second(number, 50.0))
    cache.put_candle(second(700, 900.0, trade_count=None))
    for timeframe, row in (("1m", 0), ("5m", 0), ("15m", 0)):
        first = cache.get_latest_ohlcv(BTC, timeframe, 99).iloc[row]
        assert (first["open"], first["low"]) == (50.0, 49.0)
    corrected = cache.get_latest_ohlcv(BTC, "1m", 99).loc[START + 11 * MINUTE]
    assert (corrected["high"], corrected["trade_count"]) == (902.0, 180)  # an unknown count replaces none
    assert cache.get_latest_ohlcv(BTC, "15m", 99)["high"].tolist() == [1001.0]


def test_an_official_candle_is_given_instead_of_ours_and_no_part_of_others(
    cache: DataCacheManager, clock: Clock
) -> None:
    feed(cache, clock, range(300))
    official = Candle(BTC, Timeframe.M1, START, 7.0, 9.0, 6.0, 8.0, 1.5)
    cache.put_candle(official)
    minutes = cache.get_latest_ohlcv(BTC, "1m", 9)
    assert minutes["open"].tolist()[:2] == [7.0, 160.0]
    assert minutes["source"].tolist() == ["stored", *["aggregate"] * 4]
    assert minutes["trade_count"].isna().tolist() == [True, *[False] * 4]
    assert cache.get_latest_ohlcv(BTC, "5m", 9)["open"].tolist() == [100.0]
    assert cache.discard(official)
    assert cache.get_latest_ohlcv(BTC, "1m", 9)["open"].tolist()[:2] == [100.0, 160.0]
    assert not cache.discard(official)


def test_what_is_refused_gives_back_what_it_had_replaced(cache: DataCacheManager, clock: Clock) -> None:
    feed(cache, clock, range(60))
    before = cache.get_latest_ohlcv(BTC, "1m", 9)
    revisions = [second(30, price) for price in (500.0, 600.0, 700.0)]
    for revision in revisions:
        cache.put_candle(revision)
    assert cache.get_latest_ohlcv(BTC, "1m", 9)["high"].tolist() == [702.0]
    assert cache.discard(revisions[1])
    assert cache.get_latest_ohlcv(BTC, "1m", 9)["high"].tolist() == [702.0]
    assert cache.discard(revisions[2])
    assert cache.get_latest_ohlcv(BTC, "1m", 9)["high"].tolist() == [502.0]
    assert cache.discard(revisions[0])
    pd.testing.assert_frame_equal(cache.get_latest_ohlcv(BTC, "1m", 9), before, check_exact=True)
    assert cache.discard(second(59, 159.0))
    clock.now += MINUTE
    assert cache.get_latest_ohlcv(BTC, "1m", 9)["close"].tolist() == [159.0]


def test_a_forming_revision_never_replaces_a_closed_candle(cache: DataCacheManager, clock: Clock) -> None:
    clock.now = START + 30 * SECOND
    forming = Candle(BTC, Timeframe.M1, START, 1.0, 2.0, 1.0, 2.0, 5.0, is_forming=True)
    cache.put_candle(forming)
    cache.put_candle(replace(forming, high=3.0))
    shown = cache.get_latest_ohlcv(BTC, "1m", 9, include_forming=True)
    assert (shown["high"].tolist(), shown["source"].tolist()) == ([3.0], ["forming"])
    assert cache.get_latest_ohlcv(BTC, "1m", 9, include_forming=True, as_of=START + 29 * SECOND).empty
    assert cache.get_latest_ohlcv(BTC, "1m", 9).empty
    clock.now = START + MINUTE
    assert cache.get_latest_ohlcv(
        BTC, "1m", 9, include_forming=True
    ).empty  # over, and no one says how it ended
    cache.put_candle(replace(forming, close=1.5, is_forming=False))
    cache.put_candle(replace(forming, high=9.0))
    shown = cache.get_latest_ohlcv(BTC, "1m", 9, include_forming=True)
    assert (shown["close"].tolist(), shown["high"].tolist()) == ([1.5], [2.0])


def test_a_refused_forming_revision_is_gone(cache: DataCacheManager, clock: Clock) -> None:
    clock.now = START + 30 * SECOND
    forming = Candle(BTC, Timeframe.M1, START, 1.0, 2.0, 1.0, 2.0, 5.0, is_forming=True)
    cache.put_candle(forming)
    cache.put_candle(replace(forming, high=3.0))
    assert cache.discard(replace(forming, high=3.0))
    assert cache.get_latest_ohlcv(BTC, "1m", 9, include_forming=True)["high"].tolist() == [2.0]
    assert cache.discard(forming)
    assert not cache.discard(forming)
    assert cache.get_latest_ohlcv(BTC, "1m", 9, include_forming=True).empty


@pytest.mark.parametrize("wrong", [timedelta(days=9_000), timedelta(days=-9_000)])
def test_a_forming_revision_of_another_age_hides_none(
    cache: DataCacheManager, clock: Clock, wrong: timedelta
) -> None:
    forming = Candle(BTC, Timeframe.M1, START, 1.0, 2.0, 1.0, 2.0, 5.0, is_forming=True)
    for number in range(20):
        cache.put_candle(replace(forming, ts=START + wrong + number * MINUTE))
        clock.now = START + number * MINUTE
        cache.put_candle(replace(forming, ts=clock.now, open=number + 1.0))
        shown = cache.get_latest_ohlcv(BTC, "1m", 9, include_forming=True)
        assert (shown["open"].tolist(), shown.index.tolist()) == ([number + 1.0], [clock.now])


def test_a_candle_that_opened_before_the_first_second_is_not_known(
    cache: DataCacheManager, clock: Clock
) -> None:
    feed(cache, clock, range(90, 700))
    assert opens(cache.get_latest_ohlcv(BTC, "1m", 99))[0] == "00:02:00"
    assert opens(cache.get_latest_ohlcv(BTC, "5m", 99, include_forming=True)) == ["00:05:00", "00:10:00"]
    assert cache.get_latest_ohlcv(BTC, "1h", 9, include_forming=True).empty
    arrays = cache.get_latest_ohlcv_arrays(BTC, "1h", 9)
    assert arrays.complete_from == START + timedelta(hours=1)
    cache.mark_complete(BTC, since=START)
    assert opens(cache.get_latest_ohlcv(BTC, "1m", 99))[0] == "00:01:00"
    assert opens(cache.get_latest_ohlcv(BTC, "1h", 9, include_forming=True)) == ["00:00:00"]


def test_a_change_of_what_is_not_kept_makes_a_hole_and_says_so(clock: Clock) -> None:
    cache = DataCacheManager(CacheSettings(correction_s=300), clock=clock)
    feed(cache, clock, range(1000))
    assert cache.get_unknown_candles(BTC) == {}
    cache.put_candle(second(70, 5000.0))
    assert cache.get_unknown_candles(BTC) == {
        Timeframe.M1: (START + MINUTE,),
        Timeframe.M5: (START,),
        Timeframe.M15: (START,),
    }
    minutes = cache.get_latest_ohlcv(BTC, "1m", 99)
    assert opens(minutes)[:2] == ["00:00:00", "00:02:00"]
    assert minutes.attrs["complete_from"] == START + 2 * MINUTE
    assert cache.get_latest_ohlcv(BTC, "1h", 9, include_forming=True).empty
    assert cache.statistics.late_candles == 1
    cache.put_candle(Candle(BTC, Timeframe.M1, START + MINUTE, 1.0, 2.0, 1.0, 2.0, 5.0))
    assert Timeframe.M1 not in cache.get_unknown_candles(BTC)
    assert cache.get_latest_ohlcv(BTC, "1m", 99).attrs["complete_from"] == START


def test_a_refusal_that_comes_too_late_makes_a_hole_too(clock: Clock) -> None:
    cache = DataCacheManager(CacheSettings(correction_s=300), clock=clock)
    feed(cache, clock, range(1000))
    assert not cache.discard(second(70, 170.0))
    assert cache.get_unknown_candles(BTC)[Timeframe.M1] == (START + MINUTE,)


def test_an_answer_that_is_given_again_is_not_what_somebody_made_of_it(
    cache: DataCacheManager, clock: Clock
) -> None:
    feed(cache, clock, range(200))
    for _ in range(4):
        minutes = cache.get_latest_ohlcv(BTC, "1m", 9)
        assert minutes["close"].tolist() == [160.0, 220.0, 280.0]
        minutes.loc[:, "close"] = 0.0
        minutes.attrs.clear()
    assert cache.get_latest_ohlcv(BTC, "1m", 9, include_forming=True)["close"].tolist() == [
        160.0,
        220.0,
        280.0,
        300.0,
    ]
    cache.put_candle(second(100, 500.0))
    assert cache.get_latest_ohlcv(BTC, "1m", 9)["high"].tolist() == [161.0, 502.0, 281.0]


def test_longer_stored_candles_of_silent_minutes_outdo_ours(cache: DataCacheManager, clock: Clock) -> None:
    feed(cache, clock, range(60))
    feed(cache, clock, range(240, 330))
    assert cache.get_latest_ohlcv(BTC, "5m", 9)["close"].tolist() == [400.0]
    silent = [
        Candle(BTC, Timeframe.M1, START + n * MINUTE, 160.0, 160.0, 160.0, 160.0, 0.0, 0) for n in range(1, 4)
    ]
    for minute in silent:
        cache.put_candle(minute)
    assert cache.get_unknown_candles(BTC) == {Timeframe.M5: (START,)}
    assert cache.get_latest_ohlcv(BTC, "5m", 9).empty
    assert cache.discard(silent[0])
    assert cache.get_latest_ohlcv(BTC, "5m", 9)["close"].tolist() == [400.0]


def test_stored_candles_that_are_gone_may_still_outdo_ours(clock: Clock) -> None:
    cache = DataCacheManager(CacheSettings(candles_per_timeframe=60), clock=clock)
    feed(cache, clock, range(1))
    for number in range(1, 101):
        clock.now = START + (number + 1) * MINUTE
        cache.put_candle(Candle(BTC, Timeframe.M1, START + number * MINUTE, 1.0, 1.0, 1.0, 1.0, 0.0, 0))
    for number in range(170, 240):  # of less minutes than the official ones, all of which they push out
        clock.now = START + (number + 1) * MINUTE
        cache.put_candle(second(60 * number))
    clock.now += timedelta(minutes=1)
    assert set(cache.get_latest_ohlcv(BTC, "1m", 99)["source"]) == {"aggregate"}
    assert cache.get_latest_ohlcv(BTC, "4h", 9).empty
    assert cache.get_unknown_candles(BTC)[Timeframe.H4] == (START,)


def test_holes_go_with_what_is_around_them(clock: Clock) -> None:
    cache = DataCacheManager(CacheSettings(correction_s=300, candles_per_timeframe=60), clock=clock)
    feed(cache, clock, range(400))
    cache.put_candle(second(30, 7.0))
    assert cache.get_unknown_candles(BTC)[Timeframe.M1] == (START,)
    for number in range(7, 70):
        feed(cache, clock, range(60 * number, 60 * number + 60, 30))
    assert set(cache.get_unknown_candles(BTC)) == {Timeframe.M5, Timeframe.M15, Timeframe.H1}
