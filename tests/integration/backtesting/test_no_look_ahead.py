"""All that a strategy sees at the clock is what a database has in which nothing later was written.

The truncated copy is another instrument, which has of the 1s candles only those that were closed at a moment.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from datalayer import Timeframe, sync
from datalayer.integrations.backtesting import BacktestSource
from tests.integration.backtesting.writing import START, write
from tests.market_truth import chosen, visible
from tests.market_truth import market as made_market
from tests.refreshing import materialise

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer.domain.sliding_windows import GapPolicy

SPAN_S = 4_400
WINDOWS = {Timeframe.S1: 25, Timeframe.M1: 7, Timeframe.M5: 4, Timeframe.H1: 2}
COLUMNS = ["open", "high", "low", "close", "volume"]
BEGIN = START + timedelta(minutes=50, seconds=17)

Seen = dict[Timeframe, pd.DataFrame]


def look(source: BacktestSource, symbol: str) -> Seen:
    return {timeframe: source.series(symbol, timeframe).frame() for timeframe in WINDOWS}


def truth(seconds: pd.DataFrame, now: datetime, on_gap: GapPolicy) -> Seen:
    """The plain definition: the last N that are closed, of those in reach of the start, behind the last gap."""
    found = {}
    for timeframe, length in WINDOWS.items():
        reach = BEGIN - length * timeframe.length
        frame = chosen(visible(seconds, timeframe, now), reach, None, length)[COLUMNS]
        gaps = np.flatnonzero(np.diff(frame.index) != timeframe.length)
        if on_gap == "restart" and len(gaps):
            frame = frame.iloc[gaps[-1] + 1 :]
        found[timeframe] = frame
    return found


def assert_same(found: Seen, expected: Seen) -> None:
    for timeframe, frame in found.items():
        pd.testing.assert_frame_equal(
            frame, expected[timeframe], check_exact=True, check_freq=False, check_names=False
        )


@pytest.mark.parametrize(("seed", "on_gap"), [(1, "restart"), (2, "mark")])
async def test_a_strategy_sees_what_a_truncated_database_has(
    engine: AsyncEngine, market: sync.UnifiedDataProvider, seed: int, on_gap: GapPolicy
) -> None:
    random = np.random.default_rng(seed)
    seconds = made_market(START, SPAN_S, seed)
    other = made_market(START, SPAN_S, seed + 10, share=0.3)
    await write(engine, "AAA/USDT", "1s", seconds)
    await write(engine, "BBB/USDT", "1s", other)
    await materialise(engine, "candles", START, START + timedelta(minutes=40))  # some of it, as in life
    moments = {BEGIN + timedelta(seconds=int(s)) for s in random.integers(0, SPAN_S - 3_020, 8)}
    options: dict[str, Any] = {
        "start": BEGIN,
        "on_gap": on_gap,
        "batch_rows": int(random.integers(100, 3_000)),
    }
    kept: dict[datetime, Seen] = {}
    with BacktestSource(market, ["AAA/USDT", "BBB/USDT"], WINDOWS, **options) as source:
        minute = source.series("AAA/USDT", "1m")
        for now in source:
            # The cheap part of it at every moment: nothing in view was open still.
            for timeframe in WINDOWS:
                opened = source.series("AAA/USDT", timeframe).opened()
                assert not len(opened) or opened[-1] <= np.datetime64(
                    (now - timeframe.length).replace(tzinfo=None)
                )
            if now in moments or now.second == 0:
                kept[now] = look(source, "AAA/USDT")
                assert minute.window()[:, 3].tolist() == kept[now][Timeframe.M1]["close"].tolist()
                assert_same(look(source, "BBB/USDT"), truth(other, now, on_gap))
    assert len(kept) > 18
    for now, seen in kept.items():
        assert_same(seen, truth(seconds, now, on_gap))

    for n, now in enumerate(sorted(moments & kept.keys())[::3]):
        truncated = f"TRUNCATED{n}/USDT"
        await write(engine, truncated, "1s", seconds[seconds.index + pd.Timedelta("1s") <= now])
        await write(engine, f"OTHER{n}/USDT", "1s", other[other.index + pd.Timedelta("1s") <= now])
        with BacktestSource(market, [truncated, f"OTHER{n}/USDT"], WINDOWS, **options, as_of=now) as source:
            last = list(source)[-1]
            assert last == now
            assert_same(look(source, truncated), kept[now])
