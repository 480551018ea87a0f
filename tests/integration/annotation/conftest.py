"""Ten real hours of BTC/USDT minutes, without one of them, and a provider on them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

import datalayer.sync
from datalayer import UnitOfWork
from datalayer.integrations.annotation import AnnotationStore, HistoricalDataLoader
from tests.cache_folders import real_candles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer import Settings

BTC = "BTC/USDT"
DAY = datetime(2024, 8, 1, tzinfo=UTC)
MOMENT = DAY + timedelta(hours=5)
MISSING = MOMENT + timedelta(minutes=7)


@pytest.fixture
async def minutes(engine: AsyncEngine) -> None:
    async with UnitOfWork(engine) as uow:
        await uow.instruments.ensure(BTC, 2, 5)
        await uow.candles.upsert_candles(BTC, "1m", real_candles(0, 600).drop(MISSING))
        await uow.commit()


@pytest.fixture
def market(minutes: None, settings: Settings) -> Iterator[datalayer.sync.UnifiedDataProvider]:
    del minutes
    timeframes = ["1m", "5m", "1h"]
    with datalayer.sync.UnifiedDataProvider(settings, timeframes=timeframes) as provider:
        yield provider


@pytest.fixture
def loader(market: datalayer.sync.UnifiedDataProvider) -> HistoricalDataLoader:
    return HistoricalDataLoader(market)


@pytest.fixture
def store(market: datalayer.sync.UnifiedDataProvider) -> AnnotationStore:
    return AnnotationStore(market)
