"""Every Python example of the documentation runs; pages that are whole programs have tests of their own."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sqlalchemy import text

import datalayer
from datalayer import Candle, MarketHistory, OrderBook, Timeframe
from tests.integration.documentation.examples import CHECKOUT, PYTHON, page_blocks, run
from tests.integration.provider.feeding import BTC, START, candle

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from datalayer import DataIngestionPipeline, UnifiedDataProvider

ELSEWHERE = {
    "README.md",  # tests/integration/provider/test_connect.py
    "docs/how-to/feeds.md",  # tests/integration/feeds/test_how_to.py
    "docs/how-to/ingest.md",  # tests/integration/ingestion/test_how_to.py
    "docs/how-to/replace-data-provider.md",  # tests/legacy/test_how_to.py
    "docs/how-to/monitoring.md",  # tests/integration/monitoring/test_how_to.py
}
HERE = {
    "docs/explanation/cache.md",
    "docs/how-to/annotation.md",
    "docs/how-to/backtest-history.md",
    "docs/how-to/backtest-strategy.md",
    "docs/how-to/connections.md",
    "docs/how-to/consolidated-book.md",
    "docs/how-to/embedded.md",
    "docs/how-to/live-inference.md",
    "docs/how-to/switch-from-parquet.md",
}


def test_no_page_with_examples_is_left_out() -> None:
    pages = [CHECKOUT / "README.md", *(CHECKOUT / "docs").rglob("*.md")]
    with_code = {str(page.relative_to(CHECKOUT)) for page in pages if PYTHON.search(page.read_text())}
    assert with_code == HERE | ELSEWHERE


async def test_cache(market: UnifiedDataProvider) -> None:
    names: dict[str, Any] = {"candle": candle(0), "database": market.database}
    for block in page_blocks("docs/explanation/cache.md"):
        await run(block, "cache.md", names)
    assert names["cache"].get_latest_ohlcv(BTC, "1m", 1).index[0] == START + timedelta(minutes=3)


async def test_annotation(stored: None) -> None:
    del stored
    names: dict[str, Any] = {}
    for block in page_blocks("docs/how-to/annotation.md"):
        await run(block, "annotation.md", names)
    assert names["inputs"][:2].tolist() == [60_059.0, 60_060.5]
    assert names["label"] == "up"
    assert names["chart"]["close"].iloc[-1] == 60_059.0
    assert names["targets"].tolist() == ["up", "up"]
    assert names["features"]["1m.close"].tolist() == [60_119.0, 60_179.0]


async def test_backtest(market: UnifiedDataProvider) -> None:
    first, *others = page_blocks("docs/how-to/backtest-history.md")
    names: dict[str, Any] = {}
    await run(first, "backtest-history.md", names)
    names |= {"market": market, "start": START, "end": START + timedelta(minutes=3)}
    for block in others:
        await run(block, "backtest-history.md", names)
    assert isinstance(names["history"], MarketHistory)
    assert len(names["frame"]) == 180
    assert names["visible_at"] == START + timedelta(minutes=2, seconds=59)


async def test_backtest_of_a_strategy(stored: None) -> None:
    del stored
    names: dict[str, Any] = {}
    for block in page_blocks("docs/how-to/backtest-strategy.md"):
        await run(block, "backtest-strategy.md", names)
    assert names["window"][:, 3].tolist() == [60_000.0 + second for second in range(120 - 1, 180 - 1)]
    assert names["buys"]
    assert names["model_input"].as_of == START
    assert names["visible_from"] == START + timedelta(seconds=1)
    assert (names["kind"], names["record"].ts) == ("trade", START + timedelta(minutes=2, seconds=59))
    assert names["frame"]["Close_1h"].tolist() == [59_999.0] * 3
    assert names["frames"]["close"][BTC].tolist() == names["frame"]["Close"].tolist()


async def test_consolidated_book(stored: None) -> None:
    del stored
    names: dict[str, Any] = {}
    for block in page_blocks("docs/how-to/consolidated-book.md"):
        await run(block, "consolidated-book.md", names)
    assert names["published"] is names["found"] is None  # no feed is alive here
    assert names["books"].symbol == "BTCCOB/USDT"


async def test_connections(stored: None, capsys: pytest.CaptureFixture[str]) -> None:
    del stored
    names: dict[str, Any] = {"text": text, "datetime": datetime}
    for block in page_blocks("docs/how-to/connections.md"):
        await run(block, "connections.md", names)
    await names["main"]()
    assert "2024-08-08 10:03:19+00:00" in capsys.readouterr().out


async def test_embedded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for block in page_blocks("docs/how-to/embedded.md"):
        await run(block.replace("/var/tmp/market", str(tmp_path / "market")), "embedded.md", {})  # noqa: S108 (replaced)
    assert "postgresql" in capsys.readouterr().out
    assert (tmp_path / "market").is_dir()


async def test_switch_from_parquet(stored: None, tmp_path: Path) -> None:
    del stored
    (tmp_path / "cache").mkdir()
    names: dict[str, Any] = {}
    for block in page_blocks("docs/how-to/switch-from-parquet.md"):
        await run(block, "switch-from-parquet.md", names)
    minute = candle(0, Timeframe.M1)
    await names["trade"](minute)
    kept = names["ParquetCandles"](tmp_path / "cache").query_ohlcv_data(BTC, "1m")
    assert kept.index.tolist() == [minute.ts]
    assert kept["close"].tolist() == [minute.close]


class Feed:
    """Hands in what a market that goes on would: the last two minutes, and then each second when it is over."""

    def __init__(self) -> None:
        self.decided: list[np.ndarray[Any, Any]] = []
        self.task: asyncio.Task[None] | None = None

    def start(self, pipeline: DataIngestionPipeline) -> asyncio.Task[None]:
        self.task = asyncio.create_task(self._hand_in(pipeline))
        return self.task

    async def _hand_in(self, pipeline: DataIngestionPipeline) -> None:
        second = Timeframe.S1.floor(datetime.now(UTC)) - timedelta(minutes=2)
        while True:
            end = second + timedelta(seconds=1)
            await asyncio.sleep(max(0.0, (end - datetime.now(UTC)).total_seconds()))
            await pipeline.ingest_ohlcv_candle(
                Candle(BTC, Timeframe.S1, second, 10.0, 12.0, 9.0, 11.0, 1.5, 3)
            )
            levels = np.array([10.0]), np.array([1.0]), np.array([11.0]), np.array([1.0])
            await pipeline.ingest_orderbook_snapshot(OrderBook(BTC, end, *levels))
            second = end


async def test_live_inference(market: UnifiedDataProvider) -> None:
    feed = Feed()
    names: dict[str, Any] = {"start_feed": feed.start, "decide": feed.decided.append}
    names["enough"] = lambda: len(feed.decided) == 2
    first, *others = page_blocks("docs/how-to/live-inference.md")
    soon = first.replace('subscribe("BTC/USDT", "1m")', 'subscribe("BTC/USDT", "1s")').replace(": 5", ": 60")
    await run(
        soon, "live-inference.md", names
    )  # the same, without waiting for a minute, on a machine that may be slow
    await names["main"]()
    assert feed.task is not None
    with suppress(asyncio.CancelledError):
        await feed.task
    assert [values[[0, 3]].tolist() for values in feed.decided] == [[11.0, 1.0]] * 2
    names["market"] = market
    for block in others:
        await run(block, "live-inference.md", names)
    live, later = names["live"], names["later"]
    assert live.candles
    assert live.order_book == later.order_book
    for timeframe, candles in live.candles.items():
        pd.testing.assert_frame_equal(candles, later.candles[timeframe])
    assert names["frame"].to_numpy(["1m.close"]).tolist() == later.to_numpy(["1m.close"]).tolist()
    assert datalayer.sync is names["datalayer"].sync
