"""Every example in a docstring runs."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import datalayer.sync
from datalayer import DataIngestionPipeline, MarketHistory, Timeframe, timescale
from datalayer.ingestion import cancelled_by_signals
from datalayer.integrations import annotation, backtesting, cob, data_provider
from datalayer.rollout.dual_writer import DualWriter
from datalayer.rollout.parquet_candles import ParquetCandles
from tests.integration.documentation.examples import docstring_examples, run
from tests.integration.provider.feeding import BTC, START, candle

if TYPE_CHECKING:
    from datalayer import Settings, UnifiedDataProvider

EXAMPLES = dict(docstring_examples())
ENDLESS = "datalayer.provider.unified:subscribe"
BLOCKING = {
    "datalayer.integrations.backtesting.events:BlockingReplay",
    "datalayer.integrations.backtesting.source:BacktestSource",
}


def declared() -> dict[str, Any]:
    """What the examples of `datalayer.timescale` are written among."""

    class Base(DeclarativeBase):
        pass

    class Stored(Base):
        __tablename__ = "other_readings"
        ts: Mapped[datetime] = mapped_column(sa.DateTime(timezone=True), primary_key=True)
        device: Mapped[int] = mapped_column(primary_key=True)
        value: Mapped[float]

    used = {"select": sa.select, "func": sa.func, "DateTime": sa.DateTime}
    orm = {"Mapped": Mapped, "mapped_column": mapped_column}
    ours = {name: getattr(timescale, name) for name in timescale.__all__}
    return {**ours, **used, **orm, "Base": Base, "Reading": Stored}


def test_there_are_examples() -> None:
    assert {"datalayer.sync:", ENDLESS, "datalayer.provider.unified:UnifiedDataProvider"} <= set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
async def test_the_example_runs(
    name: str, market: UnifiedDataProvider, settings: Settings, tmp_path: Path
) -> None:
    async def feed(pipeline: DataIngestionPipeline) -> None:
        await pipeline.ingest_ohlcv_candle(candle(500))

    frame = pd.DataFrame([candle(0, Timeframe.M1)]).set_index("ts")
    names: dict[str, Any] = {name: getattr(datalayer, name) for name in datalayer.__all__}
    names |= {**declared(), "__name__": __name__, "datalayer": datalayer, "pd": pd, "Path": Path}
    names |= {"datetime": datetime, "UTC": UTC, "create_async_engine": create_async_engine}
    names |= {
        "market": market,
        "database": market.database,
        "settings": settings,
        "history": MarketHistory(market.database),
    }
    names |= {"start": START, "end": START.replace(minute=3), "trades": await market.get_trades(BTC, limit=3)}
    names |= {name: getattr(annotation, name) for name in annotation.__all__}
    names |= {name: getattr(data_provider, name) for name in data_provider.__all__} | {
        "TheirOwnBase": type("", (), {})
    }
    names |= {"candle": candle(400), "frame": frame, "feed": feed, "path": tmp_path / "feed.outbox"}
    names |= {"cache": datalayer.DataCacheManager(), "cancelled_by_signals": cancelled_by_signals}
    names |= {"DualWriter": DualWriter, "engine": market.database.engine, "parquet": ParquetCandles(tmp_path)}
    names |= {name: getattr(package, name) for package in (backtesting, cob) for name in package.__all__}
    names |= {"books": cob.Consolidator(BTC, ["one"], price_scale=2, size_scale=5)}
    code = EXAMPLES[name].replace("/var/lib/market", str(tmp_path / "market"))
    with ExitStack() as opened:
        if name in BLOCKING:
            names["market"] = opened.enter_context(datalayer.sync.connect(settings=settings))
        example = asyncio.ensure_future(run(code, name, names))
        if name == ENDLESS:
            await asyncio.sleep(0)
            await market.close()
        await example
