"""Charts of an annotation tool, page by page."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from datalayer import Timeframe
from datalayer.errors import InvalidInputError
from datalayer.integrations.annotation import HistoricalDataLoader
from datalayer.integrations.data_provider import LegacySettings
from tests.cache_folders import real_candles
from tests.integration.annotation.conftest import BTC, DAY, MISSING, MOMENT

if TYPE_CHECKING:
    import datalayer.sync

MINUTE = timedelta(minutes=1)


def test_pages_forward_and_back_have_everything_once(loader: HistoricalDataLoader) -> None:
    expected = real_candles(0, 600).drop(MISSING)
    forward = [loader.get_data(BTC, "1m", start=DAY + n * 100 * MINUTE, limit=100) for n in range(6)]
    assert pd.concat(forward).to_numpy().tolist() == expected.to_numpy().tolist()
    back, end = [], DAY + timedelta(hours=10)
    while len(page := loader.get_data("BTCUSDT", "1m", end=end, limit=100)):
        back.insert(0, page)
        end = page.index[0].to_pydatetime()
    assert pd.concat(back).index.tolist() == expected.index.tolist()


def test_the_last_candles_and_a_range(loader: HistoricalDataLoader) -> None:
    assert loader.get_data(BTC, "1m", limit=3).index[-1] == DAY + 599 * MINUTE
    found = loader.get_data(BTC, "1m", MOMENT, MOMENT + 5 * MINUTE)
    assert found.index.tolist() == [MOMENT + n * MINUTE for n in range(5)]
    assert list(found.columns) == ["open", "high", "low", "close", "volume"]
    assert loader.get_data(BTC, "1m", DAY - timedelta(days=9), DAY).empty


def test_all_timeframes_around_a_moment(loader: HistoricalDataLoader) -> None:
    frame = loader.get_context(BTC, MOMENT, window_minutes=60, candles=5)
    assert set(frame.candles) == {Timeframe.M1, Timeframe.M5, Timeframe.H1}
    assert frame.candles[Timeframe.M1].index[-1] == MOMENT - MINUTE
    assert len(frame.context_before[Timeframe.M5]) == 12
    assert len(frame.context_after[Timeframe.M1]) == 59
    found = loader.get_multi_timeframe_data(BTC, ["1m", "1h"], end=MOMENT, limit=4)
    assert [df.index[-1] for df in found.values()] == [MOMENT - MINUTE, MOMENT - timedelta(hours=1)]


def test_old_shapes_and_naive_times(market: datalayer.sync.UnifiedDataProvider) -> None:
    old = HistoricalDataLoader(market, LegacySettings(zone="Europe/Sofia"))
    naive = MOMENT.replace(tzinfo=None) + timedelta(hours=3)
    assert old.get_data(BTC, "1m", end=naive, limit=1).index.tolist() == [naive - MINUTE]
    assert old.get_context(BTC, naive).timestamp == MOMENT
    with pytest.raises(InvalidInputError, match="naive"):
        HistoricalDataLoader(market).get_data(BTC, "1m", end=naive)
