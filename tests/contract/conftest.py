"""A schema as the revisions leave it, with no policy switched: to be read only."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from datalayer.config import Settings
from datalayer.db import migrations
from datalayer.db.connection import create_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncConnection


@pytest.fixture(scope="session")
async def _untouched_schema(database_url: str) -> AsyncIterator[Settings]:
    settings = Settings.load(database_url=database_url, database_schema=f"untouched_{uuid.uuid4().hex[:8]}")
    await migrations.upgrade(settings)
    yield settings
    engine = create_engine(settings.require_url(), settings)
    async with engine.begin() as conn:
        await conn.execute(text(f"DROP SCHEMA {settings.database_schema} CASCADE"))
    await engine.dispose()


@pytest.fixture
async def untouched(_untouched_schema: Settings) -> AsyncIterator[AsyncConnection]:
    engine = create_engine(_untouched_schema.require_url(), _untouched_schema)
    async with engine.connect() as conn:
        yield conn
    await engine.dispose()
