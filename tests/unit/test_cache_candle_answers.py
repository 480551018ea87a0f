"""Candles in the cache: how many are kept, what an answer looks like, and what is refused."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from datalayer.cache import CacheSettings, DataCacheManager
from datalayer.domain.candle import Candle
from datalayer.domain.frame_quality import QualityFlags
from datalayer.domain.inference_frame import InferenceDataFrame
from datalayer.domain.timeframe import Timeframe
from datalayer.errors import InvalidInputError
from tests.cached_candles import BTC, MINUTE, SECOND, START, feed, opens, second
from tests.fake_clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(START)


@pytest.fixture
def cache(clock: Clock) -> DataCacheManager:
    return DataCacheManager(clock=clock)


def test_without_seconds_it_is_complete_up_to_the_last_official_candle(
    cache: DataCacheManager, clock: Clock
) -> None:
    clock.now = START + 10 * MINUTE
    cache.put_candle(Candle(BTC, Timeframe.M1, START, 1.0, 1.0, 1.0, 1.0, 0.0))
    arrays = cache.get_latest_ohlcv_arrays(BTC, "1m", 9)
    assert (arrays.complete_from, arrays.complete_until) == (None, None)
    feed(cache, clock, range(1200, 1230))
    cache.put_candle(Candle(BTC, Timeframe.H1, START, 1.0, 1.0, 1.0, 1.0, 0.0))
    clock.now = START + timedelta(hours=3)
    arrays = cache.get_latest_ohlcv_arrays(BTC, "1h", 9)
    assert arrays.complete_until == arrays.complete_from == START + timedelta(hours=1)


def test_only_so_many_candles_and_seconds_are_kept(clock: Clock) -> None:
    cache = DataCacheManager(
        CacheSettings(window_s=100, correction_s=120, candles_per_timeframe=60), clock=clock
    )
    feed(cache, clock, range(5000))
    cache.evict()
    seconds, minutes = (cache.get_latest_ohlcv_arrays(BTC, t, 10_000) for t in ("1s", "1m"))
    assert (len(seconds), len(minutes)) == (100, 60)
    assert minutes.complete_from == START + 23 * MINUTE
    assert cache.statistics.kinds["candles"].evictions == 5000 - 120 + 83 - 60


def test_the_window_of_seconds_moves_with_the_clock_and_not_with_the_data(
    cache: DataCacheManager, clock: Clock
) -> None:
    feed(cache, clock, range(10))
    clock.now = START + 306 * SECOND
    assert opens(cache.get_latest_ohlcv(BTC, "1s", 99)) == ["00:00:06", "00:00:07", "00:00:08", "00:00:09"]
    clock.now = START + 311 * SECOND
    assert cache.get_latest_ohlcv(BTC, "1s", 99).empty
    assert cache.get_ages(BTC)["candles.1s"] == 301.0


def test_an_answer_is_a_copy_with_the_dtypes_of_the_repository(cache: DataCacheManager, clock: Clock) -> None:
    for _ in range(2):
        empty = cache.get_latest_ohlcv("btc-usdt", "1min", 5, include_forming=True)
        assert empty.index.dtype == pd.DatetimeTZDtype("us", "UTC")
        assert empty.index.name == "timestamp"
        assert list(map(str, empty.dtypes)) == [*["float64"] * 5, "Int64", "category", "bool"]
        feed(cache, clock, range(10))
    full = cache.get_latest_ohlcv("btc-usdt", "1s", 5, include_forming=True)
    assert list(full.dtypes) == list(empty.dtypes)
    assert (full.attrs["symbol"], full.attrs["timeframe"]) == (BTC, "1s")
    full.loc[:, "close"] = 0.0
    arrays = cache.get_latest_ohlcv_arrays(BTC, Timeframe.S1, 5)
    assert arrays.close.tolist() == [106.0, 107.0, 108.0, 109.0, 110.0]
    for name in ("timestamps", "close", "trade_count", "origins"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(arrays, name)[0] = 0
    cache.put_candle(second(9, 1.0))
    assert arrays.close[-1] == 110.0


def test_an_answer_goes_into_an_inference_frame(cache: DataCacheManager, clock: Clock) -> None:
    feed(cache, clock, range(150))
    tables = {
        label: cache.get_latest_ohlcv(BTC, label, 9, include_forming=True).drop(columns="source")
        for label in ("1s", "1m", "1h")
    }
    quality = QualityFlags(forming=frozenset({Timeframe.M1, Timeframe.H1}))
    frame = InferenceDataFrame(BTC, clock.now, clock.now, tables, quality=quality)
    assert frame.to_numpy(["1h.close"], include_forming=True).tolist() == [250.0]


def test_exact_values_come_back_as_the_nearest_floats_and_sums_are_exact(
    cache: DataCacheManager, clock: Clock
) -> None:
    clock.now = START + MINUTE
    cache.mark_complete(BTC, until=clock.now)
    for number in range(10):
        cache.put_candle(second(number, volume=Decimal("0.1"), high=Decimal("102.30")))
    minute = cache.get_latest_ohlcv_arrays(BTC, "1m", 1)
    assert (minute.volume.tolist(), minute.high.tolist()) == ([1.0], [102.3])
    assert sum([0.1] * 10) != 1.0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"ts": datetime(2024, 8, 8)}, "ts"),  # noqa: DTZ001
        ({"ts": START + timedelta(milliseconds=1)}, "ts"),
        ({"high": float("nan")}, "candle"),
        ({"volume": float("inf")}, "candle"),
        ({"symbol": "BTC"}, "symbol"),
    ],
)
def test_what_would_spoil_the_rest_is_refused(
    cache: DataCacheManager, change: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        cache.put_candle(second(0, **change))
    assert caught.value.field == field
    assert cache.statistics.symbols == 0


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"symbol": "?", "timeframe": "1m", "n": 1}, "symbol"),
        ({"symbol": BTC, "timeframe": "1M", "n": 1}, "timeframe"),
        ({"symbol": BTC, "timeframe": "1m", "n": -1}, "n"),
        ({"symbol": BTC, "timeframe": "1m", "n": 1.5}, "n"),
        ({"symbol": BTC, "timeframe": "1m", "n": 1, "as_of": datetime(2024, 8, 8)}, "as_of"),  # noqa: DTZ001
    ],
)
def test_a_question_that_means_nothing_is_refused(
    cache: DataCacheManager, arguments: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        cache.get_latest_ohlcv(**arguments)
    assert caught.value.field == field


def test_a_frame_is_taken_in_like_single_candles(cache: DataCacheManager, clock: Clock) -> None:
    other = DataCacheManager(clock=clock)
    numbers = range(400)
    feed(cache, clock, numbers)
    index = pd.DatetimeIndex([START + n * SECOND for n in numbers], name="timestamp")
    price = 100.0 + np.arange(400)
    columns = {
        "open": price,
        "high": price + 2,
        "low": price - 1,
        "close": price + 1,
        "volume": 0.1,
        "trade_count": 3,
    }
    other.put_candles("BTCUSDT", "1s", pd.DataFrame(columns, index=index))
    for timeframe in Timeframe:
        pd.testing.assert_frame_equal(
            other.get_latest_ohlcv(BTC, timeframe, 999, include_forming=True),
            cache.get_latest_ohlcv(BTC, timeframe, 999, include_forming=True),
            check_exact=True,
        )


@pytest.mark.parametrize(
    "change",
    [
        {"window_s": 0},
        {"settle_s": -1},
        {"settle_s": 61},
        {"correction_s": 200},
        {"candles_per_timeframe": 0},
    ],
)
def test_settings_that_cannot_be_met_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        CacheSettings(**change)
    assert caught.value.field == next(iter(change))
