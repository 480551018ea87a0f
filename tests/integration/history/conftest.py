"""Streams leave nothing behind, whatever a test does with them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from datalayer.db.connection import pool_of
from datalayer.repositories import InstrumentRepository, MarketHistory
from tests.stored_history import BTC, ETH

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncEngine


@pytest.fixture(autouse=True)
async def _nothing_is_left_behind(engine: AsyncEngine) -> AsyncIterator[None]:
    yield
    assert pool_of(engine).statistics.in_use == 0
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("reading ahead")]


@pytest.fixture
async def history(engine: AsyncEngine) -> MarketHistory:
    async with engine.begin() as conn:
        for symbol in (ETH, BTC):
            await InstrumentRepository(conn).ensure(symbol, 3, 6)
    return MarketHistory(engine)
