"""The candles of the cache against the oracle, under a fake clock, in any order of events."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from datalayer.cache import CacheSettings, DataCacheManager
from datalayer.domain.candle import Candle
from datalayer.domain.timeframe import Timeframe
from tests.candle_oracle import SECOND, CandleOracle

BTC = "BTC/USDT"
START = datetime(2024, 8, 8, tzinfo=UTC)
STEPS = st.sampled_from([0.02, 0.4, 1, 1, 1, 2.5, 17, 58, 61, 300, 901, 3600, 5 * 3600])
TIMEFRAMES = st.sampled_from(list(Timeframe))


@st.composite
def numbers(draw: st.DrawFn) -> dict[str, Any]:
    low, size, over = draw(st.integers(1, 50)), draw(st.integers(0, 9)), draw(st.integers(0, 9))
    opened, close = low + size * draw(st.integers(0, 1)), low + size * draw(st.integers(0, 1))
    return {
        "open": opened / 10,
        "high": (low + size + over) / 10,
        "low": low / 10,
        "close": close / 10,
        "volume": draw(st.integers(0, 30)) / 1000,
        "trade_count": draw(st.none() | st.integers(0, 5)),
    }


class CandleMachine(RuleBasedStateMachine):
    """Everything is kept, so that every answer must be exactly that of the oracle."""

    limits = CacheSettings(correction_s=7 * 86_400, candles_per_timeframe=100_000)

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.oracle = CandleOracle()
        self.cache = DataCacheManager(self.limits, clock=lambda: self.now)
        self.put_in: list[Candle] = []

    def put(self, candle: Candle) -> None:
        self.cache.put_candle(candle)
        self.oracle.put(candle, self.now)
        self.put_in.append(candle)

    def made(
        self, timeframe: Timeframe, at: datetime, values: dict[str, Any], *, forming: bool = False
    ) -> Candle:
        return Candle(BTC, timeframe, max(timeframe.floor(at), START), **values, is_forming=forming)

    @initialize(values=numbers())
    def first(self, values: dict[str, Any]) -> None:
        self.now += SECOND
        self.put(self.made(Timeframe.S1, START, values))

    @rule(step=STEPS)
    def time_passes(self, step: float) -> None:
        self.now += timedelta(seconds=step)

    @rule(step=st.sampled_from([0.3, 2, 61, 4000]))
    def the_clock_is_put_back(self, step: float) -> None:
        self.now = max(self.now - timedelta(seconds=step), START)

    @rule(values=st.lists(numbers(), min_size=1, max_size=5), step=st.sampled_from([1, 1, 1, 7, 60]))
    def seconds_come(self, values: list[dict[str, Any]], step: int) -> None:
        for one in values:
            self.now += timedelta(seconds=step)
            self.put(self.made(Timeframe.S1, self.now - SECOND, one))

    @rule(values=numbers(), back=st.integers(0, 90) | st.integers(0, 40_000))
    def a_late_second(self, values: dict[str, Any], back: int) -> None:
        self.put(self.made(Timeframe.S1, self.now - back * SECOND, values))

    @rule(values=numbers(), ahead=st.sampled_from([1, 3, 60, 4000]))
    def a_second_of_the_future(self, values: dict[str, Any], ahead: int) -> None:
        self.put(self.made(Timeframe.S1, self.now + ahead * SECOND, values))

    @rule(values=numbers(), timeframe=TIMEFRAMES, back=st.integers(-2, 3))
    def an_official_candle(self, values: dict[str, Any], timeframe: Timeframe, back: int) -> None:
        self.put(self.made(timeframe, self.now - timeframe.length * back, values))

    @rule(values=numbers(), timeframe=TIMEFRAMES)
    def a_forming_revision(self, values: dict[str, Any], timeframe: Timeframe) -> None:
        self.put(self.made(timeframe, self.now, values, forming=True))

    @rule(data=st.data(), values=numbers())
    def a_correction(self, data: st.DataObject, values: dict[str, Any]) -> None:
        old = data.draw(st.sampled_from(self.put_in[-20:]))
        if not old.is_forming:
            self.put(self.made(old.timeframe, old.ts, values))

    @rule(data=st.data())
    def one_is_refused(self, data: st.DataObject) -> None:
        candle = data.draw(st.sampled_from(self.put_in[-20:]))
        self.put_in = [one for one in self.put_in if one is not candle] or [candle]
        self.cache.discard(candle)
        self.oracle.discard(candle)

    @rule(back=st.integers(-2, 60))
    def it_is_complete(self, back: int) -> None:
        until = self.now - back * SECOND
        self.cache.mark_complete(BTC, until=until)
        self.oracle.marked = max(self.oracle.marked, until)

    @rule(
        timeframe=TIMEFRAMES,
        n=st.integers(0, 8) | st.just(10_000),
        include_forming=st.booleans(),
        back=st.none() | st.floats(-5, 400) | st.integers(-4000, 7200),
    )
    def somebody_asks(self, timeframe: Timeframe, n: int, include_forming: bool, back: float | None) -> None:
        as_of = None if back is None else self.now - timedelta(seconds=back)
        found = self.cache.get_latest_ohlcv(BTC, timeframe, n, include_forming=include_forming, as_of=as_of)
        self.check(found, timeframe, n, as_of or self.now, include_forming=include_forming)

    def check(
        self, found: pd.DataFrame, timeframe: Timeframe, n: int, as_of: datetime, *, include_forming: bool
    ) -> None:
        closed = [one for _, one in sorted(self.oracle.candles(timeframe, as_of, self.now).items())]
        more = self.oracle.not_closed(timeframe, as_of, self.now) if include_forming else []
        expected = [(one, one in more) for one in [*closed, *more]]
        assert rows(found) == [row(*one) for one in expected[max(len(expected) - n, 0) :]]

    @invariant()
    def what_is_said_to_be_complete_is(self) -> None:
        for timeframe in (Timeframe.S1, Timeframe.M1, Timeframe.H1):
            arrays = self.cache.get_latest_ohlcv_arrays(BTC, timeframe, 1_000_000)
            if arrays.complete_from is None or arrays.complete_until is None:
                continue
            there = set(arrays.timestamps.tolist())
            for ts in self.oracle.candles(timeframe, self.now, self.now):
                if arrays.complete_from <= ts < arrays.complete_until:
                    assert ts.replace(tzinfo=None) in there


class ForgetfulMachine(CandleMachine):
    """Little is kept: an answer may lack what the oracle knows, but what it has must be right, and it must say what it lacks."""

    limits = CacheSettings(correction_s=300, candles_per_timeframe=60)

    @rule(values=numbers(), back=st.integers(280, 320))
    def a_second_at_the_edge(self, values: dict[str, Any], back: int) -> None:
        self.put(self.made(Timeframe.S1, self.now - back * SECOND, values))

    @rule(back=st.integers(0, 100_000))
    def all_is_known_since(self, back: int) -> None:
        self.cache.mark_complete(BTC, since=max(START, self.now - back * SECOND))

    def check(
        self, found: pd.DataFrame, timeframe: Timeframe, n: int, as_of: datetime, *, include_forming: bool
    ) -> None:
        assert len(found) <= n
        right = list(self.oracle.candles(timeframe, as_of, self.now).values())
        right += [
            replace(one, trade_count=None) for one in right
        ]  # the one that said it may have been dropped
        expected = [row(one, is_forming=False) for one in right]
        if include_forming:
            forming = self.oracle.not_closed(timeframe, as_of, self.now)
            # Where the 1s candles are not known any more, a revision that was put in takes their place.
            forming += self.oracle.last_revision(timeframe, as_of)
            expected += [row(one, is_forming=True) for one in forming]
        assert [one for one in rows(found) if one not in expected] == []


def row(candle: Candle, is_forming: bool) -> tuple[Any, ...]:
    values = candle.open, candle.high, candle.low, candle.close, candle.volume, candle.trade_count
    return candle.ts, *values, is_forming


def rows(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    names = ["open", "high", "low", "close", "volume"]
    counts = [None if count is pd.NA else count for count in frame["trade_count"]]
    forming = frame["is_forming"] if "is_forming" in frame else np.zeros(len(frame), dtype=bool)
    values = frame[names].itertuples(index=False)
    return [
        (ts.to_pydatetime(), *prices, count, bool(mark))
        for ts, prices, count, mark in zip(frame.index, values, counts, forming, strict=True)
    ]


TestCandles = CandleMachine.TestCase
TestForgetful = ForgetfulMachine.TestCase
TestCandles.settings = TestForgetful.settings = settings(max_examples=25, stateful_step_count=40)
