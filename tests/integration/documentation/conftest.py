"""A database with some minutes of BTC/USDT, that `connect()` finds, and a folder of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import datalayer
from datalayer import UnitOfWork
from tests.integration.provider.feeding import store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine

    from datalayer import Settings, UnifiedDataProvider


@pytest.fixture
def connectable(
    engine: AsyncEngine, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncEngine:
    """The database is the one that `connect()` finds, and empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATALAYER_DATABASE_URL", settings.require_url().render_as_string(hide_password=False))
    return engine


@pytest.fixture
async def stored(connectable: AsyncEngine) -> None:
    """09:50 to 10:03:20 of 2024-08-08, a candle, a trade and a book each second; ETH/USDT is registered only."""
    await store(connectable, range(-600, 200))
    async with UnitOfWork(connectable) as uow:
        await uow.instruments.ensure("ETH/USDT", 2, 5)
        await uow.commit()


@pytest.fixture
async def market(stored: None) -> AsyncIterator[UnifiedDataProvider]:
    del stored
    async with datalayer.connect() as provider:
        yield provider
